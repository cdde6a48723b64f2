"""Looks at an alert and its target, plans, and asks every guard. Changes nothing: `planning` does, and `explain`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import (
    Alert,
    AlertEvidence,
    Answer,
    ClaimRequest,
    NotConfigured,
    NothingToDo,
    Plan,
    Reversibility,
    Runbook,
    RunState,
    Target,
    Verdict,
    first_refusal,
)
from ballast_remediator.engine.review import Review
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.engine.witness import Witness
from ballast_remediator.guards.alert_is_true_now import alert_is_true_now
from ballast_remediator.guards.brake_is_off import brake_is_off
from ballast_remediator.guards.budget_is_left import budget_is_left
from ballast_remediator.guards.clock_is_steady import clock_is_steady
from ballast_remediator.guards.earlier_runs_permit import earlier_runs_permit
from ballast_remediator.guards.evidence_is_fresh import evidence_is_fresh
from ballast_remediator.guards.kill_switch_is_off import kill_switch_is_off
from ballast_remediator.guards.lock_is_free import lock_is_free
from ballast_remediator.guards.no_freeze_window import no_freeze_window
from ballast_remediator.guards.nobody_is_at_work import nobody_is_at_work
from ballast_remediator.guards.one_disruption_per_domain import one_disruption_per_domain
from ballast_remediator.guards.plan_is_within_limits import plan_is_within_limits
from ballast_remediator.guards.target_has_rested import target_has_rested
from ballast_remediator.guards.target_is_not_quarantined import target_is_not_quarantined
from ballast_remediator.guards.window_is_open import window_is_open
from ballast_remediator.policy import Policy, Rule
from ballast_remediator.store import ledger
from ballast_remediator.store.database import Store
from kube_ballast.clients.errors import ClientError

W = TypeVar("W")

STANDING_GUARDS: Final = (
    kill_switch_is_off,
    brake_is_off,
    nobody_is_at_work,
    no_freeze_window,
    window_is_open,
    clock_is_steady,
    target_has_rested,
    earlier_runs_permit,
    budget_is_left,
    plan_is_within_limits,
)
LEDGER_GUARDS: Final = (*STANDING_GUARDS, evidence_is_fresh)
"""In the order in which refusals are told: what people said first, then what passes by itself."""

LOCK_GUARDS: Final = (target_is_not_quarantined, lock_is_free, one_disruption_per_domain)
"""They keep a run from beginning, not from being planned and approved: it waits for them as long as it takes."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A plan that no guard refuses, and the request that claims it. ``plan`` holds the answers of who was asked."""

    plan: Plan
    rule: Rule
    policy: Policy
    request: ClaimRequest
    reversibility: Reversibility
    runbook_digest: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the run does not go on: for good, or ``passing`` and worth another look.

    ``answers`` are those of the guards that were asked; ``plan`` is what there is of one.
    """

    state: RunState
    words: str
    passing: bool = False
    answers: tuple[Answer, ...] = ()
    plan: Plan | None = None
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged: an alert about a target, under a policy."""

    run_id: str
    alert: Alert
    target: Target
    policy: Policy


