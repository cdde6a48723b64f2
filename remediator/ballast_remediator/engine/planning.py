"""Plans a run: what the judge says of it, and then what the policy says."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import Answer, Mode, Plan, Reversibility, RunState
from ballast_remediator.engine.judging import LOCK_GUARDS, STANDING_GUARDS, Case, Judge, Ready, Stop
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.guards.evidence_is_fresh import evidence_is_fresh
from ballast_remediator.policy import Policy
from ballast_remediator.store import decisions, ledger, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Preapproval, Run, StepRecord
from ballast_remediator.store.writer import Submitted

RETRY: Final = 2.0


class Policies(Protocol):
    """Where the policy comes from."""

    def current(self) -> Policy:
        """The one that is in force now."""

    @property
    def problem(self) -> str | None:
        """Why what was written last is not in force; None while it is."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What becomes of a plan that no guard refuses; it takes ``needed`` people, and ``given`` are who let it pass."""

    to: RunState
    words: str
    needed: int
    expires_at: float | None = None
    given: tuple[Preapproval, ...] = ()


@dataclass(frozen=True, slots=True)
class Claiming:
    """A claim that was handed over: the run's token, or what keeps it; and the steps of one that is claimed."""

    outcome: Submitted[int | Answer]
    steps: tuple[StepRecord, ...]


