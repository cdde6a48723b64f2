"""How runs change. Each function is one transaction's work: the change and its audit entry, or neither."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, delete, exists, func, literal_column, select, true, update

from ballast_remediator.contract import (
    FINAL,
    TRANSITIONS,
    Done,
    Mode,
    Plan,
    RunState,
)
from ballast_remediator.store import clock, memory, shadow
from ballast_remediator.store.audit import append
from ballast_remediator.store.records import StepRecord
from ballast_remediator.store.schema import approvals, locks, preapprovals, runs, steps

ENGINE: Final = "engine"
IN_VAIN: Final = "in_vain"
"""In the data of the audit's entry on the end of a run that failed so."""
WOKEN: Final = 4
"""Runs that look again when a lock is freed: the first may find that there is nothing to do any more."""
AFTER_FAULT: Final = 30.0
"""Seconds a run rests after a fault of the program."""


# Statements of the hot path are made once: building one costs more than running it. What changes is given with the
# values: a parameter of a column's name sets that column.
_THIS: Final = runs.c.id == bindparam("run_id_")
_STATE: Final = select(runs.c.state).where(_THIS)
# The states are written out: a list that is given with the values is put into the statement's text each time anew.
_MOVE: Final = {
    to: update(runs).where(
        _THIS, runs.c.state.in_([literal_column(f"'{state}'") for state in RunState if to in TRANSITIONS[state]])
    )
    for to in RunState
}
_MOVE_OWN: Final = {to: statement.where(runs.c.token == bindparam("token_")) for to, statement in _MOVE.items()}
_REASON: Final = select(runs.c.reason, runs.c.finished_at).where(_THIS)
_UPDATE: Final = update(runs).where(_THIS)
_ITS_LOCKS: Final = locks.c.run_id == bindparam("run_id_")
_FREE: Final = delete(locks).where(_ITS_LOCKS)
_LONGEST: Final = (
    select(runs.c.id)
    .where(runs.c.waiting_for.in_(select(locks.c.name).where(_ITS_LOCKS)), runs.c.finished_at.is_(None))
    .order_by(runs.c.created_at)
    .limit(WOKEN)
)
_WAKE: Final = update(runs).where(runs.c.id.in_(_LONGEST))
_APPROVED: Final = select(runs.c.approved_hash, runs.c.acknowledged, runs.c.alert).where(_THIS)


class Fenced(Exception):
    """Somebody else owns this run now, so this process may not touch it."""


class NotPossible(Exception):
    """The run is not in a state that allows this; the text says what it is in."""


def transition(
    connection: Connection,
    /,
    run_id: str,
    to: RunState,
    *,
    words: str,
    actor: str = ENGINE,
    data: Mapping[str, Any] | None = None,
    **changes: object,
) -> None:
    """Moves a run along `TRANSITIONS`, with one audit entry; a final state frees its locks, but one that is unknown.

    Raises:
        NotPossible: the table has no such transition, or there is no such run.
    """
    values = {**_moved(connection, to, words), **changes, "run_id_": run_id}
    if not connection.execute(_MOVE[to], values).rowcount:  # one statement looks whether it may be moved, and moves it
        raise _impossible(connection, run_id, to)
    _leave(connection, run_id, to)
    append(connection, run_id=run_id, event=to, actor=actor, words=words, data=data)


def begin(
    connection: Connection, /, run_id: str, *, before: int, words: str, data: Mapping[str, Any], **changes: object
) -> None:
    """`transition` of a run whose steps begin, if its token is still ``before``. Raises as `advance` does."""
    to = RunState.RUNNING
    values = {**_moved(connection, to, words), **changes, "run_id_": run_id, "token_": before}
    memory.later(connection, _MOVE_OWN[to], values, missed=lambda: _missed(connection, run_id, before, to))
    append(connection, run_id=run_id, event=to, actor=ENGINE, words=words, data=data)


def _moved(connection: Connection, to: RunState, words: str) -> Mapping[str, object]:
    """What changes with a run's state."""
    now = clock.now(connection)
    values = {"state": to, "reason": words, "updated_at": now, "due_at": now, "waiting_for": None}
    if to in FINAL:
        values |= {"finished_at": now, "owner": None}
    if to is RunState.PLANNING:
        values["planning_since"] = now
    return values


def _leave(connection: Connection, run_id: str, to: RunState) -> None:
    """A run that has ended holds nothing any more, but where what it began may still go on: `resolve` frees that."""
    if to in FINAL and to is not RunState.OUTCOME_UNKNOWN:
        free_locks(connection, run_id)


def _impossible(connection: Connection, run_id: str, to: RunState) -> NotPossible:
    state = connection.execute(_STATE, {"run_id_": run_id}).scalar()
    if state is None:
        return NotPossible(f"there is no run {run_id}")
    return NotPossible(f"run {run_id} is {state}, from where it cannot become {to}")


