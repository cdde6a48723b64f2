"""What the store knows, as the API shows it."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ballast_remediator.contract import Mode, Plan, RunState, Scalar, Stop, StopKind, Verdict
from ballast_remediator.store import reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Approval, AuditEntry, Listed, Preapproval, Run, StepRecord


class View(BaseModel):
    """Something the API shows."""

    model_config = ConfigDict(frozen=True)


class RunSummary(View):
    """One run in a list."""

    id: str
    cluster: str
    runbook: str
    target: str = Field(description="What the run is about; for etcd-free-space the etcd's name.")
    state: RunState
    reason: str = Field(description="Why it is in this state, in words.")
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = Field(description="When its first step was allowed to begin.")
    finished_at: datetime | None
    expires_at: datetime | None = Field(description="When a plan that waits for approval lapses.")
    resolved_at: datetime | None = Field(description="When a person lifted the quarantine of an unknown outcome.")


class Runs(View):
    """The newest runs first."""

    runs: tuple[RunSummary, ...]


class AlertView(View):
    """The alert that opened the run."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime


class GuardAnswer(View):
    """What one guard said of the plan."""

    guard: str
    verdict: Verdict
    reason: str


class PlannedStep(View):
    """One step of the plan, as it was or will be approved."""

    ordinal: int = Field(description="From 1.")
    kind: str
    target: str
    words: str
    params: Mapping[str, Scalar]


class PlanView(View):
    """What the run is going to do, or did."""

    summary: str
    because: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    limits: Mapping[str, Scalar] = Field(description="What it does at most.")
    floors: Mapping[str, Scalar] = Field(default={}, description="What it keeps at least.")
    answers: tuple[GuardAnswer, ...]


class StepView(View):
    """How far one step came."""

    ordinal: int
    kind: str
    target: str
    words: str
    attempts: int = Field(description="How often its act began.")
    intended_at: datetime | None
    done_at: datetime | None
    result: str | None
    facts: Mapping[str, Scalar]


class ApprovalView(View):
    """One person's approval of the plan as it is."""

    person: str
    at: datetime
    reason: str
    acknowledged: tuple[str, ...]


class TimelineEntry(View):
    """One entry of the audit."""

    at: datetime
    event: str
    actor: str
    words: str


class RunDetail(RunSummary):
    """One run with all that led to where it is."""

    alert: AlertView
    mode: Mode | None = Field(description="What the policy lets it do; null before it was planned.")
    plan: PlanView | None
    plan_hash: str | None = Field(description="What an approval names.")
    to_acknowledge: tuple[str, ...] = Field(description="Guards whose risk an approval has to accept by name.")
    acknowledged: tuple[str, ...] = Field(description="Guards whose risk the approver accepted.")
    approvals: tuple[ApprovalView, ...] = Field(description="Who approved this very plan, the first one first.")
    approvals_needed: int = Field(description="How many different people it takes.")
    approvers: tuple[str, ...] | None = Field(
        description="Who may approve it, as the policy says; null is everybody whose token is good for it."
    )
    steps: tuple[StepView, ...] = Field(description="Empty until the run begins.")
    timeline: tuple[TimelineEntry, ...]


class StopView(View):
    """One stop that is in force."""

    id: str
    kind: StopKind
    cluster: str | None = Field(description="null: every one; so with `runbook` and `target`.")
    runbook: str | None
    target: str | None
    scope: str = Field(description="What it covers, in words.")
    person: str = Field(description="Who set it; a brake is set by the intake.")
    reason: str
    set_at: datetime
    until: datetime | None = Field(description="null: until somebody lifts it.")


class Stops(View):
    """The oldest first."""

    stops: tuple[StopView, ...]
    kill_switch_file: str | None = Field(
        description="The path of the kill switch's file on the remediator's host, while it exists: nothing runs then."
    )


class PreapprovalView(View):
    """One person's approval beforehand."""

    id: str
    cluster: str
    runbook: str
    runbook_digest: str
    targets: tuple[str, ...]
    limits: Mapping[str, float] = Field(description="Each has to stand in the plan, and not above this.")
    acknowledged: tuple[str, ...] = Field(description="Guards whose risk is accepted by name.")
    person: str
    reason: str
    given_at: datetime
    until: datetime
    problem: str | None = Field(description="Why it approves nothing as things are; null while it does.")


