"""What people, and the brake, set to keep runs from beginning."""

import secrets
from typing import Final

from sqlalchemy import Connection, bindparam, insert, select, update

from ballast_remediator.contract import EXECUTING, RunState, Stop, StopKind, Target
from ballast_remediator.store import clock, memory, runs
from ballast_remediator.store.audit import append
from ballast_remediator.store.records import StepRecord
from ballast_remediator.store.runs import NotPossible, transition
from ballast_remediator.store.schema import runs as runs_table
from ballast_remediator.store.schema import stops

_COLUMNS: Final = (
    stops.c.id,
    stops.c.kind,
    stops.c.cluster,
    stops.c.runbook,
    stops.c.target,
    stops.c.person,
    stops.c.reason,
    stops.c.set_at,
    stops.c.until,
)
_NOT_LIFTED: Final = select(*_COLUMNS).where(stops.c.lifted_at.is_(None)).order_by(stops.c.set_at)
_THIS: Final = _NOT_LIFTED.where(stops.c.id == bindparam("stop_id_"))


def in_force(connection: Connection, *, now: float | None = None) -> tuple[Stop, ...]:
    """Every stop that is neither lifted nor over, oldest first."""
    at = now or clock.now(connection)
    return tuple(stop for stop in _not_lifted(connection) if stop.until is None or stop.until > at)


def _not_lifted(connection: Connection) -> tuple[Stop, ...]:
    """Asked once in a transaction: every claim and every step of all who share it has to know."""

    def ask() -> tuple[Stop, ...]:
        rows = connection.execute(_NOT_LIFTED)
        return tuple(Stop(**{**row._asdict(), "kind": StopKind(row.kind)}) for row in rows)

    return memory.rows_of(connection, stops, ask)


def intend(connection: Connection, run_id: str, token: int, step: StepRecord, *, target: Target) -> tuple[Stop, ...]:
    """As `runs.intend`, unless a kill switch covers the target: then nothing is written, and those are returned.

    In one transaction: who sets one is answered before the step is intended, or after.
    """
    found = tuple(stop for stop in in_force(connection) if stop.kind is StopKind.KILL_SWITCH and stop.covers(target))
    if not found:
        runs.intend(connection, run_id, token, step)
    return found


def put(
    connection: Connection,
    kind: StopKind,
    *,
    person: str,
    reason: str,
    cluster: str | None = None,
    runbook: str | None = None,
    target: str | None = None,
    until: float | None = None,
) -> Stop:
    """Sets a stop. Two of the same scope are two: each is lifted by itself.

    Raises:
        NotPossible: a freeze without a cluster, or a hold without a cluster and a target.
    """
    if kind is StopKind.FREEZE and cluster is None:
        raise NotPossible("a freeze needs the cluster that is worked on")
    if kind is StopKind.HOLD and (cluster is None or target is None):
        raise NotPossible("a hold needs the cluster and the target that is worked on")
    now = clock.now(connection)
    if until is not None and until <= now:
        raise NotPossible("a stop that is over before it begins stops nothing")
    stop = Stop(secrets.token_hex(4), kind, cluster, runbook, target, person, reason, now, until)
    connection.execute(
        insert(stops).values(
            id=stop.id,
            kind=kind,
            cluster=cluster,
            runbook=runbook,
            target=target,
            person=person,
            reason=reason,
            set_at=now,
            until=until,
        )
    )
    memory.of(connection).pop(stops, None)
    append(
        connection,
        event=f"{kind}_set",
        actor=person,
        words=f"{kind.replace('_', ' ')} on {stop.scope}: {reason}",
        data={"stop": stop.id, "cluster": cluster, "runbook": runbook, "target": target, "until": until},
    )
    return stop


def lift(connection: Connection, stop_id: str, *, person: str, reason: str) -> None:
    """Lifts a stop. With a brake, whatever waits expires: nobody knows any more whether it is still wanted.

    Raises:
        NotPossible: there is no such stop in force.
    """
    row = connection.execute(_THIS, {"stop_id_": stop_id}).one_or_none()
    if row is None:
        raise NotPossible(f"there is no stop {stop_id} in force")
    connection.execute(update(stops).where(stops.c.id == stop_id).values(lifted_at=clock.now(connection)))
    memory.of(connection).pop(stops, None)
    kind = StopKind(row.kind)
    append(
        connection,
        event=f"{kind}_lifted",
        actor=person,
        words=f"{kind.replace('_', ' ')} lifted: {reason}",
        data={"stop": stop_id},
    )
    if kind is StopKind.BRAKE:
        waiting = connection.execute(
            select(runs_table.c.id).where(runs_table.c.finished_at.is_(None), runs_table.c.state.not_in(EXECUTING))
        ).scalars()
        words = f"it waited behind the brake, which {person} released; an alert that still fires opens a new run"
        for run_id in waiting.all():
            transition(connection, run_id, RunState.EXPIRED, words=words, actor=person)
