"""The clock of the remediator: one thread decides what is due, a few others do it."""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final

import structlog

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import EXECUTING, Alert, Answer, Runbook, RunState
from ballast_remediator.engine.execution import Executor
from ballast_remediator.engine.explaining import Explained, Explainer
from ballast_remediator.engine.followup import FollowUp
from ballast_remediator.engine.intake import HEARTBEAT, Intake
from ballast_remediator.engine.judging import Judge
from ballast_remediator.engine.membership import Membership
from ballast_remediator.engine.planning import Claiming, Planner, Policies
from ballast_remediator.engine.review import Review
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.engine.witness import Witness
from ballast_remediator.store import reading, replicas, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from ballast_remediator.store.writer import StoreUnavailable, Submitted
from kube_ballast.clients.alertmanager import Alertmanager

TICK: Final = 0.5
"""Seconds between two looks at what is due when nobody calls `Engine.wake`."""
GATHER: Final = 0.05
"""Seconds that a look waits for more of what woke it: in a flood, notifications are filed together."""
GATHER_IN_FLOOD: Final = 0.25
"""The same while so many come that what each look costs, and not its wait, decides how fast they are filed."""
FURTHEST: Final = 60.0
"""Seconds ahead at most for which a run's next look is believed; everything that postpones one stays below."""
AT_ONCE: Final = 64
"""Runs that are taken in hand in one look at most, those that are due longest first."""
ENOUGH: Final = 64
"""Runs in hand with which others are looked for only once a tick, and with so many that do not execute, not at all:
more of them would only wait, in memory."""
MOST: Final = 256
"""Runs that execute here with which no other one is claimed."""
PLANNERS: Final = 4
"""Threads that plan and claim."""
LEAVE_SECONDS: Final = 1.0
"""That are left of a shutdown to tell the other replicas, however long steps take."""
SILENT_AFTER: Final = 30.0
"""Seconds without a completed look after which the engine says that it does not work."""

log = structlog.get_logger()


