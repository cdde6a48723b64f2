"""What came of shadowed runs: when their alerts resolved, what a run would have done later, and what people say.

A shadowed run is final. What is learnt of it afterwards stands here, beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, select, update

from ballast_remediator.contract import Stop, StopKind, Target
from ballast_remediator.store import clock
from ballast_remediator.store.audit import append
from ballast_remediator.store.schema import runs, shadows, stops

LOOKS: Final = (60.0, 300.0, 900.0, 3600.0)
"""Seconds after a run was shadowed at which it is judged again."""


class Later(StrEnum):
    """What a look found: what the run would have done then."""

    SAME_PLAN = "same_plan"
    OTHER_PLAN = "other_plan"
    NOTHING_TO_DO = "nothing_to_do"
    REFUSED = "refused"
    UNSEEN = "unseen"
    """Nobody can tell: the world could not be seen, or a kill switch kept even the look from being made."""


class Mark(StrEnum):
    """Who ended the fault, as a person says."""

    PEOPLE = "people"
    ITSELF = "itself"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Look:
    """One later look. ``at`` is seconds since the epoch; ``guard`` is the one that refused."""

    at: float
    found: Later
    words: str
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class Marked:
    """What a person said of a run, and why."""

    mark: Mark
    person: str
    reason: str


@dataclass(frozen=True, slots=True)
class Shadow:
    """A shadowed run, and what came of it. Times are seconds since the epoch; None where it has not come to that."""

    run_id: str
    target: Target
    fingerprint: str
    starts_at: float
    since: float
    """When it would have begun."""
    plan: Mapping[str, Any]
    """As `Plan.parsed` takes it."""
    resolved_at: float | None
    next_look_at: float | None
    looks: tuple[Look, ...]
    marked: Marked | None


@dataclass(frozen=True, slots=True)
class AtWork:
    """Somebody, or a run, was at work on what ``stop`` covers, or on ``target``. Times: seconds since the epoch."""

    since: float
    until: float | None
    words: str
    stop: Stop | None = None
    target: Target | None = None

    def touched(self, target: Target, *, since: float, until: float) -> bool:
        """Whether that was on ``target``, at some time between the two."""
        if self.stop is not None:
            there = self.stop.covers(target)
        else:
            there = self.target is not None and (self.target.cluster, self.target.name) == (target.cluster, target.name)
        return there and self.since <= until and (self.until is None or self.until >= since)


_RESOLVED: Final = (
    update(shadows)
    .where(
        shadows.c.resolved_at.is_(None),
        shadows.c.fingerprint == bindparam("fingerprint_"),
        # Of each such run, and not of each run of the target: most alerts that resolve were never shadowed.
        select(runs.c.id)
        .where(
            runs.c.id == shadows.c.run_id,
            runs.c.cluster == bindparam("cluster_"),
            runs.c.target == bindparam("target_"),
            runs.c.runbook == bindparam("runbook_"),
        )
        .exists(),
    )
    .values(resolved_at=bindparam("now_"), next_look_at=None)
)


def follow(connection: Connection, run_id: str, fingerprint: str) -> None:
    """From now on it is kept what comes of a run that was just shadowed."""
    now = clock.now(connection)
    connection.execute(
        insert(shadows).values(run_id=run_id, fingerprint=fingerprint, since=now, next_look_at=now + LOOKS[0], looks=[])
    )


def resolved(connection: Connection, target: Target, fingerprint: str) -> None:
    """The alert resolved, as its sender says, for every shadowed run that it opened and that still follows it."""
    connection.execute(
        _RESOLVED,
        {
            "fingerprint_": fingerprint,
            "cluster_": target.cluster,
            "runbook_": target.runbook,
            "target_": target.name,
            "now_": clock.now(connection),
        },
    )


def due(connection: Connection) -> str | None:
    """The run whose next look has been due longest, if one is."""
    return connection.execute(
        select(shadows.c.run_id)
        .where(shadows.c.next_look_at <= clock.now(connection))
        .order_by(shadows.c.next_look_at)
        .limit(1)
    ).scalar()


def record(connection: Connection, run_id: str, found: Later, *, words: str, guard: str | None = None) -> None:
    """Keeps what a look found, and sets the time of the next one. What was missed meanwhile is not made up for."""
    row = connection.execute(
        select(shadows.c.since, shadows.c.looks, shadows.c.resolved_at).where(shadows.c.run_id == run_id)
    ).one()
    now = clock.now(connection)
    following = next((row.since + after for after in LOOKS if row.since + after > now), None)
    connection.execute(
        update(shadows)
        .where(shadows.c.run_id == run_id)
        .values(
            looks=[*row.looks, asdict(Look(now, found, words, guard))],
            next_look_at=following if row.resolved_at is None else None,
        )
    )


def mark(connection: Connection, run_id: str, said: Mark, *, person: str, reason: str) -> bool:
    """Keeps who ended the fault, as a person says; the last word counts. Whether there is such a shadowed run."""
    changed = connection.execute(
        update(shadows).where(shadows.c.run_id == run_id).values(mark=said, marked_by=person, mark_reason=reason)
    )
    if not changed.rowcount:
        return False
    words = f"{person} says who ended the fault: {said}. {reason}"
    append(connection, run_id=run_id, event="shadow_marked", actor=person, words=words, data={"mark": said})
    return True


def followed(connection: Connection, *, since: float) -> tuple[Shadow, ...]:
    """Every run that was shadowed since then, the newest first."""
    rows = connection.execute(
        select(shadows, runs.c.cluster, runs.c.runbook, runs.c.target, runs.c.plan, runs.c.alert)
        .join(runs, runs.c.id == shadows.c.run_id)
        .where(shadows.c.since >= since)
        .order_by(shadows.c.since.desc())
    )
    return tuple(
        Shadow(
            run_id=row.run_id,
            target=Target(row.cluster, row.runbook, row.target),
            fingerprint=row.fingerprint,
            starts_at=row.alert["starts_at"],
            since=row.since,
            plan=row.plan,
            resolved_at=row.resolved_at,
            next_look_at=row.next_look_at,
            looks=tuple(Look(**{**one, "found": Later(one["found"])}) for one in row.looks),
            marked=None if row.mark is None else Marked(Mark(row.mark), row.marked_by, row.mark_reason),
        )
        for row in rows
    )


def at_work(connection: Connection, *, since: float) -> Sequence[AtWork]:
    """Holds and freezes of people that were in force at some time since then, and runs that began since."""
    return [*_people(connection, since), *_acting(connection, since)]


def _people(connection: Connection, since: float) -> Sequence[AtWork]:
    rows = connection.execute(select(stops).where(stops.c.kind.in_((StopKind.HOLD, StopKind.FREEZE))))
    found = []
    for row in rows:
        ends = [end for end in (row.until, row.lifted_at) if end is not None]
        until = min(ends, default=None)
        if until is not None and until < since:
            continue
        kind = StopKind(row.kind)
        stop = Stop(row.id, kind, row.cluster, row.runbook, row.target, row.person, row.reason, row.set_at, row.until)
        words = f"{row.person} had set a {kind} on {stop.scope}: {row.reason}"
        found.append(AtWork(row.set_at, until, words, stop=stop))
    return found


def _acting(connection: Connection, since: float) -> Sequence[AtWork]:
    rows = connection.execute(
        select(runs.c.id, runs.c.cluster, runs.c.runbook, runs.c.target, runs.c.started_at, runs.c.finished_at).where(
            runs.c.started_at >= since
        )
    )
    return [
        AtWork(
            row.started_at,
            row.finished_at,
            f"run {row.id} ({row.runbook}) acted on it",
            target=Target(row.cluster, row.runbook, row.target),
        )
        for row in rows
    ]
