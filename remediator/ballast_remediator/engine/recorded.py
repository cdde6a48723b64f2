"""What stands in for the world where a recording is all that there is of it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from ballast_remediator.contract import (
    Alert,
    AlertEvidence,
    Permissions,
    Plan,
    Reversibility,
    Runbook,
    Scalar,
    StepSpec,
    Target,
)
from ballast_remediator.policy import Policy
from ballast_remediator.runbooks import APPROVED

VALID: Final = 3600.0
"""Seconds, of the host's clock, for which what is made up may be acted on: a plan is claimed at once."""


@dataclass(slots=True)
class Clock:
    """The recording's time, in seconds since the epoch."""

    now: float

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Given:
    """The policy that is replayed, all the time."""

    policy: Policy
    problem: str | None = None

    def current(self) -> Policy:
        return self.policy


@dataclass(slots=True)
class Recorded:
    """Believes the recording: what it said last of an alert."""

    latest: dict[str, Alert] = field(default_factory=dict)

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        del target, target_label
        fires = self.latest[alert.fingerprint].firing
        return AlertEvidence("the recording", alert.labels if fires else None)


@dataclass(frozen=True, slots=True)
class World:
    """It shows the fault, and nothing but how many targets there are."""

    population: int
    valid_until: float


@dataclass(frozen=True)
class StandIn:
    """A runbook whose fault is always there and whose own guards always allow. Its one step does nothing."""

    name: str
    target_label: str
    reversibility: Reversibility
    limits: Mapping[str, Scalar]
    targets: Mapping[str, set[str]]
    """By cluster."""
    sources: tuple[ModuleType, ...] = ()
    permissions: Permissions = field(default_factory=Permissions)
    undo: str = ""
    locks: tuple[str, ...] = ()
    guards: tuple[Any, ...] = ()
    steps: Mapping[str, Any] = field(default_factory=dict)

    def knows(self, target: Target) -> bool:
        """No configuration is at hand."""
        del target
        return True

    def observe(self, alert: Alert, target: Target) -> World:
        del alert
        return World(len(self.targets[target.cluster]), time.monotonic() + VALID)

    def plan(self, world: World) -> Plan:
        del world
        return Plan(f"what {self.name} plans", (), (StepSpec("nothing", "nothing", "it is a replay"),), self.limits)

    def verify(self, context: object) -> Any:  # noqa: ANN401 - nothing is ever carried out
        raise NotImplementedError


def stand_ins(policy: Policy, targets: Mapping[str, Mapping[str, set[str]]]) -> Mapping[str, Runbook[Any]]:
    """For each approved runbook one whose plan is never wider than ``policy`` allows.

    ``targets`` are their names by runbook and cluster; they may be added later.
    """
    found: dict[str, Runbook[Any]] = {}
    for kind in APPROVED:
        limits: dict[str, Scalar] = {}
        for rule in policy.content.rules:
            if rule.runbook == kind.name:
                limits |= {name: min(most, float(limits.get(name) or most)) for name, most in rule.limits.items()}
        found[kind.name] = StandIn(kind.name, kind.target_label, kind.reversibility, limits, targets[kind.name])
    return found