class Engine:
    """Moves every open run forward, each in at most one thread at a time."""

    def __init__(
        self,
        store: Store,
        *,
        runbooks: Mapping[str, Runbook[Any]],
        reviewed: Mapping[str, str],
        policies: Policies,
        witness: Witness,
        alertmanagers: Mapping[str, tuple[Alertmanager, ...]],
        settings: EngineSettings,
        may_decide: Callable[[str], bool] = lambda _: True,
        nodes_at_work: Callable[[], Mapping[str, Mapping[str, str]]] = dict,
        heartbeat: str = HEARTBEAT,
    ) -> None:
        """``reviewed`` are the digests of runbooks.lock; ``alertmanagers`` those of each configured cluster."""
        self._store = store
        self._policies = policies
        self._stopping = threading.Event()
        self._due = threading.Event()
        self._busy: dict[str, bool] = {}
        """Runs in hand, and whether they execute."""
        self._busy_lock = threading.Lock()
        self._working: set[Future[None]] = set()
        self._intake = Intake(
            store, runbooks, alertmanagers, policies, reopen_after=settings.reopen_after, heartbeat=heartbeat
        )
        self._review = review = Review(runbooks, reviewed)
        # What the store dates is wrong when its clock is set, on whichever host that goes.
        wall = time.time if store.exclusive else store.now
        self._surroundings = surroundings = Surroundings(
            settings.kill_switch_file, nodes_at_work=nodes_at_work, wall=wall
        )
        self.membership = Membership(store, lease=settings.lease)
        judge = Judge(
            store,
            runbooks=runbooks,
            review=review,
            witness=witness,
            surroundings=surroundings,
            settings=settings,
        )
        self._planner = Planner(store, judge, policies, surroundings, settings, may_decide=may_decide)
        self._explainer = Explainer(
            store,
            runbooks=runbooks,
            review=review,
            witness=witness,
            surroundings=surroundings,
            settings=settings,
            planner=self._planner,
            policies=policies,
            finding=self._intake.finding,
        )
        self._executor = Executor(
            store,
            runbooks,
            review,
            surroundings=surroundings,
            membership=self.membership,
            stopping=self._stopping,
        )
        self._follow_up = FollowUp(store, judge, policies, surroundings)
        # Runs under way wait for most of their time, so many cost little; and they must not keep others from being
        # planned. Planning computes: more threads of it than these make notifications wait for their 202.
        self._planning = ThreadPoolExecutor(max_workers=PLANNERS, thread_name_prefix="plan")
        self._running = ThreadPoolExecutor(max_workers=settings.workers, thread_name_prefix="run")
        self._thread = threading.Thread(target=self._loop, name="engine", daemon=True)
        self._looked_at = time.monotonic()
        self._took_at = float("-inf")
        self._problem: str | None = None

    def start(self) -> None:
        """Begins, and takes over what an earlier process left unfinished."""
        self.membership.start()
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Lets each step end at its next pause, within ``timeout`` seconds, and hands over what is left.

        Returns whether nothing goes on here any more. If not, the process has to end now: others take over what it
        left, and begin by looking at it.
        """
        give_up = time.monotonic() + timeout - LEAVE_SECONDS
        self._stopping.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(max(0.0, give_up - time.monotonic()))
        for pool in (self._planning, self._running):
            pool.shutdown(wait=False, cancel_futures=True)
        _, left = wait(tuple(self._working), max(0.0, give_up - time.monotonic()))
        self.membership.stop(LEAVE_SECONDS)
        return not left and not self._thread.is_alive()

    def wake(self) -> None:
        """Something is due now: a notification was accepted, a person decided."""
        self._due.set()

    def problem(self) -> str | None:
        """Why nothing moves, in words; None while all is well."""
        silent = time.monotonic() - self._looked_at
        if silent > SILENT_AFTER:
            return self._problem or f"the engine has not looked at its runs for {silent:.0f} s"
        return None

    def ignored_alerts(self) -> int:
        """Alerts received since the start that no run answers; the log and the audit say why."""
        return self._intake.ignored

    def notifications_set_aside(self) -> int:
        """Notifications since the start that could not be filed for a fault of the program; the audit says which."""
        return self._intake.set_aside

    def kill_switch_file(self) -> str | None:
        """The path of the kill switch's file while it exists."""
        return self._surroundings.kill_switch_file()

    def policy_digest(self) -> str:
        """Of the policy that is in force."""
        return self._policies.current().digest

    def policy_problem(self) -> str | None:
        """Why the policy file as it is now is not in force; None while it is."""
        return self._policies.problem

    def runbooks(self) -> Mapping[str, str]:
        """The digests of the runbooks that may run, by their names."""
        return self._review.unobjected()

    def explain(self, alert: Alert) -> Explained:
        """What a run on ``alert`` would come to now; nothing is written or begun. Raises `StoreUnavailable`."""
        return self._explainer.explain(alert)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._due.wait(TICK)
            if self._stopping.wait(GATHER_IN_FLOOD if self._intake.flooded() else GATHER):
                return
            self._due.clear()
            try:
                if self._store.problem() is not None:
                    # Whoever is not ready is sent nothing: nobody else would find out that the disk has space again.
                    self._store.try_to_write()
                self._surroundings.host()  # a clock that is set and set right again between two runs is noticed too
                if self.membership.id is not None:
                    self._look(self.membership.id)
            except (StoreUnavailable, runs.Fenced) as error:
                self._problem = str(error)
                log.warning("engine_waits", reason=self._problem)
            except Exception:
                # The engine must outlive any fault of its own: the next look may succeed, and /readyz tells.
                self._problem = "the engine failed; its log says how"
                log.exception("engine_fault")
            else:
                self._looked_at, self._problem = time.monotonic(), None

    def _look(self, replica: str) -> None:
        """Raises `Fenced` when this replica was taken for dead."""
        if self.membership.has_duty(replicas.INTAKE):
            if self._intake.file(replica):
                self._due.set()
            self._follow_up.begin()
        else:
            self._intake.forget()
        with self._busy_lock:
            in_hand = dict(self._busy)
        executing = sum(in_hand.values())
        just_now = time.monotonic() - self._took_at < TICK
        if len(in_hand) - executing >= ENOUGH or (len(in_hand) >= ENOUGH and just_now):
            return
        self._took_at = time.monotonic()
        found = self._store.read(reading.due, replica=replica, furthest=FURTHEST, limit=AT_ONCE, in_hand=in_hand)
        free = [run.id for run in found if run.owner is None]
        taken = self._store.write(replicas.take, free, replica) if free else frozenset()
        for run in found:
            if run.state is RunState.QUEUED and executing >= MOST:
                continue  # it would hold its locks and do nothing
            if run.owner == replica or run.id in taken:
                self._move(run.id, run.state, replica)

    def _move(self, run_id: str, state: RunState, replica: str | None = None) -> None:
        if state is RunState.AWAITING_APPROVAL:
            with suppress(runs.NotPossible):  # a person was quicker
                self._store.write(runs.transition, run_id, RunState.EXPIRED, words="nobody approved it in time")
            return
        with self._busy_lock:
            if run_id in self._busy:
                return
            self._busy[run_id] = state in EXECUTING
        pool = self._running if state in EXECUTING else self._planning
        self._submit(pool, run_id, lambda: self._step(run_id, replica), replica)

    def _submit(self, pool: ThreadPoolExecutor, run_id: str, work: Callable[[], bool], replica: str | None) -> None:
        future = pool.submit(self._safely, run_id, work, replica)
        self._working.add(future)
        future.add_done_callback(self._working.discard)

    def _safely(self, run_id: str, work: Callable[[], bool], replica: str | None = None) -> None:
        """Does ``work`` on a run of ``replica``; it is free for the next look then, unless ``work`` says otherwise."""
        moved = handed_on = False
        try:
            handed_on = work()
            moved = True
        except (StoreUnavailable, runs.NotPossible) as error:
            # A person was quicker, or the store is down: the next look, a tick later, decides anew.
            log.info("run_waits", run=run_id, reason=str(error))
        except Exception as error:
            log.exception("engine_fault", run=run_id)
            with suppress(StoreUnavailable, runs.NotPossible):
                words = f"a fault of the runbook or a guard: {error!r}"
                self._store.write(runs.give_up, run_id, owner=replica, words=words)
        finally:
            if not handed_on:
                self._let_go(run_id)
            if moved:
                self._due.set()

    def _let_go(self, run_id: str) -> None:
        with self._busy_lock:
            self._busy.pop(run_id, None)

    def _step(self, run_id: str, replica: str | None = None) -> bool:
        """Moves a run on that ``replica`` had taken; whether another thread goes on with it."""
        if self._stopping.is_set():
            return False  # what it was left with is for whoever takes it next
        run = self._store.look(reading.run, run_id)
        # One that lost its owner while it waited here is whose takes it next: after a burial that may be anybody.
        if run is None or run.final or run.owner != replica:
            return False
        if run.state in {RunState.RECEIVED, RunState.PLANNING}:
            self._planner.plan(run)
        elif run.state is RunState.QUEUED:
            claiming = self._planner.claim(run)
            return claiming is not None and self._hand_on(run, claiming)
        elif run.executing:
            # Nobody works on it here, so the process that did is gone.
            self._executor.take_over(run)
        return False

    def _hand_on(self, run: Run, claiming: Claiming) -> bool:
        """A run that is being claimed, to those that carry runs out: once it is."""

        def carry_out() -> bool:
            token = claiming.outcome.result()
            assert isinstance(token, int)
            self._executor.execute(run, token, claiming.steps)
            return False

        def go_on() -> None:  # in the writer's thread, which must not wait
            claimed = _claimed(claiming.outcome)
            if claimed is False:  # it is put off, or looked at again
                self._let_go(run.id)
                self._due.set()
                return
            with self._busy_lock:
                self._busy[run.id] = claimed is True
            try:
                self._submit(self._running if claimed else self._planning, run.id, carry_out, run.owner)
            except RuntimeError:
                if not self._stopping.is_set():
                    raise
                # Whoever starts next looks at the run.

        claiming.outcome.on_end(go_on)
        return True


def _claimed(ended: Submitted[int | Answer]) -> bool | None:
    """None for an error: it is raised, and told, where the run goes on."""
    try:
        return not isinstance(ended.result(), Answer)
    except Exception:  # noqa: BLE001
        return None
