"""`contract.Ledger` on the tables, and the claim that asks it: one transaction."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, bindparam, func, insert, literal_column, or_, select
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
from ballast_remediator.store.runs import IN_VAIN, NotPossible, begin, expect_owner, in_force, postpone, transition
from ballast_remediator.store.schema import audit, locks, runs, steps

RETRY: Final = 2.0
"""Seconds until a claim that was refused is tried again."""
LOCK_WAIT: Final = 45.0
"""The same where a lock is held: whoever frees it wakes those that wait for it."""


# Made once: they are asked for every run, and building one costs more than running it.
_HELD: Final = select(locks.c.name, locks.c.run_id)
_BEGUN: Final = select(func.count()).where(
    runs.c.cluster == bindparam("cluster_"),
    runs.c.runbook == bindparam("runbook_"),
    runs.c.started_at.is_not(None),
    # One that still goes on counts however long ago it began.
    or_(runs.c.started_at > bindparam("since"), runs.c.finished_at.is_(None)),
)
_FAILURE: Final = select(audit.c.data).where(
    audit.c.run_id == bindparam("run_id_"), audit.c.event == literal_column(f"'{RunState.FAILED}'")
)
"""What the audit keeps of a run's failure."""


_OTHERS: Final = runs.alias("others")


def _on(cluster: Any, target: Any) -> Any:  # noqa: ANN401 - columns, or parameters
    return and_(_OTHERS.c.cluster == cluster, _OTHERS.c.target == target)


def _quarantined(cluster: Any, target: Any) -> Any:  # noqa: ANN401
    # Written out, and not a parameter: else SQLite does not see that its index fits.
    unknown = _OTHERS.c.state == literal_column(f"'{RunState.OUTCOME_UNKNOWN}'")
    return select(_OTHERS.c.id).where(_on(cluster, target), unknown, _OTHERS.c.resolved_at.is_(None)).limit(1)


def _last_action(cluster: Any, runbook: Any, target: Any) -> Any:  # noqa: ANN401
    acted = or_(_OTHERS.c.started_at.is_not(None), _OTHERS.c.rejected)
    return (
        select(_OTHERS.c.id)
        .where(_on(cluster, target), _OTHERS.c.runbook == runbook, acted)
        .order_by(_OTHERS.c.finished_at.is_not(None), _OTHERS.c.finished_at.desc())
        .limit(1)
    )


_LAST: Final = runs.alias("last")
_OF_LAST: Final = (
    _LAST.c.id.label("last_id"),
    _LAST.c.state.label("last_state"),
    _LAST.c.rejected,
    _LAST.c.finished_at,
)
_QUARANTINED: Final = _quarantined(bindparam("cluster_"), bindparam("target_"))
_LAST_ACTION: Final = select(*_OF_LAST).where(
    _LAST.c.id == _last_action(bindparam("cluster_"), bindparam("runbook_"), bindparam("target_")).scalar_subquery()
)
# What claims need to know of their runs, for all that share a commit: one question costs little more than for one.
_CLAIMED: Final = (
    select(
        runs.c.id,
        runs.c.cluster,
        runs.c.runbook,
        runs.c.target,
        runs.c.state,
        runs.c.approved_hash,
        runs.c.token,
        runs.c.expires_at,
        runs.c.preapproved_by,
        runs.c.owner,
        _quarantined(runs.c.cluster, runs.c.target).scalar_subquery().label("quarantined_by"),
        *_OF_LAST,
    )
    .select_from(
        runs.outerjoin(
            _LAST, _LAST.c.id == _last_action(runs.c.cluster, runs.c.runbook, runs.c.target).scalar_subquery()
        )
    )
    .where(runs.c.id.in_(bindparam("run_ids", expanding=True)))
)
_TAKE: Final = insert(locks)
_STEPS: Final = insert(steps)


@dataclass(frozen=True, slots=True)
class Host:
    """What the ledger guards have to know of the host that they run on."""

    jump: Jump | None = None
    kill_switch_file: str | None = None
    nodes_at_work: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By cluster and Node, how it shows that somebody works on it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What claims that share a transaction need not ask the database for: its answers, and what they changed since."""

    now: float
    quarantined: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    last: dict[Target, Action | None] = field(default_factory=dict)
    begun: dict[tuple[str, str, float], int] = field(default_factory=dict)
    """By cluster, runbook and since when, before any of these claims."""
    claimed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By cluster and runbook."""


class SqlLedger:
    """`contract.Ledger` inside a transaction."""

    def __init__(self, connection: Connection, host: Host, known: _Known | None = None) -> None:
        self._connection = connection
        self._host = host
        self._known = known or _Known(clock.now(connection))
        self.now = self._known.now

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
        which = (target.cluster, target.name)
        if which in self._known.quarantined:
            return self._known.quarantined[which]
        return self._connection.execute(_QUARANTINED, {"cluster_": target.cluster, "target_": target.name}).scalar()

    def stops(self, target: Target) -> Sequence[Stop]:
        return [stop for stop in self._stops if stop.covers(target)]

    @cached_property
    def _stops(self) -> Sequence[Stop]:
        return stops.in_force(self._connection, now=self.now)

    def nodes_at_work(self, cluster: str) -> Mapping[str, str]:
        return self._host.nodes_at_work.get(cluster, {})

    def begun(self, cluster: str, runbook: str, since: float) -> int:
        # Nothing may be settled between two guards: they have to judge one state.
        begun, which = self._known.begun, (cluster, runbook, since)
        if which not in begun:
            values = dict(zip(("cluster_", "runbook_", "since"), which, strict=True))
            begun[which] = int(self._connection.execute(_BEGUN, values).scalar_one())
        return begun[which] + self._known.claimed[cluster, runbook]

    def last_action(self, target: Target) -> Action | None:
        if target in self._known.last:
            return self._known.last[target]
        which = {"cluster_": target.cluster, "runbook_": target.runbook, "target_": target.name}
        row = self._connection.execute(_LAST_ACTION, which).one_or_none()
        return None if row is None else _action(self._connection, target.runbook, row)


