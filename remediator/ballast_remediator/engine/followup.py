"""Looks again at what was shadowed: what would the run have done later?"""

import threading
import time
from typing import Final

import structlog

from ballast_remediator.contract import Plan, RunState, StopKind, Target, Verdict
from ballast_remediator.engine.judging import Case, Judge, Stop
from ballast_remediator.engine.planning import Policies
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.store import reading, shadow, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from ballast_remediator.store.shadow import Later
from ballast_remediator.store.writer import StoreUnavailable

EVERY: Final = 1.0
"""Seconds between two questions to the store whether a look is due."""

log = structlog.get_logger()


class FollowUp:
    """One look at a time, in a thread of its own: no run ever waits for one."""

    def __init__(self, store: Store, judge: Judge, policies: Policies, surroundings: Surroundings) -> None:
        self._store = store
        self._judge = judge
        self._policies = policies
        self._surroundings = surroundings
        self._thread: threading.Thread | None = None
        self._asked_at = float("-inf")

    def begin(self) -> None:
        """Begins the next look if one is due and none goes on. Raises `StoreUnavailable`."""
        if time.monotonic() < self._asked_at + EVERY or (self._thread is not None and self._thread.is_alive()):
            return
        self._asked_at = time.monotonic()
        run_id = self._store.read(shadow.due)
        if run_id is not None:
            self._thread = threading.Thread(target=self.look, args=(run_id,), name="look", daemon=True)
            self._thread.start()

    def look(self, run_id: str) -> None:
        """Judges a shadowed run again and keeps what was found; a look that fails is one that saw nothing."""
        try:
            run = self._store.read(reading.run, run_id)
            assert run is not None, "the table refers to it"
            found, words, guard = self._found(run)
            self._store.write(shadow.record, run_id, found, words=words, guard=guard)
        except StoreUnavailable as error:
            log.info("look_waits", run=run_id, reason=str(error))

    def _found(self, run: Run) -> tuple[Later, str, str | None]:
        stopped = self._stopped(run.target)
        if stopped is not None:
            return Later.UNSEEN, f"nobody looked: {stopped}", None
        try:
            before = None if run.plan is None else _essence(Plan.parsed(run.plan), run.target)
            outcome = self._judge.judge(Case(run.id, run.alert, run.target, self._policies.current()))
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("look_failed", run=run.id)
            return Later.UNSEEN, f"a fault of the runbook or a guard: {error!r}", None
        if isinstance(outcome, Stop):
            return _stop(outcome)
        same = _essence(outcome.plan, run.target) == before
        return Later.SAME_PLAN if same else Later.OTHER_PLAN, outcome.plan.summary, None

    def _stopped(self, target: Target) -> str | None:
        """The kill switch that keeps even a look from being made, in words."""
        file = self._surroundings.kill_switch_file()
        if file is not None:
            return f"the file {file} is there"
        for stop in self._store.read(stops.in_force):
            if stop.kind is StopKind.KILL_SWITCH and stop.covers(target):
                return f"{stop.person} had stopped {stop.scope}: {stop.reason}"
        return None


def _stop(outcome: Stop) -> tuple[Later, str, str | None]:
    if outcome.state is RunState.CANCELLED:
        return Later.NOTHING_TO_DO, outcome.words, None
    refused = (answer for answer in outcome.answers if answer.verdict is Verdict.REFUSE)
    guard = next((answer.guard for answer in refused if outcome.words == f"{answer.guard}: {answer.reason}"), None)
    if guard is None and outcome.passing:
        return Later.UNSEEN, outcome.words, None
    return Later.REFUSED, outcome.words, guard


def _essence(plan: Plan, target: Target) -> str:
    """What a person would call the same plan: the hash without the runbook's source and the policy's rule."""
    return plan.hash(target=target, runbook_digest="", policy_rule={})