class Planner:
    """Everything before the first effect. Nothing here changes the world."""

    def __init__(
        self,
        store: Store,
        judge: Judge,
        policies: Policies,
        surroundings: Surroundings,
        settings: EngineSettings,
        *,
        may_decide: Callable[[str], bool],
    ) -> None:
        """``may_decide`` says of a person's name whether a token of that name may approve now."""
        self._may_decide = may_decide
        self._store = store
        self._judge = judge
        self._policies = policies
        self._surroundings = surroundings
        self._settings = settings

    def plan(self, run: Run) -> None:
        """Moves a run out of `PLANNING`, or postpones it while its obstacle may pass by itself."""
        if run.state is RunState.RECEIVED:
            self._store.write(runs.transition, run.id, RunState.PLANNING, words="looking at the world")
        outcome = self._judge.judge(self._case(run))
        if isinstance(outcome, Ready):
            self._decide(run, outcome)
            return
        waited = self._store.now() - (run.planning_since or self._store.now())
        if outcome.passing and waited < self._settings.planning_patience:
            self._store.write(runs.postpone, run.id, seconds=RETRY, words=outcome.words)
        else:
            # What was planned stays to be read, with every guard's answer.
            kept: dict[str, Any] = {} if outcome.plan is None else {"plan": asdict(outcome.plan)}
            self._store.write(runs.transition, run.id, outcome.state, words=outcome.words, **kept)

    def claim(self, run: Run) -> Claiming | None:
        """Looks again, and takes a queued run with its locks if nothing has changed since it was approved.

        Nobody waits for its end: many claims share a commit. None when the run went elsewhere.
        """
        # Only what a person approved has a deadline here: what the policy lets run by itself waits as long as it takes.
        if run.expires_at is not None and run.expires_at <= self._store.now():
            self._lapse(run)
            return None
        outcome = self._judge.look(self._case(run))
        if isinstance(outcome, Stop):
            # Planning has the patience, and the words, for whatever is in the way.
            to = RunState.CANCELLED if outcome.state is RunState.CANCELLED else RunState.PLANNING
            self._store.write(runs.transition, run.id, to, words=outcome.words)
            return None
        if outcome.request.plan_hash != run.approved_hash:
            self._store.write(
                runs.transition,
                run.id,
                RunState.PLANNING,
                words=f"what would be done changed since it was approved ({_changed(run, outcome)})",
                # Nobody has seen the new plan: it gets a deadline of its own.
                approved_hash=None,
                expires_at=None,
            )
            return None
        guards = (evidence_is_fresh, *LOCK_GUARDS)
        host = self._surroundings.host()
        wanted = ledger.Claim(outcome.request, outcome.plan, guards, host, STANDING_GUARDS, run.owner)
        steps = tuple(StepRecord(ordinal, spec) for ordinal, spec in enumerate(outcome.plan.steps, start=1))
        return Claiming(self._store.submit(ledger.claim, wanted), steps)

    def _case(self, run: Run) -> Case:
        return Case(run.id, run.alert, run.target, self._policies.current())

    def _decide(self, run: Run, ready: Ready) -> None:
        plan_hash = ready.request.plan_hash
        outlook = self.outlook(ready)
        expires_at = outlook.expires_at
        # What was approved beforehand is looked up anew each time: it may have been taken back.
        if run.preapproved_by or run.plan_hash != plan_hash or ready.rule.mode is Mode.SHADOW:
            pass
        elif run.approved_hash == plan_hash:
            if run.expires_at is not None and run.expires_at <= self._store.now():
                self._lapse(run)
                return
            # It was on its way when something passing held it up; what a person approved is still this plan.
            words = "approved already, and nothing has changed"
            outlook = Outlook(RunState.QUEUED, words, outlook.needed)
            expires_at = run.expires_at
        elif outlook.to is RunState.AWAITING_APPROVAL:
            # A plan looked at anew keeps its first deadline: an alert that comes and goes buys it no time.
            expires_at = run.expires_at or expires_at
        self._store.write(
            runs.keep_plan,
            run.id,
            outlook.to,
            plan=ready.plan,
            plan_hash=plan_hash,
            mode=ready.rule.mode,
            policy_digest=ready.policy.digest,
            words=outlook.words,
            expires_at=expires_at,
            approvals_needed=outlook.needed,
            approvers=ready.rule.approvers,
            preapproved_by=[one.id for one in outlook.given] or None,
            acknowledged=ready.plan.acknowledgements if outlook.given else (),
        )

    def _lapse(self, run: Run) -> None:
        words = f"approved, but it could not begin in time; at last: {run.reason}"
        self._store.write(runs.transition, run.id, RunState.EXPIRED, words=words)

    def outlook(self, ready: Ready) -> Outlook:
        """What the policy, and the approvals given beforehand, make of a plan that nobody has seen. Changes nothing."""
        mode = ready.rule.mode
        needed = ready.rule.approvals_needed(ready.reversibility)
        if mode is Mode.SHADOW:
            return Outlook(RunState.SHADOWED, "shadow: this is what would have been done", needed)
        risks = ready.plan.acknowledgements
        if mode is Mode.AUTO and not risks and ready.reversibility is not Reversibility.IRREVERSIBLE:
            return Outlook(RunState.QUEUED, "the policy lets it run by itself", needed)
        given = self._preapproved(ready)
        if len(given) >= needed:
            people = ", ".join(f"{one.person} ({one.reason})" for one in given)
            until = min(one.until for one in given)
            return Outlook(RunState.QUEUED, f"approved beforehand by {people}", needed, until, given)
        expires_at = self._store.now() + self._settings.approval_expires
        return Outlook(RunState.AWAITING_APPROVAL, _waits(ready.plan, needed), needed, expires_at)

    def _preapproved(self, ready: Ready) -> tuple[Preapproval, ...]:
        """The approvals given beforehand that hold for this plan: one of each person, and of those who may."""
        found = self._store.read(
            decisions.preapprovals_for,
            ready.request.target,
            runbook_digest=ready.runbook_digest,
            plan=ready.plan,
        )
        may = ready.rule.approvers
        people = {one.person: one for one in found if may is None or one.person in may}
        return tuple(one for one in people.values() if self._may_decide(one.person))


def _changed(run: Run, ready: Ready) -> str:
    """The limits and floors that are others than those that were approved, as far as it is those, and the new hash."""
    plan = run.plan or {}
    before, now = {**plan.get("limits", {}), **plan.get("floors", {})}, {**ready.plan.limits, **ready.plan.floors}
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    limits = [f"{name} was {before.get(name, 'none')} and is {now.get(name, 'none')}" for name in names]
    return "; ".join([*limits, f"plan hash {ready.request.plan_hash[:12]}…"])


def _waits(plan: Plan, needed: int) -> str:
    words = "waits for a person to approve it" if needed == 1 else f"waits for {needed} different people to approve it"
    if plan.acknowledgements:
        words += f"; the risk has to be accepted by name: {', '.join(plan.acknowledgements)}"
    return words