def _action(connection: Connection, runbook: str, row: Row[*tuple[Any, ...]]) -> Action | None:
    """Of a row with `_OF_LAST`."""
    if row.last_id is None:
        return None
    if row.rejected:
        words = "was rejected"
    else:
        words = f"({runbook}) {'is' if row.finished_at is None else 'ended as'} {row.last_state}"
    failed = row.last_state == RunState.FAILED
    kept = connection.execute(_FAILURE, {"run_id_": row.last_id}).scalar() if failed else None
    return Action(row.last_id, words, row.finished_at, in_vain=bool(kept and kept.get(IN_VAIN)))


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


def _take(connection: Connection, request: ClaimRequest, known: _Known) -> None:
    """Takes the run's locks and its part of the budget; whoever asks in the same transaction sees it."""
    held = _held_locks(connection)
    for lock in (*request.locks, *request.domains):
        held[lock] = request.run_id
        memory.later(connection, _TAKE, {"name": lock, "run_id": request.run_id, "taken_at": known.now})
    target = request.target
    known.last[target] = Action(request.run_id, f"({target.runbook}) is {RunState.RUNNING}", None)
    known.claimed[target.cluster, target.runbook] += 1


def _held(connection: Connection, request: ClaimRequest) -> str | None:
    """A lock that the run needs and another one holds."""
    held = _held_locks(connection)
    return next(
        (one for one in (*request.locks, *request.domains) if held.get(one, request.run_id) != request.run_id), None
    )


@dataclass(frozen=True, slots=True)
class Claim:
    """A queued run to be begun, with its plan.

    One of ``guards`` that refuses puts it off. One of ``standing`` sends it back to `PLANNING`, which has the patience
    for what may last. ``owner`` is the replica that had taken the run when it was looked at.
    """

    request: ClaimRequest
    plan: Plan
    guards: Sequence[LedgerGuard]
    host: Host
    standing: Sequence[LedgerGuard] = ()
    owner: str | None = None


def claim(connection: Connection, claims: Sequence[Claim]) -> Sequence[int | Answer]:
    """Takes queued runs and their locks, one after the other, or says which ledger guard forbids it.

    Returns for each the fencing token that every later write of that run has to show.

    Raises:
        NotPossible: a run is not queued any more, or its approval is for another plan, has lapsed or was taken back.
    """
    ids = [one.request.run_id for one in claims]
    rows = {row.id: row for row in connection.execute(_CLAIMED, {"run_ids": ids})}
    known = _Known(
        clock.now(connection),
        {(row.cluster, row.target): row.quarantined_by for row in rows.values()},
        {Target(row.cluster, row.runbook, row.target): _action(connection, row.runbook, row) for row in rows.values()},
    )
    return [_claim(connection, one, rows.get(one.request.run_id), known) for one in claims]


def _claim(connection: Connection, claim: Claim, run: Row[*tuple[Any, ...]] | None, known: _Known) -> int | Answer:
    request = claim.request
    if run is None:
        raise NotPossible(f"there is no run {request.run_id}")
    ledger = SqlLedger(connection, claim.host, known)
    expect_owner(run.id, run.owner, claim.owner)
    if run.state != RunState.QUEUED or run.approved_hash != request.plan_hash:
        raise NotPossible(f"run {run.id} is {run.state} and not approved for this plan")
    if run.expires_at is not None and run.expires_at <= ledger.now:
        raise NotPossible(f"the approval of run {run.id} has lapsed")
    in_force(connection, run.preapproved_by or ())
    answers = tuple(_ask(guard, request, ledger) for guard in (*claim.standing, *claim.guards))
    lasting = first_refusal(answers[: len(claim.standing)])
    if lasting is not None:
        transition(connection, run.id, RunState.PLANNING, words=f"{lasting.guard}: {lasting.reason}")
        return lasting
    refusal = first_refusal(answers)
    if refusal is not None:
        held = _held(connection, request)
        words = f"{refusal.guard}: {refusal.reason}"
        seconds = RETRY if held is None else LOCK_WAIT
        postpone(connection, run.id, seconds=seconds, words=words, waiting_for=held)
        return refusal
    content = asdict(replace(claim.plan, answers=(*claim.plan.answers, *answers)))
    _take(connection, request, known)
    for ordinal, step in enumerate(content["steps"], start=1):
        memory.later(connection, _STEPS, {"run_id": run.id, "ordinal": ordinal, **step})
    token = int(run.token) + 1
    begin(
        connection,
        run.id,
        before=int(run.token),
        words=claim.plan.summary,
        data={"plan_hash": request.plan_hash, "token": token, "locks": [*request.locks, *request.domains]},
        plan=content,
        token=token,
        started_at=ledger.now,
    )
    return token
