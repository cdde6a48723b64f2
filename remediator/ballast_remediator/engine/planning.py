"""Plans a run: observe, plan, let the guards judge, and then what the policy says."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import (
    Answer,
    ClaimRequest,
    Mode,
    NotConfigured,
    NothingToDo,
    Plan,
    Runbook,
    RunState,
    Verdict,
    WorldGuard,
    first_refusal,
)
from ballast_remediator.engine.review import Review
from ballast_remediator.guards.lock_is_free import lock_is_free
from ballast_remediator.guards.target_is_not_quarantined import target_is_not_quarantined
from ballast_remediator.policy import Policy, Rule
from ballast_remediator.store import runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from kube_ballast.clients.errors import ClientError

LEDGER_GUARDS = (target_is_not_quarantined, lock_is_free)
RETRY = 2.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A plan that every world guard lets pass, until ``valid_until`` (monotonic seconds)."""

    plan: Plan
    plan_hash: str
    rule: Rule
    valid_until: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the run does not go on: for good, or ``passing`` and worth another look."""

    state: RunState
    words: str
    passing: bool = False


class Planner:
    """Everything before the first effect. Nothing here changes the world."""

    def __init__(
        self,
        store: Store,
        runbooks: Mapping[str, Runbook[Any]],
        review: Review,
        policy: Policy,
        settings: EngineSettings,
    ) -> None:
        self._store = store
        self._runbooks = runbooks
        self._review = review
        self._policy = policy
        self._settings = settings

    def plan(self, run: Run) -> None:
        """Moves a run out of `PLANNING`, or postpones it while its obstacle may pass by itself."""
        if run.state is RunState.RECEIVED:
            self._store.write(runs.transition, run.id, RunState.PLANNING, words="looking at the world")
        outcome = self._prepare(run)
        if isinstance(outcome, Ready):
            self._decide(run, outcome)
            return
        waited = time.time() - (run.planning_since or time.time())
        if outcome.passing and waited < self._settings.planning_patience:
            self._store.write(runs.postpone, run.id, seconds=RETRY, words=outcome.words)
        else:
            self._store.write(runs.transition, run.id, outcome.state, words=outcome.words)

    def claim(self, run: Run) -> int | None:
        """Looks again, and takes a queued run with its locks if nothing has changed since it was approved.

        Returns the fencing token; None when the run went elsewhere or has to wait.
        """
        # Only what a person approved has a deadline here: what the policy lets run by itself waits as long as it takes.
        if run.expires_at is not None and run.expires_at <= time.time():
            words = f"approved, but it could not begin in time; at last: {run.reason}"
            self._store.write(runs.transition, run.id, RunState.EXPIRED, words=words)
            return None
        outcome = self._prepare(run)
        if isinstance(outcome, Stop):
            # Planning has the patience, and the words, for whatever is in the way.
            to = RunState.CANCELLED if outcome.state is RunState.CANCELLED else RunState.PLANNING
            self._store.write(runs.transition, run.id, to, words=outcome.words)
            return None
        if outcome.plan_hash != run.approved_hash:
            self._store.write(
                runs.transition,
                run.id,
                RunState.PLANNING,
                words=f"what would be done changed since it was approved (plan hash {outcome.plan_hash[:12]}…)",
                # Nobody has seen the new plan: it gets a deadline of its own.
                approved_hash=None,
                expires_at=None,
            )
            return None
        target = run.target
        request = ClaimRequest(
            run_id=run.id,
            target=target,
            plan_hash=outcome.plan_hash,
            locks=(
                # An etcd may be named like a lock.
                f"{target.cluster}/target/{target.name}",
                *(f"{target.cluster}/lock/{lock}" for lock in self._runbooks[target.runbook].locks),
            ),
            valid_until=outcome.valid_until,
        )
        claimed = self._store.write(runs.claim, request, outcome.plan, LEDGER_GUARDS)
        if isinstance(claimed, Answer):
            self._store.write(runs.postpone, run.id, seconds=RETRY, words=f"{claimed.guard}: {claimed.reason}")
            return None
        return claimed

    def _prepare(self, run: Run) -> Ready | Stop:
        permitted = self._permitted(run)
        if isinstance(permitted, Stop):
            return permitted
        runbook, rule = permitted
        try:
            world = runbook.observe(run.alert, run.target)
        except NotConfigured as error:
            return Stop(RunState.SUPPRESSED, str(error))
        except ClientError as error:
            return Stop(RunState.SUPPRESSED, f"the world cannot be seen: {error}", passing=True)
        plan = runbook.plan(world)
        if isinstance(plan, NothingToDo):
            return Stop(RunState.CANCELLED, f"nothing to do: {plan.reason}")
        judged = replace(plan, answers=tuple(_ask(guard, world) for guard in runbook.guards))
        refusal = first_refusal(judged.answers)
        if refusal is not None:
            return Stop(RunState.SUPPRESSED, f"{refusal.guard}: {refusal.reason}", refusal.passing)
        plan_hash = judged.hash(
            target=run.target,
            runbook_digest=self._review.digests[runbook.name],
            policy_rule=rule.model_dump(mode="json"),
        )
        return Ready(judged, plan_hash, rule, world.valid_until)

    def _permitted(self, run: Run) -> tuple[Runbook[Any], Rule] | Stop:
        """The runbook and the rule that lets it answer this alert, before anything is looked at."""
        name = run.target.runbook
        runbook = self._runbooks.get(name)
        if runbook is None:
            return Stop(RunState.SUPPRESSED, f"there is no approved runbook {name} any more")
        objection = self._review.objection(name)
        if objection is not None:
            return Stop(RunState.SUPPRESSED, objection)
        # Where only one cluster is configured its alerts need not name it; the policy may all the same.
        rule = self._policy.decide(name, {**run.alert.labels, "cluster": run.target.cluster})
        if rule is None:
            return Stop(RunState.SUPPRESSED, f"no rule of the policy enables {name} for this alert's labels")
        return runbook, rule

    def _decide(self, run: Run, ready: Ready) -> None:
        mode = ready.rule.mode
        risks = ", ".join(ready.plan.acknowledgements)
        expires_at = None
        if mode is Mode.SHADOW:
            to, words = RunState.SHADOWED, "shadow: this is what would have been done"
        elif run.approved_hash == ready.plan_hash and (run.expires_at or math.inf) > time.time():
            # It was on its way when something passing held it up; what a person approved is still this plan.
            to, words, expires_at = RunState.QUEUED, "approved already, and nothing has changed", run.expires_at
        elif mode is Mode.AUTO and not risks:
            to, words = RunState.QUEUED, "the policy lets it run by itself"
        else:
            to = RunState.AWAITING_APPROVAL
            # A plan looked at anew keeps its first deadline: an alert that comes and goes buys it no time.
            expires_at = run.expires_at or time.time() + self._settings.approval_expires
            words = "waits for a person to approve it"
            if risks:
                words += f"; the risk has to be accepted by name: {risks}"
        self._store.write(
            runs.keep_plan,
            run.id,
            to,
            plan=ready.plan,
            plan_hash=ready.plan_hash,
            mode=mode,
            policy_digest=self._policy.digest,
            words=words,
            expires_at=expires_at,
        )


def _ask(guard: WorldGuard[Any], world: Any) -> Answer:  # noqa: ANN401 - each runbook has a world of its own
    try:
        return guard(world)
    except Exception as error:  # noqa: BLE001 - a guard that cannot answer forbids
        return Answer("guard_failed", Verdict.REFUSE, f"a guard could not answer: {error!r}")