def postpone(
    connection: Connection, run_id: str, *, seconds: float, words: str, waiting_for: str | None = None
) -> None:
    """Looks at the run again later, or when the lock it is ``waiting_for`` is freed before.

    The reason is shown, and audited when it changed.

    Raises:
        NotPossible: it has ended: what a person said last stays.
    """
    now = clock.now(connection)
    row = connection.execute(_REASON, {"run_id_": run_id}).one()
    if row.finished_at is not None:
        raise NotPossible(f"run {run_id} has ended meanwhile: {row.reason}")
    values = {"reason": words, "due_at": now + seconds, "updated_at": now, "waiting_for": waiting_for}
    connection.execute(_UPDATE, {**values, "run_id_": run_id})
    if row.reason != words:
        append(connection, run_id=run_id, event="waiting", actor=ENGINE, words=words)


def give_up(connection: Connection, run_id: str, *, owner: str | None, words: str) -> None:
    """After a fault of the program, not of the world: planning ends, and what is queued rests before the next try.

    Raises `NotPossible` when ``owner``, the replica that ran into it, does not own the run any more.
    """
    run = connection.execute(select(runs.c.state, runs.c.owner).where(runs.c.id == run_id)).one()
    expect_owner(run_id, run.owner, owner)
    if run.state == RunState.PLANNING:
        transition(connection, run_id, RunState.FAILED, words=f"{words}. Nothing was done. Please report it")
    else:
        postpone(connection, run_id, seconds=AFTER_FAULT, words=words)


def keep_plan(
    connection: Connection,
    run_id: str,
    to: RunState,
    *,
    plan: Plan,
    plan_hash: str,
    mode: Mode,
    policy_digest: str,
    words: str,
    expires_at: float | None = None,
    approvals_needed: int = 1,
    approvers: Sequence[str] | None = None,
    preapproved_by: Sequence[str] | None = None,
    acknowledged: Sequence[str] = (),
) -> None:
    """Stores what was planned and under which policy. ``approvers`` None is everybody with the right to.

    Raises `NotPossible` when an approval that was given beforehand is not in force any more.

    In `QUEUED` the policy itself approved this hash, or a person did and it is still the same: only then the risks
    that were accepted stay accepted.
    """
    before = connection.execute(_APPROVED, {"run_id_": run_id}).one()
    as_approved = to is RunState.QUEUED and before.approved_hash == plan_hash
    in_force(connection, preapproved_by or ())
    if to is RunState.AWAITING_APPROVAL:
        # Who approved another plan, or one that was approved and did not come to begin, has to look again.
        void = true() if before.approved_hash is not None else approvals.c.plan_hash != plan_hash
        connection.execute(delete(approvals).where(approvals.c.run_id == run_id, void))
    transition(
        connection,
        run_id,
        to,
        words=words,
        data={
            "plan_hash": plan_hash,
            "policy_digest": policy_digest,
            "mode": mode,
            **({"preapproved_by": list(preapproved_by)} if preapproved_by else {}),
        },
        plan=asdict(plan),
        plan_hash=plan_hash,
        approved_hash=plan_hash if to is RunState.QUEUED else None,
        acknowledged=before.acknowledged if as_approved else list(acknowledged),
        mode=mode,
        policy_digest=policy_digest,
        expires_at=expires_at,
        approvals_needed=approvals_needed,
        approvers=approvers if approvers is None else list(approvers),
        preapproved_by=preapproved_by if preapproved_by is None else list(preapproved_by),
    )
    if to is RunState.SHADOWED:
        shadow.follow(connection, run_id, before.alert["fingerprint"])


def in_force(connection: Connection, preapproved_by: Sequence[str]) -> None:
    """Raises `NotPossible` when one of these pre-approvals was revoked, or is over."""
    if not preapproved_by:
        return
    found = connection.execute(
        select(preapprovals.c.id).where(
            preapprovals.c.id.in_(preapproved_by),
            preapprovals.c.revoked_at.is_(None),
            preapprovals.c.until > clock.now(connection),
        )
    ).scalars()
    gone = set(preapproved_by) - set(found)
    if gone:
        raise NotPossible(f"the pre-approval {', '.join(sorted(gone))} is not in force any more")


def begin_anew(connection: Connection, run_id: str, *, owner: str | None = None) -> None:
    """Back to planning, for a run whose process died before its first step: nothing was done. Raises `NotPossible`."""
    token = _next_token(connection, run_id, owner)
    free_locks(connection, run_id)
    connection.execute(delete(steps).where(steps.c.run_id == run_id))
    words = "the process that claimed it is gone, and no step had begun: it is judged anew"
    transition(connection, run_id, RunState.PLANNING, words=words, token=token, started_at=None)


def take_over(connection: Connection, run_id: str, *, owner: str | None = None) -> int:
    """A new fencing token for a run whose process died, for the replica that took it. Raises `NotPossible`."""
    token = _next_token(connection, run_id, owner)
    words = "the process that ran it is gone; what it began is looked at first"
    connection.execute(
        update(runs).where(runs.c.id == run_id).values(token=token, reason=words, updated_at=clock.now(connection))
    )
    append(
        connection,
        run_id=run_id,
        event="taken_over",
        actor=ENGINE,
        words=words,
        data={"token": token},
    )
    return token


