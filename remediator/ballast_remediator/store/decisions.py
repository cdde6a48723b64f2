"""What people decide. Each function is one transaction's work: the change and its audit entry, or neither."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from ballast_remediator.contract import EXECUTING, Plan, RunState, Target
from ballast_remediator.store import clock
from ballast_remediator.store.audit import append
from ballast_remediator.store.records import Preapproval
from ballast_remediator.store.runs import NotPossible, free_locks, transition
from ballast_remediator.store.schema import approvals, preapprovals, runs
from kube_ballast.analysis.words import duration

LONGEST_PREAPPROVAL: Final = 31 * 86400.0
"""Seconds. People leave, and what they approved for the far future would stay."""


def approve(
    connection: Connection,
    run_id: str,
    *,
    plan_hash: str,
    person: str,
    reason: str,
    acknowledged: Sequence[str],
) -> None:
    """Lets exactly this plan run, once as many different people as it takes have said so.

    Raises:
        NotPossible: the run does not wait for approval, its plan is another one by now, it expired, the policy does not
            let this person approve it, they have approved it already, or a risk that the plan names was not accepted.
    """
    run = _awaiting(connection, run_id, plan_hash, person)
    needed = set(Plan.parsed(run.plan).acknowledgements)
    missing = sorted(needed - set(acknowledged))
    if missing:
        raise NotPossible(f"this plan carries a risk that has to be accepted by name: {', '.join(missing)}")
    before = connection.execute(
        select(approvals.c.person).where(approvals.c.run_id == run_id, approvals.c.plan_hash == plan_hash)
    ).scalars()
    people = [*before, person]
    if people.count(person) > 1:
        raise NotPossible(f"{person} has approved this plan already; it takes {run.approvals_needed} different people")
    connection.execute(
        insert(approvals).values(
            run_id=run_id,
            plan_hash=plan_hash,
            person=person,
            at=clock.now(connection),
            reason=reason,
            acknowledged=sorted(acknowledged),
        )
    )
    words = f"approved by {person}: {reason}"
    data = {"plan_hash": plan_hash, "acknowledged": sorted(acknowledged)}
    left = run.approvals_needed - len(people)
    if left > 0:
        waits = f"approved by {', '.join(people)}; it takes {left} more of other people"
        connection.execute(
            update(runs).where(runs.c.id == run_id).values(reason=waits, updated_at=clock.now(connection))
        )
        append(connection, run_id=run_id, event="approved", actor=person, words=words, data=data)
        return
    transition(
        connection,
        run_id,
        RunState.QUEUED,
        actor=person,
        words=words,
        data=data,
        approved_hash=plan_hash,
        acknowledged=sorted(needed),
    )


def _awaiting(connection: Connection, run_id: str, plan_hash: str, person: str) -> Row[Any]:
    run = connection.execute(select(runs).where(runs.c.id == run_id)).one_or_none()
    if run is None:
        raise NotPossible(f"there is no run {run_id}")
    if run.state != RunState.AWAITING_APPROVAL:
        raise NotPossible(f"run {run_id} is {run.state}, not waiting for approval")
    if run.plan_hash != plan_hash:
        raise NotPossible(f"the plan of run {run_id} is another one now (hash {run.plan_hash[:12]}…): read it again")
    if run.expires_at is not None and run.expires_at <= clock.now(connection):
        raise NotPossible(f"run {run_id} expired")
    if run.approvers is not None and person not in run.approvers:
        allowed = ", ".join(run.approvers)
        raise NotPossible(f"the policy's rule does not let {person} approve this run; it names {allowed}")
    return run


def reject(connection: Connection, run_id: str, *, person: str, reason: str) -> None:
    """Cancels a run whose steps have not begun; its target rests as after an action. Raises `NotPossible`."""
    words = f"rejected by {person}: {reason}"
    transition(connection, run_id, RunState.CANCELLED, actor=person, words=words, rejected=True)


def resolve(connection: Connection, run_id: str, *, person: str, reason: str) -> None:
    """A person has looked at what a run of unknown outcome did: its target and its locks are free again."""
    changed = connection.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.state == RunState.OUTCOME_UNKNOWN, runs.c.resolved_at.is_(None))
        .values(resolved_at=clock.now(connection))
    )
    if not changed.rowcount:
        raise NotPossible(f"run {run_id} has no unknown outcome that waits to be resolved")
    free_locks(connection, run_id)
    append(connection, run_id=run_id, event="resolved", actor=person, words=f"looked at by {person}: {reason}")


def preapprove(
    connection: Connection,
    *,
    cluster: str,
    runbook: str,
    runbook_digest: str,
    targets: Sequence[str],
    limits: Mapping[str, float],
    acknowledged: Sequence[str],
    person: str,
    reason: str,
    until: float,
) -> Preapproval:
    """Approves beforehand: this runbook as it is reviewed now, on these targets, within these limits, until then.

    Raises:
        NotPossible: it names no target, is over before it begins, or lasts too long.
    """
    now = clock.now(connection)
    if not targets:
        raise NotPossible("a pre-approval names its targets; none does not mean all of them")
    if until <= now:
        raise NotPossible("a pre-approval that is over before it begins approves nothing")
    if until > now + LONGEST_PREAPPROVAL:
        raise NotPossible(
            f"a pre-approval lasts for {duration(LONGEST_PREAPPROVAL)} at most: then somebody has to look again"
        )
    given = Preapproval(
        id=secrets.token_hex(4),
        cluster=cluster,
        runbook=runbook,
        runbook_digest=runbook_digest,
        targets=tuple(sorted(set(targets))),
        limits=dict(limits),
        acknowledged=tuple(sorted(set(acknowledged))),
        person=person,
        reason=reason,
        given_at=now,
        until=until,
    )
    values = {name: getattr(given, name) for name in Preapproval.__slots__}
    connection.execute(
        insert(preapprovals).values(
            **{**values, "targets": list(given.targets), "acknowledged": list(given.acknowledged)}
        )
    )
    append(
        connection,
        event="preapproved",
        actor=person,
        words=f"{person} approves {runbook} beforehand on {', '.join(given.targets)} in {cluster}: {reason}",
        data={
            "preapproval": given.id,
            "limits": dict(limits),
            "acknowledged": list(given.acknowledged),
            "until": until,
        },
    )
    return given


def revoke(connection: Connection, preapproval_id: str, *, person: str, reason: str) -> None:
    """Takes a pre-approval back; a run that it let pass and that has not begun is planned anew.

    Raises:
        NotPossible: there is none in force of that id.
    """
    changed = connection.execute(
        update(preapprovals)
        .where(preapprovals.c.id == preapproval_id, preapprovals.c.revoked_at.is_(None))
        .values(revoked_at=clock.now(connection))
    )
    if not changed.rowcount:
        raise NotPossible(f"there is no pre-approval {preapproval_id} in force")
    append(
        connection,
        event="preapproval_revoked",
        actor=person,
        words=f"{person} takes the pre-approval back: {reason}",
        data={"preapproval": preapproval_id},
    )
    let_pass = connection.execute(
        select(runs.c.id, runs.c.state, runs.c.preapproved_by).where(
            runs.c.finished_at.is_(None), runs.c.state.not_in(EXECUTING), runs.c.preapproved_by.is_not(None)
        )
    ).all()
    nothing: dict[str, Any] = {"approved_hash": None, "expires_at": None, "preapproved_by": None}
    for run in let_pass:
        if preapproval_id not in (run.preapproved_by or ()):
            continue
        if run.state == RunState.QUEUED:
            words = f"{person} took back the pre-approval that let it pass: {reason}"
            transition(connection, run.id, RunState.PLANNING, words=words, actor=person, **nothing)
        else:
            connection.execute(update(runs).where(runs.c.id == run.id).values(**nothing))


def preapprovals_in_force(connection: Connection) -> tuple[Preapproval, ...]:
    """Those that are neither revoked nor over, oldest first."""
    rows = connection.execute(
        select(preapprovals)
        .where(preapprovals.c.revoked_at.is_(None), preapprovals.c.until > clock.now(connection))
        .order_by(preapprovals.c.given_at)
    )
    return tuple(
        Preapproval(
            id=row.id,
            cluster=row.cluster,
            runbook=row.runbook,
            runbook_digest=row.runbook_digest,
            targets=tuple(row.targets),
            limits=row.limits,
            acknowledged=tuple(row.acknowledged),
            person=row.person,
            reason=row.reason,
            given_at=row.given_at,
            until=row.until,
        )
        for row in rows
    )


def preapprovals_for(
    connection: Connection, target: Target, *, runbook_digest: str, plan: Plan
) -> tuple[Preapproval, ...]:
    """Those that cover this very plan on this target."""
    return tuple(one for one in preapprovals_in_force(connection) if one.covers(target, runbook_digest, plan))
