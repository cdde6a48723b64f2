"""What a policy would have decided about recorded notifications.

The real intake files them, the real judge and planner decide, in a store of its own whose clock is the recording's.
What a recording does not hold is taken to be so: see `ASSUMPTIONS`.
"""

import heapq
import math
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Final

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import (
    Alert,
    Mode,
    RunState,
    Target,
)
from ballast_remediator.engine.intake import Intake
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS, Judge
from ballast_remediator.engine.planning import Planner
from ballast_remediator.engine.recorded import Clock, Given, Recorded, stand_ins
from ballast_remediator.engine.review import Review
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.policy import Policy
from ballast_remediator.runbooks.lock import digest
from ballast_remediator.store import inbox, reading, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import SqliteFile
from ballast_remediator.store.records import Run

RUN_TAKES: Final = 300.0
"""Seconds for which a run that begins is taken to go on."""
TICK: Final = 0.001
"""Seconds between two notifications of the same time."""
ASSUMPTIONS: Final = (
    "the fault is there, every guard that looks at the world allows, and plans stay within the policy's limits",
    "alerts fire until their recording says resolved, with the labels that were delivered, and nobody silenced them",
    "a run that begins succeeds after 5 min and waits for no other one; a fault that is recorded as going on goes on",
    "nobody answers where a person is asked, and nobody stopped, froze, held or approved anything beforehand",
    "a budget in percent is a share of the targets that the recording names",
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One notification. ``at`` is when it came, in seconds since the epoch."""

    at: float
    body: bytes
    alerts: tuple[Alert, ...]


class Kind(StrEnum):
    """What becomes of an alert that fires."""

    RUN = "run"
    ASK = "ask"
    SHADOW = "shadow"
    SUPPRESSED = "suppressed"
    JOINED = "joined"
    """It is of a target that has an open run already."""
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Decision:
    """About one alert of one delivery.

    ``rule`` is the number, from 0, of the policy's rule that matches; ``guard`` the one that suppressed; ``people`` are
    those who may approve where a person is asked (None is everybody who may) and ``needed`` how many it takes.
    """

    kind: Kind
    words: str
    rule: int | None = None
    mode: Mode | None = None
    guard: str | None = None
    needed: int | None = None
    people: tuple[str, ...] | None = None

    @property
    def essence(self) -> tuple[object, ...]:
        """What it comes to. The words do not matter, and neither does where the rule stands in its file."""
        return self.kind, self.guard, self.needed, self.people


def replay(policy: Policy, deliveries: Sequence[Delivery], clusters: Iterable[str]) -> list[list[Decision | None]]:
    """Decisions by delivery and alert, both in their order; None for an alert that does not fire.

    Args:
        policy: what decides.
        deliveries: in the order of their time.
        clusters: what the configuration would name.

    Raises:
        StoreUnavailable: the temporary folder cannot be written.
    """
    clock = Clock(deliveries[0].at if deliveries else 0.0)
    with (
        tempfile.TemporaryDirectory(prefix="ballast-replay-") as folder,
        Store(SqliteFile(Path(folder) / "replay.db", clock, durable=False)) as store,
    ):
        return _Replay(store, clock, policy, clusters, deliveries).decide()


class _Replay:
    """One policy's way through the deliveries."""

    def __init__(
        self, store: Store, clock: Clock, policy: Policy, clusters: Iterable[str], deliveries: Sequence[Delivery]
    ) -> None:
        self._store = store
        self._clock = clock
        self._policy = policy
        self._deliveries = deliveries
        self._witness = Recorded()
        self._targets: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        runbooks = stand_ins(policy, self._targets)
        settings, policies = EngineSettings(), Given(policy)
        surroundings = Surroundings(None, wall=clock, monotonic=clock)
        self._intake = Intake(
            store, runbooks, dict.fromkeys(clusters, ()), policies, reopen_after=settings.reopen_after
        )
        review = Review(runbooks, {name: digest(runbook) for name, runbook in runbooks.items()})
        judge = Judge(
            store,
            runbooks=runbooks,
            review=review,
            witness=self._witness,
            surroundings=surroundings,
            settings=settings,
        )
        self._planner = Planner(store, judge, policies, surroundings, settings, may_decide=lambda _: True)
        self._open: dict[Target, str] = {}
        self._decided: dict[str, Decision] = {}
        self._due: list[tuple[float, int, str]] = []
        self._order = count()

    def decide(self) -> list[list[Decision | None]]:
        self._count_targets()
        filed = [self._deliver(delivery) for delivery in self._deliveries]
        self._pass_until(math.inf)
        return [[self._decided[one] if isinstance(one, str) else one for one in alerts] for alerts in filed]

    def _count_targets(self) -> None:
        for delivery in self._deliveries:
            for alert in delivery.alerts:
                target = self._intake.finding(alert).target
                if target is not None:
                    self._targets[target.runbook][target.cluster].add(target.name)

    def _deliver(self, delivery: Delivery) -> list[Decision | str | None]:
        """What becomes of each alert; the id of the run that it opened where that is decided later."""
        self._pass_until(max(delivery.at, self._clock.now + TICK))
        self._witness.latest |= {alert.fingerprint: alert for alert in delivery.alerts}
        self._store.write_together(inbox.accept, inbox.Arrival(delivery.body, "recording"))
        while self._intake.file():
            pass
        newest = self._store.read(reading.recent_runs, limit=len(delivery.alerts))
        opened = {run.target: run for run in newest if run.created_at == self._clock.now}
        return [self._filed(alert, opened) for alert in delivery.alerts]

    def _filed(self, alert: Alert, opened: dict[Target, Run]) -> Decision | str | None:
        found = self._intake.finding(alert)
        if found.target is None:
            return Decision(Kind.IGNORED, found.ignored) if alert.firing else None
        run = opened.pop(found.target, None) if alert.firing else None
        if run is not None:
            self._follow(run)
            return run.id
        self._look_again(found.target)
        return Decision(Kind.JOINED, f"its target has an open run ({found.target.name})") if alert.firing else None

    def _follow(self, run: Run) -> None:
        if run.final:
            self._decided[run.id] = self._decision(run)
        else:
            self._open[run.target] = run.id
            self._put_off(run.id, run.due_at)

    def _look_again(self, target: Target) -> None:
        """An alert that resolved may have sent a run that waits for a person back to be planned."""
        run = self._run(self._open[target]) if target in self._open else None
        if run is not None and run.state is RunState.PLANNING:
            self._put_off(run.id, self._clock.now)

    def _put_off(self, run_id: str, until: float) -> None:
        heapq.heappush(self._due, (until, next(self._order), run_id))

    def _pass_until(self, end: float) -> None:
        """Lets time pass, with everything that is due on the way."""
        while self._due and self._due[0][0] <= end:
            at, _, run_id = heapq.heappop(self._due)
            self._clock.now = max(self._clock.now, at)
            self._move(self._run(run_id))
        if math.isfinite(end):
            self._clock.now = end

    def _claim(self, run: Run) -> None:
        claiming = self._planner.claim(run)
        if claiming is not None:
            claiming.outcome.result()

    def _move(self, run: Run) -> None:
        if run.final:  # it was over before what it waited for
            return
        if run.state in {RunState.RECEIVED, RunState.PLANNING}:
            self._planner.plan(run)
        elif run.state is RunState.QUEUED:
            self._claim(run)
        elif run.state is RunState.RUNNING:
            self._store.write(runs.transition, run.id, RunState.VERIFYING, words="taken to be done")
            self._store.write(runs.transition, run.id, RunState.SUCCEEDED, words="taken to have helped")
        elif run.state is RunState.AWAITING_APPROVAL and (run.expires_at or math.inf) <= self._clock.now:
            self._store.write(runs.transition, run.id, RunState.EXPIRED, words="nobody answered")
        now = self._run(run.id)
        if now.state is not RunState.PLANNING:
            self._decided.setdefault(run.id, self._decision(now))
        if now.final:
            self._open.pop(now.target, None)
        elif now.state is not run.state:
            ends = {RunState.RUNNING: self._clock.now + RUN_TAKES, RunState.AWAITING_APPROVAL: now.expires_at}
            self._put_off(run.id, ends.get(now.state) or now.due_at)
        elif now.state in {RunState.PLANNING, RunState.QUEUED}:
            self._put_off(run.id, max(now.due_at, self._clock.now + TICK))

    def _run(self, run_id: str) -> Run:
        run = self._store.read(reading.run, run_id)
        assert run is not None, "runs are never deleted"
        return run

    def _decision(self, run: Run) -> Decision:
        rule = self._policy.decide(run.target.runbook, {**run.alert.labels, "cluster": run.target.cluster})
        number = None if rule is None else self._policy.content.rules.index(rule)
        mode = None if rule is None else rule.mode
        kind = _KINDS.get(run.state, Kind.SUPPRESSED)
        words = _ADVICE.sub("", _ID.sub("an earlier run", run.reason))
        if kind is Kind.ASK:
            return Decision(kind, words, number, mode, needed=run.approvals_needed, people=run.approvers)
        guard = words.partition(":")[0] if kind is Kind.SUPPRESSED else None
        return Decision(kind, words, number, mode, guard=guard if guard in _GUARDS else None)


_ID: Final = re.compile(r"\brun [0-9a-f]{8}\b")
_ADVICE: Final = re.compile(r"\W*(A person has to look, then|Then): ballastctl lift .*")
"""Ids of a replay's own store lead nowhere, and are others each time."""
_KINDS: Final = {
    RunState.QUEUED: Kind.RUN,
    RunState.SHADOWED: Kind.SHADOW,
    RunState.AWAITING_APPROVAL: Kind.ASK,
}
_GUARDS: Final = {"alert_is_true_now", "guard_failed", *(guard.__name__ for guard in (*LEDGER_GUARDS, *LOCK_GUARDS))}
