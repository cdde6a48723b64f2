"""What the store gives out, as frozen dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ballast_remediator.contract import EXECUTING, FINAL, Alert, Mode, Plan, RunState, Scalar, StepSpec, Target


@dataclass(frozen=True, slots=True)
class Notification:
    """One accepted POST of Alertmanager, as it came."""

    id: int
    received_at: float
    source: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Times are seconds since the epoch, None where it has not come to that."""

    id: str
    target: Target
    state: RunState
    reason: str
    alert: Alert
    mode: Mode | None
    policy_digest: str | None
    plan: Mapping[str, Any] | None
    plan_hash: str | None
    approved_hash: str | None
    acknowledged: frozenset[str]
    token: int
    owner: str | None
    """The replica that works on it."""
    created_at: float
    updated_at: float
    due_at: float
    planning_since: float | None
    expires_at: float | None
    approvals_needed: int
    approvers: tuple[str, ...] | None
    """Who may approve it; None is everybody whose token is good for that."""
    preapproved_by: tuple[str, ...]
    """The pre-approvals that let its plan pass."""
    started_at: float | None
    finished_at: float | None
    resolved_at: float | None

    @property
    def final(self) -> bool:
        """It will not change any more."""
        return self.state in FINAL

    @property
    def executing(self) -> bool:
        """Its steps may have begun."""
        return self.state in EXECUTING


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list tells of a run: all but what is stored as JSON, which costs more to read than all the rest."""

    id: str
    target: Target
    state: RunState
    reason: str
    created_at: float
    updated_at: float
    started_at: float | None
    finished_at: float | None
    expires_at: float | None
    resolved_at: float | None


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval of a plan. ``at`` is seconds since the epoch."""

    person: str
    at: float
    reason: str
    acknowledged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preapproval:
    """One person's approval beforehand. Times are seconds since the epoch."""

    id: str
    cluster: str
    runbook: str
    runbook_digest: str
    targets: tuple[str, ...]
    limits: Mapping[str, float]
    """Each of them has to stand in the plan, and not above this."""
    acknowledged: tuple[str, ...]
    person: str
    reason: str
    given_at: float
    until: float

    def covers(self, target: Target, runbook_digest: str, plan: Plan) -> bool:
        """Whether this person has approved this very plan on this target."""
        return self.gap(target, runbook_digest, plan) is None

    def gap(self, target: Target, runbook_digest: str, plan: Plan) -> str | None:
        """Why it does not cover this plan on this target, in words; None when it does."""
        if (self.cluster, self.runbook) != (target.cluster, target.runbook) or target.name not in self.targets:
            return f"it is for {self.runbook} on {', '.join(self.targets)} in {self.cluster}"
        if self.runbook_digest != runbook_digest:
            return f"the source of {self.runbook} has changed since"
        risks = sorted(set(plan.acknowledgements) - set(self.acknowledged))
        if risks:
            return f"it does not accept the risk that {', '.join(risks)} names"
        for name, most in self.limits.items():
            if not _within(plan.limits.get(name), most):
                return f"it allows {name} up to {most:g}, and the plan has {plan.limits.get(name, 'no such limit')}"
        return None


def _within(planned: Scalar, most: float) -> bool:
    return isinstance(planned, int | float) and not isinstance(planned, bool) and planned <= most


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One step of a run: intended, then done. ``attempts`` counts how often its act began."""

    ordinal: int
    spec: StepSpec
    intended_at: float | None = None
    attempts: int = 0
    done_at: float | None = None
    result: str | None = None
    facts: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry of the append-only audit; ``hash`` covers it and the hash before it."""

    seq: int
    at: float
    run_id: str | None
    event: str
    actor: str
    words: str
    data: Mapping[str, Any]
    hash: str
