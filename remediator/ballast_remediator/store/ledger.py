"""`contract.Ledger` on the tables, and the claim that asks it: one transaction."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Final

from sqlalchemy import Connection, and_, bindparam, func, insert, literal_column, or_, select
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.contract import (
    Action,
    Answer,
    ClaimRequest,
    Jump,
    LedgerGuard,
    Plan,
    RunState,
    Stop,
    Target,
    Verdict,
    first_refusal,
)
from ballast_remediator.store import clock, memory, stops
from ballast_remediator.store.runs import NotPossible, expect_owner, in_force, postpone, transition
from ballast_remediator.store.schema import locks, runs, steps

RETRY: Final = 2.0
"""Seconds until a claim that was refused is tried again."""
LOCK_WAIT: Final = 45.0
"""The same where a lock is held: whoever frees it wakes those that wait for it."""


# Made once: they are asked for every run, and building one costs more than running it.
_ON_TARGET: Final = and_(runs.c.cluster == bindparam("cluster_"), runs.c.target == bindparam("target_"))
_HELD: Final = select(locks.c.name, locks.c.run_id)
_QUARANTINED: Final = select(runs.c.id).where(
    # Written out, and not a parameter: else SQLite does not see that its index fits.
    _ON_TARGET,
    runs.c.state == literal_column(f"'{RunState.OUTCOME_UNKNOWN}'"),
    runs.c.resolved_at.is_(None),
)
_BEGUN: Final = select(func.count()).where(
    runs.c.cluster == bindparam("cluster_"),
    runs.c.runbook == bindparam("runbook_"),
    runs.c.started_at.is_not(None),
    # One that still goes on counts however long ago it began.
    or_(runs.c.started_at > bindparam("since"), runs.c.finished_at.is_(None)),
)
_LAST_ACTION: Final = (
    select(runs.c.id, runs.c.runbook, runs.c.state, runs.c.rejected, runs.c.finished_at)
    .where(_ON_TARGET, runs.c.runbook == bindparam("runbook_"), or_(runs.c.started_at.is_not(None), runs.c.rejected))
    .order_by(runs.c.finished_at.is_not(None), runs.c.finished_at.desc())
    .limit(1)
)
_UNDONE: Final = select(func.count()).where(steps.c.run_id == bindparam("run_id_"), steps.c.done_at.is_(None))
"""Steps that are not done: what failed with all of them done failed at its verification."""
_CLAIMED: Final = select(
    runs.c.state, runs.c.approved_hash, runs.c.token, runs.c.expires_at, runs.c.preapproved_by, runs.c.owner
).where(runs.c.id == bindparam("run_id_"))
_TAKE: Final = insert(locks)
_STEPS: Final = insert(steps)


@dataclass(frozen=True, slots=True)
class Host:
    """What the ledger guards have to know of the host that they run on."""

    jump: Jump | None = None
    kill_switch_file: str | None = None


class SqlLedger:
    """`contract.Ledger` inside a transaction."""

    def __init__(self, connection: Connection, host: Host) -> None:
        self._connection = connection
        self._host = host
        self.now = clock.now(connection)

    @property
    def monotonic(self) -> float:
        return time.monotonic()

    @property
    def jump(self) -> Jump | None:
        return self._host.jump

    @property
    def kill_switch_file(self) -> str | None:
        return self._host.kill_switch_file

    def lock_holder(self, lock: str) -> str | None:
        return _held_locks(self._connection).get(lock)

    def quarantined_by(self, target: Target) -> str | None:
        return self._connection.execute(_QUARANTINED, {"cluster_": target.cluster, "target_": target.name}).scalar()

    def stops(self, target: Target) -> Sequence[Stop]:
        return [stop for stop in self._stops if stop.covers(target)]

    @cached_property
    def _stops(self) -> Sequence[Stop]:
        return stops.in_force(self._connection, now=self.now)

    def begun(self, cluster: str, runbook: str, since: float) -> int:
        which = {"cluster_": cluster, "runbook_": runbook, "since": since}
        return int(self._connection.execute(_BEGUN, which).scalar_one())

    def last_action(self, target: Target) -> Action | None:
        which = {"cluster_": target.cluster, "runbook_": target.runbook, "target_": target.name}
        row = self._connection.execute(_LAST_ACTION, which).one_or_none()
        if row is None:
            return None
        if row.rejected:
            words = "was rejected"
        else:
            words = f"({row.runbook}) {'is' if row.finished_at is None else 'ended as'} {row.state}"
        in_vain = row.state == RunState.FAILED and self._connection.execute(_UNDONE, {"run_id_": row.id}).scalar() == 0
        return Action(row.id, words, row.finished_at, in_vain)


def judge(
    connection: Connection, request: ClaimRequest, guards: Sequence[LedgerGuard], host: Host
) -> tuple[Answer, ...]:
    """What the ledger guards say now, without taking anything. One that raises blocks, but for a fault of the store."""
    ledger = SqlLedger(connection, host)
    return tuple(_ask(guard, request, ledger) for guard in guards)


def _ask(guard: LedgerGuard, request: ClaimRequest, ledger: SqlLedger) -> Answer:
    try:
        return guard(request, ledger)
    except SQLAlchemyError:
        raise
    except Exception as error:  # noqa: BLE001 - a guard that cannot answer forbids
        return Answer("guard_failed", Verdict.REFUSE, f"a guard could not answer: {error!r}")


def _held_locks(connection: Connection) -> dict[str, str]:
    """Who holds which lock. All are asked for at once, since there are few: runs under way hold them."""
    return memory.rows_of(connection, locks, lambda: {row.name: row.run_id for row in connection.execute(_HELD)})


def _take(connection: Connection, request: ClaimRequest, now: float) -> None:
    """Takes the run's locks; whoever asks in the same transaction sees it."""
    held = _held_locks(connection)
    for lock in (*request.locks, *request.domains):
        held[lock] = request.run_id
        memory.later(connection, _TAKE, {"name": lock, "run_id": request.run_id, "taken_at": now})


