"""What stands in for Prometheus' word, and for a policy file, where a test is about something else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ballast_remediator.contract import Alert, AlertEvidence, Mode, Target
from ballast_remediator.policy import BudgetRule, Policy, PolicyFile, Rule
from ballast_remediator.store.inbox import Brake

NO_BRAKE = Brake(targets=10**6, window=60.0)


@dataclass
class Believing:
    """A witness for whom every alert is true, unless a test says otherwise."""

    saying: AlertEvidence | None = None
    asked: list[Alert] = field(default_factory=list)

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        del target, target_label
        self.asked.append(alert)
        return self.saying or AlertEvidence("ALERTS", alert.labels, age=1.0)


@dataclass
class Given:
    """A policy that is not of a file."""

    policy: Policy
    problem: str | None = None

    def current(self) -> Policy:
        return self.policy


def policy(
    mode: Mode = Mode.AUTO, *, name: str = "recording", match: Mapping[str, str] | None = None, **rule: Any
) -> Policy:
    """One rule, which allows as much as a rule can. It is not validated: its runbook may be none that is approved."""
    wide = {"budget": BudgetRule(runs=10**6), "cooldown": 1e-9, "approvers": None, "approvals": 1}
    one = Rule.model_construct(runbook=name, match=match or {}, mode=mode, **{**wide, **rule})
    return Policy(PolicyFile.model_construct(rules=(one,), brake=_no_brake(), freezes=(), time_zone="UTC"))


def _no_brake() -> Any:
    return PolicyFile.model_validate({"rules": [], "brake": {"targets": 10**6}}).brake