class Preapprovals(View):
    """The oldest first."""

    preapprovals: tuple[PreapprovalView, ...]


def runs(store: Store, *, limit: int, state: RunState | None) -> Runs:
    """The newest runs. Raises StoreUnavailable."""
    found = store.read(reading.listed, limit=limit, state=state)
    return Runs(runs=tuple(RunSummary(**_summary(run)) for run in found))


def run(store: Store, run_id: str) -> RunDetail | None:
    """One run, or None where there is none. Raises StoreUnavailable."""
    found = store.read(reading.run, run_id)
    if found is None:
        return None
    plan = None if found.plan is None else Plan.parsed(found.plan)
    return RunDetail(
        **_summary(found),
        alert=AlertView(
            fingerprint=found.alert.fingerprint,
            labels=found.alert.labels,
            annotations=found.alert.annotations,
            starts_at=_time(found.alert.starts_at),
        ),
        mode=found.mode,
        plan=None if plan is None else plan_view(plan),
        plan_hash=found.plan_hash,
        to_acknowledge=() if plan is None else plan.acknowledgements,
        acknowledged=tuple(sorted(found.acknowledged)),
        approvals=tuple(map(_approval, store.read(reading.approvals_of, found))),
        approvals_needed=found.approvals_needed,
        approvers=found.approvers,
        steps=tuple(map(_step, store.read(reading.steps_of, run_id))),
        timeline=tuple(map(_entry, store.read(reading.timeline, run_id))),
    )


def _summary(run: Run | Listed) -> dict[str, Any]:
    return {
        "id": run.id,
        "cluster": run.target.cluster,
        "runbook": run.target.runbook,
        "target": run.target.name,
        "state": run.state,
        "reason": run.reason,
        "created_at": _time(run.created_at),
        "updated_at": _time(run.updated_at),
        "started_at": _maybe(run.started_at),
        "finished_at": _maybe(run.finished_at),
        "expires_at": _maybe(run.expires_at),
        "resolved_at": _maybe(run.resolved_at),
    }


def plan_view(plan: Plan) -> PlanView:
    """As the API shows it."""
    content = asdict(plan)
    content["steps"] = [{**step, "ordinal": ordinal} for ordinal, step in enumerate(content["steps"], start=1)]
    return PlanView.model_validate(content)


def _step(step: StepRecord) -> StepView:
    return StepView(
        ordinal=step.ordinal,
        kind=step.spec.kind,
        target=step.spec.target,
        words=step.spec.words,
        attempts=step.attempts,
        intended_at=_maybe(step.intended_at),
        done_at=_maybe(step.done_at),
        result=step.result,
        facts=step.facts,
    )


def stop(one: Stop) -> StopView:
    """As the API shows it."""
    return StopView(
        **{
            **asdict(one),
            "scope": one.scope,
            "set_at": _time(one.set_at),
            "until": _maybe(one.until),
        }
    )


def preapproval(one: Preapproval, reviewed: Mapping[str, str]) -> PreapprovalView:
    """As the API shows it; ``reviewed`` are the digests of the runbooks that may run."""
    as_given = reviewed.get(one.runbook) == one.runbook_digest
    changed = f"{one.runbook} is not the one that was approved any more: its source has changed since"
    return PreapprovalView(
        **{
            **asdict(one),
            "given_at": _time(one.given_at),
            "until": _time(one.until),
            "problem": None if as_given else changed,
        }
    )


def _approval(one: Approval) -> ApprovalView:
    return ApprovalView(person=one.person, at=_time(one.at), reason=one.reason, acknowledged=one.acknowledged)


def _entry(entry: AuditEntry) -> TimelineEntry:
    return TimelineEntry(at=_time(entry.at), event=entry.event, actor=entry.actor, words=entry.words)


_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


def _time(seconds: float) -> datetime:
    """A sender's time may lie outside of what can be shown: then the nearest that can.

    Go's zero time written in another zone lies before it. The end of the year 9999 lies behind it: as a float it is
    rounded up to the year 10000.
    """
    if seconds <= _FIRST.timestamp():
        return _FIRST
    return _LAST if seconds >= _LAST.timestamp() else datetime.fromtimestamp(seconds, UTC)


def _maybe(seconds: float | None) -> datetime | None:
    return None if seconds is None else _time(seconds)
