"""What the remediator would do about an alert, and why: judged like a run, and nothing is written or begun."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import Alert, AlertEvidence, Answer, Plan, Runbook, RunState, Target, Verdict
from ballast_remediator.engine.judging import Case, Judge, Ready, Stop, labels_of
from ballast_remediator.engine.planning import Outlook, Planner, Policies
from ballast_remediator.engine.review import Review
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.engine.witness import Witness
from ballast_remediator.policy import Policy, Rule
from ballast_remediator.store import decisions, reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.inbox import Finding
from ballast_remediator.store.records import Run

NOBODY: Final = "explained"
"""Stands for the run that there is not."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at: ``world`` is the runbook's own, None where it did not come to that."""

    evidence: AlertEvidence
    world: Any = None


@dataclass(frozen=True, slots=True)
class Decider:
    """The rule that decides. ``number`` counts from 1; ``needed`` is how many people it takes."""

    number: int
    rule: Rule
    needed: int | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """What a run on this alert would come to now.

    ``state`` is None where no run would answer it, and ``words`` say why. ``mismatches`` say, where no rule decides,
    what each one of the runbook wants. ``beforehand`` are pre-approvals of the target that do not cover the plan.
    """

    alert: Alert
    policy_digest: str
    words: str
    target: Target | None = None
    state: RunState | None = None
    passing: bool = False
    open_run: Run | None = None
    answers: tuple[Answer, ...] = ()
    plan: Plan | None = None
    plan_hash: str | None = None
    decider: Decider | None = None
    mismatches: tuple[str, ...] = ()
    beforehand: tuple[str, ...] = ()
    seen: Seen | None = None


class Explainer:
    """Explains with what the engine itself stands on. Thread safe."""

    def __init__(
        self,
        store: Store,
        *,
        runbooks: Mapping[str, Runbook[Any]],
        review: Review,
        witness: Witness,
        surroundings: Surroundings,
        settings: EngineSettings,
        planner: Planner,
        policies: Policies,
        finding: Callable[[Alert], Finding],
    ) -> None:
        self._store = store
        self._runbooks = runbooks
        self._review = review
        self._witness = witness
        self._surroundings = surroundings
        self._settings = settings
        self._planner = planner
        self._policies = policies
        self._finding = finding

    def explain(self, alert: Alert) -> Explained:
        """Asks Prometheus, Alertmanager and the world, as a run would. Raises `StoreUnavailable`."""
        policy = self._policies.current()
        found = self._finding(alert)
        target = found.target
        if target is None:
            return Explained(alert, policy.digest, found.ignored)
        open_run = self._store.read(reading.open_run, target)
        eyes = _Eyes(self._witness)
        judge = Judge(
            self._store,
            runbooks={name: _Watched(runbook, eyes) for name, runbook in self._runbooks.items()},
            review=self._review,
            witness=eyes,
            surroundings=self._surroundings,
            settings=self._settings,
        )
        outcome = judge.judge(Case(open_run.id if open_run else NOBODY, alert, target, policy))
        common = {"alert": alert, "policy_digest": policy.digest, "target": target, "open_run": open_run}
        common["seen"] = eyes.seen
        if isinstance(outcome, Ready):
            return self._ready(outcome, common)
        return _stopped(outcome, policy, eyes.seen, common)

    def _ready(self, ready: Ready, common: Mapping[str, Any]) -> Explained:
        outlook = self._planner.outlook(ready)
        waits = next((answer for answer in ready.plan.answers if answer.verdict is Verdict.REFUSE), None)
        words = outlook.words if waits is None else f"{outlook.words}; then it waits: {waits.guard}: {waits.reason}"
        return Explained(
            **common,
            state=outlook.to,
            words=words,
            answers=ready.plan.answers,
            plan=ready.plan,
            plan_hash=ready.request.plan_hash,
            decider=_decider(ready.policy, ready.rule, outlook.needed),
            beforehand=self._not_enough(ready, outlook) if outlook.to is RunState.AWAITING_APPROVAL else (),
        )

    def _not_enough(self, ready: Ready, outlook: Outlook) -> tuple[str, ...]:
        """Why what was approved beforehand does not let the plan pass."""
        target, may = ready.request.target, ready.rule.approvers
        found = []
        for one in self._store.read(decisions.preapprovals_in_force):
            if (one.cluster, one.runbook) != (target.cluster, target.runbook):
                continue
            gap = one.gap(target, ready.runbook_digest, ready.plan)
            if gap is None and may is not None and one.person not in may:
                gap = f"the rule does not let {one.person} approve"
            words = gap or f"it covers this plan, and it takes {outlook.needed} different people"
            found.append(f"{one.id} of {one.person}: {words}")
        return tuple(found)


def _stopped(stop: Stop, policy: Policy, seen: Seen | None, common: Mapping[str, Any]) -> Explained:
    target: Target = common["target"]
    unmatched = stop.rule is None and seen is not None and seen.evidence.series is not None and bool(stop.answers)
    labels = labels_of(seen.evidence, target) if unmatched and seen is not None else {}
    return Explained(
        **common,
        state=stop.state,
        words=stop.words,
        passing=stop.passing,
        answers=stop.answers,
        plan=stop.plan,
        decider=None if stop.rule is None else _decider(policy, stop.rule),
        mismatches=_mismatches(policy, target.runbook, labels) if unmatched else (),
    )


def _decider(policy: Policy, rule: Rule, needed: int | None = None) -> Decider:
    number = next(number for number, one in enumerate(policy.content.rules, start=1) if one is rule)
    return Decider(number, rule, needed)


def _mismatches(policy: Policy, runbook: str, labels: Mapping[str, str]) -> tuple[str, ...]:
    found = []
    for number, rule in enumerate(policy.content.rules, start=1):
        if rule.runbook != runbook:
            continue
        for name, value in rule.match.items():
            if labels.get(name) != value:
                has = f"the alert has {labels[name]!r}" if name in labels else "the alert has no such label"
                found.append(f"rule {number} wants {name} to be {value!r}; {has}")
    return tuple(found) or (f"the policy has no rule for {runbook}",)


class _Eyes:
    """A witness that remembers what it saw, and what a runbook saw."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self.seen: Seen | None = None

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        evidence = self._witness.look(alert, target, target_label)
        self.seen = Seen(evidence)
        return evidence

    def keep(self, world: object) -> None:
        """The world that was seen after the evidence."""
        assert self.seen is not None, "the judge looks at the alert first"
        self.seen = Seen(self.seen.evidence, world)


class _Watched:
    """A runbook whose world is kept; everything else is its own."""

    def __init__(self, runbook: Runbook[Any], eyes: _Eyes) -> None:
        self._runbook = runbook
        self._eyes = eyes

    def observe(self, alert: Alert, target: Target) -> Any:  # noqa: ANN401 - each runbook has its own world
        world = self._runbook.observe(alert, target)
        self._eyes.keep(world)
        return world

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._runbook, name)