class Judge:
    """Everything that has to be asked before the first effect."""

    def __init__(
        self,
        store: Store,
        *,
        runbooks: Mapping[str, Runbook[Any]],
        review: Review,
        witness: Witness,
        surroundings: Surroundings,
        settings: EngineSettings,
    ) -> None:
        self._store = store
        self._runbooks = runbooks
        self._review = review
        self._witness = witness
        self._surroundings = surroundings
        self._settings = settings

    def judge(self, case: Case) -> Ready | Stop:
        """What a run would do now, or what keeps it. Asks Prometheus, Alertmanager, the world and the store."""
        seen = self._seen(case)
        if isinstance(seen, Stop):
            return seen
        guards = (*LEDGER_GUARDS, *LOCK_GUARDS)
        of_ledger = self._store.read(ledger.judge, seen.request, guards, self._surroundings.host())
        judged = replace(seen, plan=replace(seen.plan, answers=(*seen.plan.answers, *of_ledger)))
        # What the lock guards refuse is told, and waited for at the claim.
        return _unless_refused(judged, (*of_ledger[: len(LEDGER_GUARDS)], *seen.plan.answers))

    def look(self, case: Case) -> Ready | Stop:
        """As `judge`, without asking the store: a claim asks the ledger's guards itself, where their answers hold."""
        seen = self._seen(case)
        return seen if isinstance(seen, Stop) else _unless_refused(seen, seen.plan.answers)

    def _seen(self, case: Case) -> Ready | Stop:
        """A plan with what the world's guards answer, refusals too."""
        target = case.target
        runbook = self._runbooks.get(target.runbook)
        if runbook is None:
            return Stop(RunState.SUPPRESSED, f"there is no approved runbook {target.runbook} any more")
        objection = self._review.objection(target.runbook)
        if objection is not None:
            return Stop(RunState.SUPPRESSED, objection)
        evidence = self._witness.look(case.alert, target, runbook.target_label)
        fresh_within = self._settings.alert_fresh_within
        true_now = ask_guard(partial(alert_is_true_now, fresh_within=fresh_within), evidence)
        if true_now.verdict is Verdict.REFUSE:
            return _refused(true_now, (true_now,))
        rule = case.policy.decide(target.runbook, labels_of(evidence, target))
        if any(
            case.policy.decide(target.runbook, {**one, "cluster": target.cluster}) is not rule
            for one in evidence.others
        ):
            words = f"several alerts may be meant, and the policy has different rules for them: {evidence.question}"
            return Stop(RunState.SUPPRESSED, words, answers=(true_now,))
        if rule is None:
            words = f"no rule of the policy enables {target.runbook} for this alert's labels in Prometheus"
            return Stop(RunState.SUPPRESSED, words, answers=(true_now,))
        return self._planned(case, rule, runbook, true_now)

    def _planned(self, case: Case, rule: Rule, runbook: Runbook[Any], true_now: Answer) -> Ready | Stop:
        target = case.target
        try:
            world = runbook.observe(case.alert, target)
        except NotConfigured as error:
            return Stop(RunState.SUPPRESSED, str(error), answers=(true_now,), rule=rule)
        except ClientError as error:
            words = f"the world cannot be seen: {error}"
            return Stop(RunState.SUPPRESSED, words, passing=True, answers=(true_now,), rule=rule)
        plan = runbook.plan(world)
        if isinstance(plan, NothingToDo):
            return Stop(RunState.CANCELLED, f"nothing to do: {plan.reason}", answers=(true_now,), rule=rule)
        of_world = tuple(ask_guard(guard, world) for guard in runbook.guards)
        request = ClaimRequest(
            run_id=case.run_id,
            target=target,
            # Only the world's guards can ask a person for something: the ledger's allow or refuse.
            plan_hash=replace(plan, answers=of_world).hash(
                target=target,
                runbook_digest=self._review.digests[runbook.name],
                policy_rule=rule.model_dump(mode="json"),
            ),
            locks=(
                # An etcd may be named like a lock.
                f"{target.cluster}/target/{target.name}",
                *(f"{target.cluster}/lock/{lock}" for lock in runbook.locks),
            ),
            domains=tuple(f"{target.cluster}/domain/{domain}" for domain in plan.disturbs),
            limits=plan.limits,
            population=world.population,
            terms=case.policy.terms(rule),
            valid_until=world.valid_until,
            succession=plan.succession,
        )
        asked = replace(plan, answers=(true_now, *of_world))
        return Ready(asked, rule, case.policy, request, runbook.reversibility, self._review.digests[runbook.name])


def labels_of(evidence: AlertEvidence, target: Target) -> Mapping[str, str]:
    """What rules match: labels that Prometheus vouches for, and not those that somebody may have posted.

    Where only one cluster is configured its alerts need not name it; the policy may all the same.
    """
    return {**(evidence.series or {}), "cluster": target.cluster}


def _unless_refused(ready: Ready, answers: Sequence[Answer]) -> Ready | Stop:
    refusal = first_refusal(answers)
    return ready if refusal is None else _refused(refusal, ready.plan.answers, ready.plan, ready.rule)


def _refused(refusal: Answer, answers: Sequence[Answer], plan: Plan | None = None, rule: Rule | None = None) -> Stop:
    words = f"{refusal.guard}: {refusal.reason}"
    return Stop(RunState.SUPPRESSED, words, refusal.passing, tuple(answers), plan, rule)


def ask_guard(guard: Callable[[W], Answer], world: W) -> Answer:
    """The guard's answer; one that cannot answer forbids."""
    try:
        return guard(world)
    except Exception as error:  # noqa: BLE001 - a guard that raises blocks
        return Answer("guard_failed", Verdict.REFUSE, f"a guard could not answer: {error!r}")