_TOKEN: Final = select(runs.c.token).where(runs.c.id == bindparam("run_id_"))
_MINE: Final = exists().where(runs.c.id == bindparam("run_id_"), runs.c.token == bindparam("token_"))
_STEP: Final = and_(steps.c.run_id == bindparam("run_id_"), steps.c.ordinal == bindparam("ordinal_"), _MINE)
# The fence is part of the statement: one question to the database, and no moment between the look and the change.
_INTEND: Final = (
    update(steps)
    .where(_STEP)
    .values(intended_at=func.coalesce(steps.c.intended_at, bindparam("now_")), attempts=bindparam("attempt_"))
)
_CHECKPOINT: Final = (
    update(steps)
    .where(_STEP)
    .values(done_at=bindparam("now_"), result=bindparam("words_"), facts=bindparam("facts_", type_=steps.c.facts.type))
)


def _next_token(connection: Connection, run_id: str, owner: str | None) -> int:
    run = connection.execute(select(runs.c.token, runs.c.owner).where(runs.c.id == run_id)).one()
    expect_owner(run_id, run.owner, owner)
    return int(run.token) + 1


def expect_owner(run_id: str, now: str | None, then: str | None) -> None:
    """Raises `NotPossible` when the replica that owns the run ``now`` is not the one that did when it was looked at."""
    if now != then:
        raise NotPossible(f"run {run_id} is another replica's now")


def _taken_over(run_id: str) -> Fenced:
    return Fenced(f"run {run_id} was taken over")


def intend(connection: Connection, run_id: str, token: int, step: StepRecord) -> None:
    """Writes down that another attempt of a step's act begins, before it does. Raises `Fenced` when it is settled."""
    attempt = step.attempts + 1
    this = {"run_id_": run_id, "token_": token, "ordinal_": step.ordinal, "now_": clock.now(connection)}
    memory.later(connection, _INTEND, {**this, "attempt_": attempt}, missed=lambda: _taken_over(run_id))
    append(
        connection,
        run_id=run_id,
        event="step_started",
        actor=ENGINE,
        words=step.spec.words,
        data={**_named(step, token), "attempt": attempt},
    )


def checkpoint(connection: Connection, run_id: str, token: int, step: StepRecord, done: Done) -> None:
    """Writes down that a step is done. Raises `Fenced` when it is settled."""
    facts = dict(done.facts)
    this = {"run_id_": run_id, "token_": token, "ordinal_": step.ordinal, "now_": clock.now(connection)}
    values = {**this, "words_": done.words, "facts_": facts}
    memory.later(connection, _CHECKPOINT, values, missed=lambda: _taken_over(run_id))
    append(
        connection,
        run_id=run_id,
        event="step_done",
        actor=ENGINE,
        words=done.words,
        data={**_named(step, token), "facts": facts},
    )


def _named(step: StepRecord, token: int) -> Mapping[str, Any]:
    return {"ordinal": step.ordinal, "kind": step.spec.kind, "target": step.spec.target, "token": token}


def note(connection: Connection, run_id: str, token: int, words: str) -> None:
    """Adds to the run's audit. Raises `Fenced`."""
    own(connection, run_id, token)
    append(connection, run_id=run_id, event="note", actor=ENGINE, words=words)


def advance(
    connection: Connection, run_id: str, token: int, to: RunState, words: str, *, in_vain: bool = False
) -> None:
    """`transition` for the owner of a run that executes. Raises `Fenced`, or `NotPossible`, when it is settled.

    Of one that failed ``in_vain`` the audit says so, and the ledger by that.
    """
    values = {**_moved(connection, to, words), "run_id_": run_id, "token_": token}
    memory.later(connection, _MOVE_OWN[to], values, missed=lambda: _missed(connection, run_id, token, to))
    _leave(connection, run_id, to)
    data = {IN_VAIN: True} if in_vain else None
    append(connection, run_id=run_id, event=to, actor=ENGINE, words=words, data=data)


def _missed(connection: Connection, run_id: str, token: int, to: RunState) -> Exception:
    if connection.execute(_TOKEN, {"run_id_": run_id}).scalar() != token:
        return _taken_over(run_id)
    return _impossible(connection, run_id, to)


def free_locks(connection: Connection, run_id: str) -> None:
    """What the run held may be taken by others: those that have waited longest for it look again then."""
    memory.later(connection, _WAKE, {"run_id_": run_id, "due_at": clock.now(connection), "waiting_for": None})
    memory.later(connection, _FREE, {"run_id_": run_id})


def own(connection: Connection, run_id: str, token: int) -> None:
    """Raises `Fenced` when somebody else owns the run by now."""
    if connection.execute(_TOKEN, {"run_id_": run_id}).scalar() != token:
        raise _taken_over(run_id)
