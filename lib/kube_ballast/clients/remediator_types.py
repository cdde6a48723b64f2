"""What a remediator shows. Source: the schemas of its own ``/openapi.json``. Times are aware; None is "not so far"."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run in a list. Times are aware; None where it has not come to that."""

    id: str
    cluster: str
    runbook: str
    target: str
    state: str
    reason: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Alert:
    """The alert that opened a run."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """``verdict`` is ``allow``, ``ask`` or ``refuse``."""

    guard: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step as the plan has it; ``ordinal`` counts from 1."""

    ordinal: int
    kind: str
    target: str
    words: str
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do, or did."""

    summary: str
    because: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    limits: Mapping[str, Scalar]
    answers: tuple[GuardAnswer, ...]
    floors: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """How far one step came."""

    ordinal: int
    kind: str
    target: str
    words: str
    attempts: int
    intended_at: datetime | None
    done_at: datetime | None
    result: str | None
    facts: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Approval:
    """One person's approval of the plan as it is."""

    person: str
    at: datetime
    reason: str
    acknowledged: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of a run's audit."""

    at: datetime
    event: str
    actor: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunSummary):
    """One run with all that led to where it is; ``plan_hash`` is what an approval names.

    It takes ``approvals_needed`` different people out of ``approvers``; None is everybody whose token is good for it.
    """

    alert: Alert
    mode: str | None
    plan: Plan | None
    plan_hash: str | None
    to_acknowledge: tuple[str, ...]
    acknowledged: tuple[str, ...]
    approvals: tuple[Approval, ...]
    approvals_needed: int
    approvers: tuple[str, ...] | None
    steps: tuple[Step, ...]
    timeline: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """What keeps runs from beginning. ``kind`` is ``kill_switch``, ``brake``, ``freeze`` or ``hold``.

    ``scope`` says in words what it covers; ``until`` None is until somebody lifts it.
    """

    id: str
    kind: str
    cluster: str | None
    runbook: str | None
    target: str | None
    scope: str
    person: str
    reason: str
    set_at: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Stops:
    """All that are in force, oldest first, and the path of the kill switch's file while that exists."""

    stops: tuple[Stop, ...]
    kill_switch_file: str | None


@dataclass(frozen=True, slots=True)
class Preapproval:
    """One person's approval beforehand; ``problem`` says why it approves nothing as things are."""

    id: str
    cluster: str
    runbook: str
    runbook_digest: str
    targets: tuple[str, ...]
    limits: Mapping[str, float]
    acknowledged: tuple[str, ...]
    person: str
    reason: str
    given_at: datetime
    until: datetime
    problem: str | None


@dataclass(frozen=True, slots=True)
class DecidingRule:
    """The policy's rule that decides; ``number`` counts from 1."""

    number: int
    match: Mapping[str, str]
    mode: str
    approvers: tuple[str, ...] | None
    approvals_needed: int | None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that is open already."""

    id: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a run on one alert would come to now; ``state`` None is that no run would answer it."""

    alert: str
    labels: Mapping[str, str]
    cluster: str | None
    runbook: str | None
    target: str | None
    state: str | None
    words: str
    passing: bool
    open_run: OpenRun | None
    answers: tuple[GuardAnswer, ...]
    plan: Plan | None
    plan_hash: str | None
    rule: DecidingRule | None
    mismatches: tuple[str, ...]
    beforehand: tuple[str, ...]
    policy_digest: str


@dataclass(frozen=True, slots=True)
class Explanations:
    """In the order of the alerts; ``recordings`` are what was seen, where that was asked for."""

    explanations: tuple[Explanation, ...]
    recordings: tuple[Any, ...] | None
