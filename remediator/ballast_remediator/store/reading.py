"""What can be asked of the store."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, case, func, or_, select

from ballast_remediator.contract import Alert, Mode, RunState, StepSpec, Target
from ballast_remediator.store import clock
from ballast_remediator.store.records import Approval, AuditEntry, Listed, Run, StepRecord
from ballast_remediator.store.schema import approvals, audit, notifications, runs, steps

# Made once: they are asked for every run, and building one costs more than running it.
_RUN: Final = select(runs).where(runs.c.id == bindparam("run_id_"))
_STEPS: Final = select(steps).where(steps.c.run_id == bindparam("run_id_")).order_by(steps.c.ordinal)
_DUE: Final = (
    select(runs.c.id, runs.c.state, runs.c.owner)
    .where(
        runs.c.finished_at.is_(None),
        or_(runs.c.owner.is_(None), runs.c.owner == bindparam("replica_")),
        runs.c.id.not_in(bindparam("in_hand_", expanding=True)),
        case(
            (runs.c.state == RunState.AWAITING_APPROVAL, runs.c.expires_at <= bindparam("now_")),
            else_=or_(runs.c.due_at <= bindparam("now_"), runs.c.due_at > bindparam("furthest_")),
        ),
    )
    .order_by(runs.c.due_at)
    .limit(bindparam("limit_"))
)
_LISTED: Final = (
    select(
        runs.c.id,
        runs.c.cluster,
        runs.c.runbook,
        runs.c.target,
        runs.c.state,
        runs.c.reason,
        runs.c.created_at,
        runs.c.updated_at,
        runs.c.started_at,
        runs.c.finished_at,
        runs.c.expires_at,
        runs.c.resolved_at,
    )
    .order_by(runs.c.created_at.desc())
    .limit(bindparam("limit_"))
)
_LISTED_OF: Final = _LISTED.where(runs.c.state == bindparam("state_"))


def run(connection: Connection, run_id: str) -> Run | None:
    """The run of that id."""
    row = connection.execute(_RUN, {"run_id_": run_id}).one_or_none()
    return None if row is None else _run(row)


def recent_runs(connection: Connection, *, limit: int, state: RunState | None = None) -> tuple[Run, ...]:
    """The newest runs first."""
    query = select(runs).order_by(runs.c.created_at.desc()).limit(limit)
    if state is not None:
        query = query.where(runs.c.state == state)
    return tuple(_run(row) for row in connection.execute(query))


def listed(connection: Connection, *, limit: int, state: RunState | None = None) -> tuple[Listed, ...]:
    """As `recent_runs`, with what a list tells."""
    query = _LISTED if state is None else _LISTED_OF
    rows = connection.execute(query, {"limit_": limit, **({} if state is None else {"state_": state})})
    return tuple(
        Listed(id_, Target(cluster, runbook, target), RunState(is_), *others)
        for id_, cluster, runbook, target, is_, *others in rows
    )


@dataclass(frozen=True, slots=True)
class Due:
    """A run that may be moved on now."""

    id: str
    state: RunState
    owner: str | None


def due(
    connection: Connection, *, replica: str | None, furthest: float, limit: int, in_hand: Collection[str] = ()
) -> tuple[Due, ...]:
    """The open runs that are due and nobody else's, longest first; of those that wait for approval, what has lapsed.

    Those ``in_hand`` are left out: however many go on for long, they hide no other.

    What is put off by more than ``furthest`` seconds is due as well: the clock was set back.
    """
    now = clock.now(connection)
    which = {
        "replica_": replica,
        "now_": now,
        "furthest_": now + furthest,
        "limit_": limit,
        "in_hand_": sorted(in_hand),
    }
    return tuple(Due(row.id, RunState(row.state), row.owner) for row in connection.execute(_DUE, which))


def open_run(connection: Connection, target: Target) -> Run | None:
    """The run of that target that is not final, if there is one."""
    row = connection.execute(
        select(runs).where(
            runs.c.cluster == target.cluster,
            runs.c.runbook == target.runbook,
            runs.c.target == target.name,
            runs.c.finished_at.is_(None),
        )
    ).one_or_none()
    return None if row is None else _run(row)


def steps_of(connection: Connection, run_id: str) -> tuple[StepRecord, ...]:
    """A run's steps in order; none before it was claimed."""
    rows = connection.execute(_STEPS, {"run_id_": run_id})
    return tuple(
        StepRecord(
            ordinal=row.ordinal,
            spec=StepSpec(row.kind, row.target, row.words, row.params),
            intended_at=row.intended_at,
            attempts=row.attempts,
            done_at=row.done_at,
            result=row.result,
            facts=row.facts or {},
        )
        for row in rows
    )


def approvals_of(connection: Connection, run: Run) -> tuple[Approval, ...]:
    """Who approved the run's plan as it is, the first one first."""
    this = (approvals.c.run_id == run.id) & (approvals.c.plan_hash == run.plan_hash)
    rows = connection.execute(select(approvals).where(this).order_by(approvals.c.at))
    return tuple(Approval(row.person, row.at, row.reason, tuple(row.acknowledged)) for row in rows)


def timeline(connection: Connection, run_id: str) -> tuple[AuditEntry, ...]:
    """What happened in a run, in order."""
    rows = connection.execute(select(audit).where(audit.c.run_id == run_id).order_by(audit.c.seq))
    return tuple(
        AuditEntry(row.seq, row.at, row.run_id, row.event, row.actor, row.words, row.data, row.hash) for row in rows
    )


def backlog(connection: Connection) -> int:
    """Accepted notifications that are not filed yet."""
    query = select(func.count()).select_from(notifications).where(notifications.c.filed_at.is_(None))
    return int(connection.execute(query).scalar_one())


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        target=Target(row.cluster, row.runbook, row.target),
        state=RunState(row.state),
        reason=row.reason,
        alert=Alert(**row.alert),
        mode=None if row.mode is None else Mode(row.mode),
        policy_digest=row.policy_digest,
        plan=row.plan,
        plan_hash=row.plan_hash,
        approved_hash=row.approved_hash,
        acknowledged=frozenset(row.acknowledged),
        token=row.token,
        owner=row.owner,
        created_at=row.created_at,
        updated_at=row.updated_at,
        due_at=row.due_at,
        planning_since=row.planning_since,
        expires_at=row.expires_at,
        approvals_needed=row.approvals_needed,
        approvers=None if row.approvers is None else tuple(row.approvers),
        preapproved_by=tuple(row.preapproved_by or ()),
        started_at=row.started_at,
        finished_at=row.finished_at,
        resolved_at=row.resolved_at,
    )
