"""Carries a claimed run out: each step observed, intended, done, written down. A runbook's fault costs its own run."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import structlog

from ballast_remediator.contract import (
    Done,
    InVain,
    Observed,
    OutcomeUnknown,
    Progress,
    Runbook,
    RunState,
    Scalar,
    Step,
    StepFailed,
    Stop,
    StopKind,
    Stopped,
)
from ballast_remediator.engine.membership import Membership
from ballast_remediator.engine.review import Review
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.store import reading, runs, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run, StepRecord
from ballast_remediator.store.writer import StoreUnavailable, Undecided
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import ClientError

ATTEMPTS: Final = 3
"""How often a step's act may begin before the run fails."""
PAUSE: Final = 1.0
"""Seconds between two looks at a step whose outcome is unknown, and between two tries of the store."""
UNKNOWN_FOR: Final = 900.0
"""Seconds after which a step that cannot be told done from not done is left to a person."""
UNREVIEWED_FOR: Final = 30.0
"""Seconds between two looks at a run that may not go on because its runbook is not the reviewed one."""

LATER: Final = "What is left is planned anew when the alert comes again"

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger()


class Context:
    """`contract.StepContext` for one claimed run."""

    def __init__(
        self,
        store: Store,
        run: Run,
        token: int,
        *,
        surroundings: Surroundings,
        assured: Callable[[], bool],
        stopping: threading.Event,
    ) -> None:
        self._store = store
        self._assured = assured
        self._surroundings = surroundings
        self._stopping = stopping
        self._token = token
        self.run_id = run.id
        self.target = run.target
        self.acknowledged = run.acknowledged

    def facts(self, kind: str) -> Mapping[str, Scalar]:
        found: dict[str, Scalar] = {}
        for step in self.steps():
            if step.spec.kind == kind and step.done_at is not None:
                found.update(step.facts)
        return found

    def note(self, words: str) -> None:
        self.record(runs.note, words)

    def wait(self, seconds: float) -> None:
        if self._stopping.wait(seconds):
            raise Stopped("this process shuts down")

    def now(self) -> float:
        return time.monotonic()

    def steps(self) -> tuple[StepRecord, ...]:
        """The run's steps as the store has them; waits while the store is down."""
        return self._patiently(lambda: self._store.look(reading.steps_of, self.run_id))

    def assure(self) -> None:
        """Waits while this replica may have been taken for dead, as after it stood still for long.

        Raises:
            Fenced: it was, and somebody else goes on with the run.
            Stopped: the process shuts down.
        """
        if self._assured():
            return
        log.warning("run_waits_for_lease", run=self.run_id)
        while not self._assured():
            self.record(runs.own)
            self.wait(PAUSE)
        self.record(runs.own)  # asked after the lease began anew: nobody takes the run before it ends

    def go_on(self) -> None:
        self.wait(0.0)
        told = self.told()
        self.assure()
        if told is not None:
            raise StepFailed(f"{told}: ended before the next effect. {LATER}")

    def told(self) -> str | None:
        """Who stopped the run with a kill switch, in words; None when nobody did. Waits while the store is down."""
        found = self._patiently(lambda: self._store.read(stops.in_force))
        return self._words_of(
            [stop for stop in found if stop.kind is StopKind.KILL_SWITCH and stop.covers(self.target)]
        )

    def intend(self, record: StepRecord) -> None:
        """Writes down that another attempt of the step's act begins.

        Raises:
            StepFailed: somebody stopped the run with a kill switch; then nothing is half-done.
            Fenced: somebody else owns the run.
            Stopped: the process shuts down.
        """
        if self._surroundings.kill_switch_file() is not None:
            _expect_untold(record, self.told())
        mine = self.record(stops.intend, record, target=self.target)
        _expect_untold(record, self._words_of(mine))

    def _words_of(self, mine: Iterable[Stop]) -> str | None:
        words = [f"{stop.person} stopped {stop.scope} ({stop.reason})" for stop in mine]
        file = self._surroundings.kill_switch_file()  # last: the store may have been waited for
        if file is not None:
            words.append(f"the kill switch's file {file} is there")
        return "; ".join(words) or None

    def record(self, operation: Callable[Concatenate[Any, str, int, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Writes as the run's owner, and keeps trying while the store is down.

        What was done must not be forgotten for an outage of the store: it would be done again.

        Raises:
            Fenced: somebody else owns the run.
            Stopped: the process shuts down.
        """
        return self._patiently(lambda: self._store.write(operation, self.run_id, self._token, *args, **kwargs))

    def _patiently(self, ask: Callable[[], R]) -> R:
        once_more = ask
        while True:
            try:
                return once_more()
            except StoreUnavailable as error:
                # Few operations may be written twice: one that may still be committed is waited for.
                once_more = error.outcome if isinstance(error, Undecided) else ask
                log.warning("run_waits_for_store", run=self.run_id, reason=str(error))
                self.wait(PAUSE)


def _expect_untold(record: StepRecord, told: str | None) -> None:
    """Raises `StepFailed`."""
    if told is not None:
        raise StepFailed(
            f"{told}: ended before step {record.ordinal} ({record.spec.words}), with nothing half-done. {LATER}"
        )


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a run ends. ``in_vain`` as `InVain` says."""

    state: RunState
    words: str
    in_vain: bool = False


class Executor:
    """Runs the steps of claimed runs, then verifies."""

    def __init__(
        self,
        store: Store,
        runbooks: Mapping[str, Runbook[Any]],
        review: Review,
        *,
        surroundings: Surroundings,
        membership: Membership,
        stopping: threading.Event,
    ) -> None:
        self._surroundings = surroundings
        self._membership = membership
        self._store = store
        self._runbooks = runbooks
        self._review = review
        self._stopping = stopping

    def take_over(self, run: Run) -> None:
        """Goes on with a run whose process is gone; one whose runbook is not reviewed as it is now stays as it is."""
        name = run.target.runbook
        if not any(step.intended_at for step in self._store.look(reading.steps_of, run.id)):
            # Nothing was done, and what allowed it may not hold any more.
            self._store.write(runs.begin_anew, run.id, owner=run.owner)
            return
        objection = self._review.objection(name) if name in self._runbooks else None
        if objection is None:
            self.execute(run, self._store.write(runs.take_over, run.id, owner=run.owner))
            return
        told = self._context(run, run.token).told()
        if told is None:
            words = f"under way, and left as it is: {objection}"
            self._store.write(runs.postpone, run.id, seconds=UNREVIEWED_FOR, words=words)
        else:
            words = f"{told}, and its runbook may not look at what it began: {objection}"
            self._store.write(runs.advance, run.id, run.token, RunState.OUTCOME_UNKNOWN, words)

    def execute(self, run: Run, token: int, steps: Sequence[StepRecord] | None = None) -> None:
        """Carries the run to a final state, or leaves it as it is when this process has to stop.

        ``steps`` are its own, where nothing can have changed them since; else the store is asked.
        """
        context = self._context(run, token)
        try:
            outcome = self._outcome(run, context, steps)
            context.record(runs.advance, outcome.state, outcome.words, in_vain=outcome.in_vain)
        except (Stopped, runs.Fenced) as error:
            log.info("run_left", run=run.id, reason=str(error))

    def _context(self, run: Run, token: int) -> Context:
        return Context(
            self._store,
            run,
            token,
            surroundings=self._surroundings,
            assured=self._membership.assurance(),
            stopping=self._stopping,
        )

    def _outcome(self, run: Run, context: Context, steps: Sequence[StepRecord] | None) -> _Outcome:
        try:
            runbook = self._runbook(run.target.runbook)
            if run.state is not RunState.VERIFYING:
                for step in context.steps() if steps is None else steps:
                    if step.done_at is None:
                        self._carry_out(step, runbook.steps[step.spec.kind], context)
                context.record(runs.advance, RunState.VERIFYING, "all steps are done; looking at the world")
            return _Outcome(RunState.SUCCEEDED, runbook.verify(context).words)
        except (Stopped, runs.Fenced):
            raise
        except OutcomeUnknown as error:
            return _Outcome(RunState.OUTCOME_UNKNOWN, str(error))
        except InVain as error:
            return _Outcome(RunState.FAILED, str(error), in_vain=True)
        except (StepFailed, ClientError) as error:
            return _Outcome(RunState.FAILED, str(error))
        except Exception as error:
            log.exception("runbook_fault", run=run.id)
            words = f"a fault in the runbook itself: {error!r}. Please report it"
            begun = next((step for step in context.steps() if step.intended_at and step.done_at is None), None)
            if begun is None:
                return _Outcome(RunState.FAILED, words)
            told = f"step {begun.ordinal} ({begun.spec.words}) had begun; {words}"
            return _Outcome(RunState.OUTCOME_UNKNOWN, told)

    def _runbook(self, name: str) -> Runbook[Any]:
        found = self._runbooks.get(name)
        if found is None:
            raise OutcomeUnknown(
                f"{name} was under way and is not approved any more: see which steps are done, and let a person finish"
            )
        return found

    def _carry_out(self, record: StepRecord, step: Step, context: Context) -> None:
        """Observes until it can be told, then acts; whatever fails on the way is looked at again."""
        unknown_since = context.now()
        failure: ClientError | None = None
        while True:
            observed = self._observe(record, step, context)
            if observed.progress is Progress.DONE:
                context.record(runs.checkpoint, record, Done(observed.words, observed.facts))
                return
            if observed.progress is Progress.UNKNOWN:
                if context.now() - unknown_since > UNKNOWN_FOR:
                    raise OutcomeUnknown(
                        f"step {record.ordinal} ({record.spec.words}): {duration(UNKNOWN_FOR)} of looking did not "
                        f"tell whether it is done: {observed.words}"
                    )
                context.wait(PAUSE)
                continue
            context.wait(0.0)  # a process that shuts down begins nothing more
            asked = context.now()
            context.intend(record)
            record = replace(record, attempts=record.attempts + 1)
            if record.attempts > ATTEMPTS:
                last = "each time this process ended in the middle of it" if failure is None else f"at last: {failure}"
                raise StepFailed(f"step {record.ordinal} ({record.spec.words}) failed {ATTEMPTS} times; {last}")
            context.assure()  # last: whatever was asked before may have taken long
            if context.now() - asked >= PAUSE:
                # Such as a commit whose answer got lost, while another replica was told to stop everything.
                _expect_untold(record, context.told())
                context.assure()
            try:
                done = step.act(record.spec, context)
            except ClientError as error:
                failure = error
                context.note(f"{record.spec.kind} was interrupted ({error}); looking before anything else")
                unknown_since = context.now()
                context.wait(PAUSE)
            else:
                context.record(runs.checkpoint, record, done)
                return

    def _observe(self, record: StepRecord, step: Step, context: Context) -> Observed:
        try:
            return step.observe(record.spec, context)
        except ClientError as error:
            return Observed(Progress.UNKNOWN, str(error))
