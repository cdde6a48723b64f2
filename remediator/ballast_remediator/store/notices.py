"""The outbox of notices: what is due, what became of it, and what the passing of time gives to tell."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, func, select, update
from sqlalchemy.sql import exists

from ballast_remediator.contract import RunState
from ballast_remediator.notice_kinds import NoticeKind
from ballast_remediator.store import clock, memory
from ballast_remediator.store.audit import append
from ballast_remediator.store.outbox import wants
from ballast_remediator.store.schema import audit, notices, runs
from kube_ballast.analysis.words import duration

CLOCKWORK: Final = "clock"
"""Who does what only time brings."""
GIVEN_UP_SHOWN: Final = 86400.0
"""Seconds for which a notice that was given up counts as one of now."""
_EARLIER: Final = notices.alias()


@dataclass(frozen=True, slots=True)
class Notice:
    """One that is due. ``tries`` are those that failed before."""

    id: str
    kind: str
    body: dict[str, Any]
    tries: int


@dataclass(frozen=True, slots=True)
class Outbox:
    """How many wait, for how many seconds the oldest of them does, and how many were given up within a day."""

    waiting: int
    oldest: float
    given_up: int


def due(connection: Connection) -> Notice | None:
    """The one that is due longest. Nothing of a run, a stop or a cluster is due before what came earlier is done."""
    blocked = exists().where(
        _EARLIER.c.about == notices.c.about,
        _EARLIER.c.seq < notices.c.seq,
        _EARLIER.c.due_at.is_not(None),
        notices.c.about != "",
    )
    row = connection.execute(
        select(notices.c.id, notices.c.kind, notices.c.body, notices.c.tries)
        .where(notices.c.due_at.is_not(None), notices.c.due_at <= clock.now(connection), ~blocked)
        .order_by(notices.c.due_at, notices.c.seq)
        .limit(1)
    ).one_or_none()
    return None if row is None else Notice(row.id, row.kind, row.body, row.tries)


def sent(connection: Connection, notice_id: str) -> None:
    """The receiver has it: it is never sent again."""
    connection.execute(
        update(notices)
        .where(notices.c.id == notice_id)
        .values(sent_at=clock.now(connection), due_at=None, problem=None, tries=notices.c.tries + 1)
    )


def failed(connection: Connection, notice_id: str, *, problem: str, again_in: float | None) -> None:
    """A try that failed; None for ``again_in``, in seconds, gives it up."""
    due_at = None if again_in is None else clock.now(connection) + again_in
    waits = and_(notices.c.id == notice_id, notices.c.sent_at.is_(None))
    connection.execute(update(notices).where(waits).values(due_at=due_at, problem=problem, tries=notices.c.tries + 1))


def remind(connection: Connection, *, within: float) -> int:
    """Tells, once for each time that a run waits for approval, that it expires in ``within`` seconds or less."""
    now = clock.now(connection)
    waiting = connection.execute(
        select(runs.c.id, runs.c.expires_at).where(
            runs.c.finished_at.is_(None),
            runs.c.state == RunState.AWAITING_APPROVAL,
            runs.c.expires_at > now,
            runs.c.expires_at <= now + within,
        )
    ).all()
    told = 0
    memory.settle(connection)
    for run in waiting:
        last = connection.execute(
            select(audit.c.event)
            .where(
                audit.c.run_id == run.id,
                audit.c.event.in_((NoticeKind.AWAITING_APPROVAL, NoticeKind.APPROVAL_UNSEEN)),
            )
            .order_by(audit.c.seq.desc())
            .limit(1)
        ).scalar()
        if last != NoticeKind.APPROVAL_UNSEEN:
            told += 1
            append(
                connection,
                run_id=run.id,
                event=NoticeKind.APPROVAL_UNSEEN,
                actor=CLOCKWORK,
                words=f"it still waits for approval, and expires in {duration(run.expires_at - now)}",
                data={"expires_at": run.expires_at},
            )
    return told


def tell_head(connection: Connection, *, every: float) -> None:
    """Tells people of the audit's head, if they want that, unless it was done within ``every`` seconds."""
    if not wants(connection, NoticeKind.AUDIT_HEAD):
        return
    now = clock.now(connection)
    last = connection.execute(select(func.max(notices.c.at)).where(notices.c.kind == NoticeKind.AUDIT_HEAD)).scalar()
    if last is None or not 0 <= now - last < every:
        append(
            connection,
            event=NoticeKind.AUDIT_HEAD,
            actor=CLOCKWORK,
            words="the audit up to here: `ballastctl audit verify --head` with this hash proves that it is whole",
        )


def tell_broken(connection: Connection, words: str) -> None:
    """The audit is not what was written."""
    append(connection, event=NoticeKind.AUDIT_BROKEN, actor=CLOCKWORK, words=words)


def tell_file(connection: Connection, *, file: str, host: str, there: bool) -> None:
    """The kill switch's file has appeared on a host, or is gone from it."""
    if there:
        kind, words = NoticeKind.KILL_SWITCH_SET, f"is there on {host}: there nothing begins, and what runs ends soon"
    else:
        kind, words = NoticeKind.KILL_SWITCH_LIFTED, f"is gone from {host}"
    append(connection, event=kind, actor=host, words=f"the kill switch's file {file} {words}", data={"file": file})


def outbox(connection: Connection) -> Outbox:
    """How things stand."""
    now = clock.now(connection)
    waiting = connection.execute(
        select(func.count(), func.min(notices.c.at)).where(notices.c.due_at.is_not(None))
    ).one()
    given_up = connection.execute(
        select(func.count()).where(
            notices.c.kind.in_(tuple(NoticeKind)),  # by the index
            notices.c.at > now - GIVEN_UP_SHOWN,
            notices.c.due_at.is_(None),
            notices.c.sent_at.is_(None),
        )
    ).scalar_one()
    oldest = 0.0 if waiting[1] is None else max(0.0, now - waiting[1])
    return Outbox(waiting[0], oldest, given_up)
