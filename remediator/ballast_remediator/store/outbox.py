"""Notices to people, written in the transaction of what they tell: neither is there without the other."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select

from ballast_remediator.notice_kinds import NoticeKind
from ballast_remediator.store import memory
from ballast_remediator.store.schema import notices, runs, stops

VERSION: Final = "1"
OPTION: Final = "ballast_notices"
"""The execution option by which every connection of a store knows what is wanted; without it nothing is written."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which kinds are sent, and where people reach the remediator (for links), if that is configured."""

    kinds: frozenset[str]
    external_url: str | None


NOTHING: Final = Wanted(frozenset(), None)
_ADD: Final = insert(notices)
_RUN: Final = select(runs.c.cluster, runs.c.runbook, runs.c.target, runs.c.state).where(runs.c.id == bindparam("id"))
_STOP: Final = select(stops.c.cluster, stops.c.runbook, stops.c.target).where(stops.c.id == bindparam("id"))


def put(
    connection: Connection,
    *,
    event: str,
    at: float,
    words: str,
    run_id: str | None,
    data: Mapping[str, Any],
    seq: int,
    digest: str,
) -> None:
    """One audit entry, as a notice if its kind is wanted. Its id comes from the entry's hash: one for ever."""
    wanted = _wanted(connection)
    if event not in wanted.kinds:
        return
    memory.settle(connection)  # a notice tells the state that the entry is about
    subject = _subject(connection, run_id, data)
    notice_id = digest[:32]
    body = {
        "version": VERSION,
        "id": notice_id,
        "kind": event,
        "at": datetime.fromtimestamp(at, UTC).isoformat(),
        "cluster": data.get("cluster") if subject is None else subject.cluster,
        "runbook": None if subject is None else subject.runbook,
        "target": None if subject is None else subject.target,
        "run": run_id,
        "state": None if run_id is None or subject is None else subject.state,
        "words": words,
        "link": _link(wanted.external_url, run_id, data),
        "audit": {"seq": seq, "hash": digest},
    }
    about = run_id or data.get("stop") or data.get("cluster") or ""
    values = {"id": notice_id, "at": at, "kind": event, "about": about, "seq": seq, "body": body, "due_at": at}
    connection.execute(_ADD, values)


def wants(connection: Connection, kind: NoticeKind) -> bool:
    """Whether anybody is told of such events."""
    return kind in _wanted(connection).kinds


def _wanted(connection: Connection) -> Wanted:
    found: Wanted = connection.get_execution_options().get(OPTION, NOTHING)
    return found


def _subject(connection: Connection, run_id: str | None, data: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a row
    if run_id is not None:
        return connection.execute(_RUN, {"id": run_id}).one_or_none()
    if "stop" in data:
        return connection.execute(_STOP, {"id": data["stop"]}).one_or_none()
    return None


def _link(external_url: str | None, run_id: str | None, data: Mapping[str, Any]) -> str | None:
    if external_url is None:
        return None
    if run_id is not None:
        return f"{external_url}/api/v1/runs/{run_id}"
    return f"{external_url}/api/v1/stops" if "stop" in data else None