def _held(connection: Connection, request: ClaimRequest) -> str | None:
    """A lock that the run needs and another one holds."""
    held = _held_locks(connection)
    return next(
        (one for one in (*request.locks, *request.domains) if held.get(one, request.run_id) != request.run_id), None
    )


def claim(
    connection: Connection,
    request: ClaimRequest,
    plan: Plan,
    guards: Sequence[LedgerGuard],
    host: Host,
    *,
    standing: Sequence[LedgerGuard] = (),
    owner: str | None = None,
) -> int | Answer:
    """Takes a queued run and its locks, or says which ledger guard forbids it.

    One of ``guards`` puts it off. One of ``standing`` sends it back to `PLANNING`, which has the patience for what may
    last. ``owner`` is the replica that had taken the run when it was looked at. Returns the fencing token that every
    later write of this run has to show.

    Raises:
        NotPossible: the run is not queued any more, or its approval is for another plan, has lapsed or was taken back.
    """
    run = connection.execute(_CLAIMED, {"run_id_": request.run_id}).one()
    expect_owner(request.run_id, run.owner, owner)
    if run.state != RunState.QUEUED or run.approved_hash != request.plan_hash:
        raise NotPossible(f"run {request.run_id} is {run.state} and not approved for this plan")
    if run.expires_at is not None and run.expires_at <= clock.now(connection):
        raise NotPossible(f"the approval of run {request.run_id} has lapsed")
    in_force(connection, run.preapproved_by or ())
    answers = judge(connection, request, (*standing, *guards), host)
    lasting = first_refusal(answers[: len(standing)])
    if lasting is not None:
        transition(connection, request.run_id, RunState.PLANNING, words=f"{lasting.guard}: {lasting.reason}")
        return lasting
    refusal = first_refusal(answers)
    if refusal is not None:
        held = _held(connection, request)
        words = f"{refusal.guard}: {refusal.reason}"
        seconds = RETRY if held is None else LOCK_WAIT
        postpone(connection, request.run_id, seconds=seconds, words=words, waiting_for=held)
        return refusal
    now = clock.now(connection)
    content = asdict(replace(plan, answers=(*plan.answers, *answers)))
    _take(connection, request, now)
    for ordinal, step in enumerate(content["steps"], start=1):
        memory.later(connection, _STEPS, {"run_id": request.run_id, "ordinal": ordinal, **step})
    token = int(run.token) + 1
    transition(
        connection,
        request.run_id,
        RunState.RUNNING,
        words=plan.summary,
        data={"plan_hash": request.plan_hash, "token": token, "locks": [*request.locks, *request.domains]},
        plan=content,
        token=token,
        started_at=now,
    )
    return token
