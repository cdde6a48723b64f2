"""What is measured of the store at each scrape. Nothing here reads a table from end to end, however old it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from ballast_remediator.contract import FINAL, RunState
from ballast_remediator.store import clock
from ballast_remediator.store.schema import audit, replicas, runs

WINDOW: Final = 20_000
"""Audit entries that one scrape looks through at most."""
_OPEN: Final = (
    select(runs.c.runbook, runs.c.state, func.count(), func.min(func.coalesce(runs.c.started_at, runs.c.created_at)))
    .where(runs.c.finished_at.is_(None))
    .group_by(runs.c.runbook, runs.c.state)
)
_UNRESOLVED: Final = (
    select(runs.c.runbook, func.count())
    .where(runs.c.state == RunState.OUTCOME_UNKNOWN, runs.c.resolved_at.is_(None))
    .group_by(runs.c.runbook)
)
_HEAD: Final = select(func.max(audit.c.seq))
_FIRST: Final = select(func.min(audit.c.seq))


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand. Counts by runbook and state of what is open or not resolved; ages in seconds."""

    runs: Mapping[tuple[str, str], int]
    oldest: Mapping[str, float]
    """By state: since the oldest open run in it was opened, or has begun its steps."""
    expiring: int
    """Runs that wait for a person and will not for much longer."""
    replicas: int
    audit_entries: int
    oldest_ended: float | None
    """Since the oldest run ended that is still kept."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended; ``seconds`` since its first step, None where none had begun."""

    runbook: str
    state: str
    seconds: float | None


def standing(connection: Connection, *, expiring_within: float) -> Standing:
    """How things stand now."""
    now = clock.now(connection)
    counts: dict[tuple[str, str], int] = {}
    oldest: dict[str, float] = {}
    for runbook, state, count, since in connection.execute(_OPEN):
        counts[runbook, state] = count
        oldest[state] = max(oldest.get(state, 0.0), now - since)
    for runbook, count in connection.execute(_UNRESOLVED):
        counts[runbook, RunState.OUTCOME_UNKNOWN] = count
    waiting = (runs.c.finished_at.is_(None), runs.c.state == RunState.AWAITING_APPROVAL)
    soon = (runs.c.expires_at > now, runs.c.expires_at <= now + expiring_within)
    first = connection.execute(_FIRST).scalar()
    ended = connection.execute(select(func.min(runs.c.finished_at))).scalar()
    return Standing(
        runs=counts,
        oldest=oldest,
        expiring=connection.execute(select(func.count()).where(*waiting, *soon)).scalar_one(),
        replicas=connection.execute(select(func.count()).select_from(replicas)).scalar_one(),
        audit_entries=0 if first is None else head(connection) - first + 1,
        oldest_ended=None if ended is None else max(0.0, now - ended),
    )


def head(connection: Connection) -> int:
    """The number of the audit's last entry; 0 where there is none."""
    return connection.execute(_HEAD).scalar() or 0


def ended(connection: Connection, *, after: int) -> tuple[int, tuple[Ended, ...]]:
    """Which runs ended by the audit behind entry ``after``, and up to which entry that was looked for.

    The audit is written one entry after the other, so none is missed and none comes twice.
    """
    until = min(head(connection), after + WINDOW)
    rows = connection.execute(
        select(runs.c.runbook, audit.c.event, runs.c.started_at, audit.c.at)
        .select_from(audit)
        .join(runs, runs.c.id == audit.c.run_id)
        .where(audit.c.seq > after, audit.c.seq <= until, audit.c.event.in_(FINAL))
    )
    return until, tuple(
        Ended(row.runbook, row.event, None if row.started_at is None else max(0.0, row.at - row.started_at))
        for row in rows
    )
