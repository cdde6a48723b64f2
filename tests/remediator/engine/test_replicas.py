"""Three replicas in any interleaving: whoever stands still, dies or leaves, no step is done twice and nothing overlaps.

Each replica is a real `Membership` on one fake clock; what the engine does with a run is done one write at a time, so
that anything may happen between two of them. The world shows an effect at once.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from ballast_remediator.contract import Answer, Budget, Done, RunState, Target, Terms
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from ballast_remediator.engine.membership import BEATS, Membership
from ballast_remediator.store import ledger, reading, replicas, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.ledger import Host
from ballast_remediator.store.places import SqliteFile
from ballast_remediator.store.records import Run
from ballast_remediator.store.runs import Fenced, NotPossible
from ballast_remediator.store.schema import audit
from tests.remediator.guards import book
from tests.remediator.store.rows import PLAN, again, entries, opened, planned

LEASE = 12.0
REPLICAS = range(3)
TARGETS = ("a", "b", "c")
LOCK = "here/lock/control-plane"
TERMS = Terms(Budget(1000, None, 3600.0), 1e-9)


@dataclass
class Work:
    """A run that a thread of a replica carries out; it goes on when that wakes, whatever became of the run."""

    run: Run
    token: int
    replica: int
    assured: Callable[[], bool]
    intended: bool = False


@dataclass
class Replica:
    """A process. One that stands still does nothing, and knows nothing of it."""

    member: Membership
    standing: bool = False
    works: list[Work] = field(default_factory=list)


class Replicas(RuleBasedStateMachine):
    """What may happen to three replicas and their runs."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store(SqliteFile(Path(self.folder.name) / "remediator.db", durable=False))
        self.store.exclusive = False  # as if it were shared: what a replica may do hangs on its lease alone
        self.boot = 1000.0
        self.processes = [self._started() for _ in REPLICAS]
        self.acts: Counter[tuple[str, int]] = Counter()

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    def _started(self) -> Replica:
        return Replica(Membership(self.store, lease=LEASE, now=lambda: self.boot))

    # --- What may happen ---

    @initialize()
    def begin(self) -> None:
        for number, process in enumerate(self.processes):
            process.member.beat()
            self._look(number)

    def _alerts_fire(self) -> None:
        for about in TARGETS:
            if self.store.read(reading.open_run, Target("here", "book", about)) is None:
                planned(self.store, opened(self.store, about), to=RunState.QUEUED)

    @rule(beats=st.integers(1, BEATS + 1), silent=st.sampled_from([None, None, *REPLICAS]))
    def time_passes(self, beats: int, silent: int | None) -> None:
        """Those that do not stand still beat; ``silent`` is one that is starved for so long."""
        for _ in range(beats):
            self.boot += LEASE / BEATS
            for number, process in enumerate(self.processes):
                if not process.standing and number != silent:
                    process.member.beat()

    @rule(number=st.sampled_from(REPLICAS), fault=st.sampled_from(["stand still", "wake", "wake", "kill", "leave"]))
    def disturb(self, number: int, fault: str) -> None:
        process = self.processes[number]
        if fault == "kill":
            self.processes[number] = self._started()
        elif fault == "leave" and not process.standing:
            process.member._leave()  # at a shutdown; the steps in the middle go on for a moment
        else:
            process.standing = fault == "stand still"

    @precondition(lambda self: self._working())
    @rule(data=st.data(), beats=st.integers(BEATS, BEATS + 2))
    def sleep_at_work(self, data: st.DataObject, beats: int) -> None:
        """For about a lease, until it wakes just before its next write or effect; the others look meanwhile."""
        number, at = data.draw(st.sampled_from(self._working()))
        work = self.processes[number].works[at]
        self.disturb(number, "stand still")
        self.time_passes(beats, silent=None)
        for other in self._awake():
            self._look(other)
        self.disturb(number, "wake")
        self._go_on(work, number)

    @precondition(lambda self: self._awake())
    @rule(data=st.data(), writes=st.integers(0, 6))
    def look(self, data: st.DataObject, writes: int) -> None:
        """Of the engine, and its threads go on for a while."""
        number = data.draw(st.sampled_from(self._awake()))
        self._look(number)
        for _ in range(writes):
            for work in tuple(self.processes[number].works):
                self._go_on(work, number)

    def _look(self, number: int) -> None:
        """The engine takes what is nobody's, and begins or takes over what is its own and in no thread."""
        self._alerts_fire()
        process = self.processes[number]
        replica = process.member.id
        if replica is None:
            return
        open_runs = [run for run in self._runs() if not run.final]
        try:
            taken = self.store.write(replicas.take, [run.id for run in open_runs if run.owner is None], replica)
        except Fenced:
            return
        for run in [again(self.store, run) for run in open_runs]:
            assert (run.id in taken) <= (run.owner == replica)
            if run.owner == replica and not any(work.run.id == run.id for work in process.works):
                self._begin(process, number, run)

    def _begin(self, process: Replica, number: int, run: Run) -> None:
        assured = process.member.assurance()
        if run.state is RunState.QUEUED:
            locks = (f"here/target/{run.target.name}", LOCK)
            request = book.request(
                run_id=run.id, target=run.target, plan_hash="h", locks=locks, domains=(), terms=TERMS
            )
            token = self.store.write_together(
                ledger.claim, ledger.Claim(request, PLAN, (*LEDGER_GUARDS, *LOCK_GUARDS), Host(), owner=run.owner)
            )
            if isinstance(token, Answer):
                return
        elif any(step.intended_at for step in self.store.read(reading.steps_of, run.id)):
            token = self.store.write(runs.take_over, run.id, owner=run.owner)
        elif run.state is RunState.PLANNING:
            self.store.write(runs.transition, run.id, RunState.FAILED, words="nobody plans here")
            return
        else:
            self.store.write(runs.begin_anew, run.id, owner=run.owner)
            return
        process.works.append(Work(run, token, number, assured))

    @precondition(lambda self: self._working())
    @rule(data=st.data(), writes=st.integers(1, 8))
    def go_on(self, data: st.DataObject, writes: int) -> None:
        """One thread comes to its next writes, or to its effect."""
        number, at = data.draw(st.sampled_from(self._working()))
        work = self.processes[number].works[at]
        for _ in range(writes):
            if work in self.processes[number].works:
                self._go_on(work, number)

    def _go_on(self, work: Work, number: int) -> None:
        stale = again(self.store, work.run).token != work.token
        before = entries(self.store), self._steps(work)
        try:
            goes_on = self._next(work)
        except (Fenced, NotPossible):
            assert stale, "only who lost the run is fenced"
            goes_on = False
        else:
            assert not (stale and not goes_on), "who lost the run ends nothing"
        if stale:
            assert (entries(self.store), self._steps(work)) == before, "what a fenced replica writes changes nothing"
        if not goes_on:
            self.processes[number].works.remove(work)

    def _next(self, work: Work) -> bool:
        """Whether there is more to do. Raises `Fenced`."""
        step = next((one for one in self.store.read(reading.steps_of, work.run.id) if one.done_at is None), None)
        if step is None:
            state = again(self.store, work.run).state
            to = RunState.VERIFYING if state is RunState.RUNNING else RunState.SUCCEEDED
            self.store.write(runs.advance, work.run.id, work.token, to, "")
            return to is RunState.VERIFYING
        if self.acts[work.run.id, step.ordinal]:  # the world shows it
            self.store.write(runs.checkpoint, work.run.id, work.token, step, Done("it is there"))
            work.intended = False
        elif not work.intended:
            self.store.write(runs.intend, work.run.id, work.token, step)
            work.intended = True
        elif work.assured():
            self.acts[work.run.id, step.ordinal] += 1
            self._expect_alone(work)
        else:
            self.store.write(runs.own, work.run.id, work.token)  # it waits for its lease
        return True

    # --- What has to hold ---

    def _expect_alone(self, work: Work) -> None:
        """At an effect: nobody else may cause one now on what this run holds, which is the same for all of them."""
        assert again(self.store, work.run).token == work.token, "an action by a fenced replica"
        others = [one for process in self.processes for one in process.works if one is not work and one.assured()]
        for other in others:
            assert again(self.store, other.run).token != other.token or other.run.id == work.run.id, "two at once"
            assert other.run.id != work.run.id, "two replicas act on one run"

    @invariant()
    def no_effect_is_caused_twice(self) -> None:
        assert all(count == 1 for count in self.acts.values()), self.acts

    @invariant()
    def no_step_is_completed_twice(self) -> None:
        done = select(audit.c.run_id, audit.c.data).where(audit.c.event == "step_done")
        rows = self.store.read(lambda c: c.execute(done).all())
        completed = Counter((row.run_id, row.data["ordinal"]) for row in rows)
        assert all(count == 1 for count in completed.values()), completed

    @invariant()
    def one_run_at_a_time_goes_on(self) -> None:
        assert len([run for run in self._runs() if run.executing]) <= 1

    def _runs(self) -> list[Run]:
        return list(reversed(self.store.read(reading.recent_runs, limit=1000)))

    def _steps(self, work: Work) -> object:
        return self.store.read(reading.steps_of, work.run.id)

    def _awake(self) -> list[int]:
        return [number for number, process in enumerate(self.processes) if not process.standing]

    def _working(self) -> list[tuple[int, int]]:
        return [(number, at) for number in self._awake() for at in range(len(self.processes[number].works))]


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(
    max_examples=30,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
