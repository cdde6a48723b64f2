"""An engine without threads of its own and a runbook that records: what each turn does can be looked at."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from ballast_remediator.config import EngineSettings
from ballast_remediator.contract import (
    EXECUTING,
    FINAL,
    Alert,
    Done,
    NothingToDo,
    Observed,
    Permissions,
    Plan,
    Progress,
    Reversibility,
    RunState,
    Step,
    StepContext,
    StepSpec,
    Target,
    WorldGuard,
)
from ballast_remediator.engine.planning import Claiming
from ballast_remediator.engine.scheduler import Engine
from ballast_remediator.policy import Policy
from ballast_remediator.runbooks.lock import digest
from ballast_remediator.store import decisions, inbox, reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.config import HttpConfig
from tests.remediator.chain import payload
from tests.remediator.standing import Believing, Given, policy
from tests.waiting import eventually

FAR = 1e18
Hook = Callable[[StepContext], object]


@dataclass(frozen=True)
class SeenWorld:
    """What `Recording` saw: nothing but when."""

    valid_until: float
    population: int = 1


@dataclass
class Recorded(Step):
    """A step that notes its effect, and whose hooks may raise. ``visible`` effects can be observed."""

    kind: str
    effects: list[tuple[str, str]]
    visible: bool = True
    before: Hook = lambda _: None
    after: Hook = lambda _: None
    looking: Hook = lambda _: None

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        self.looking(context)
        if self.visible and (spec.kind, context.run_id) in self.effects:
            return Observed(Progress.DONE, f"{spec.kind} is there")
        return Observed(Progress.NOT_DONE, f"{spec.kind} is not there")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        self.before(context)
        self.effects.append((spec.kind, context.run_id))
        self.after(context)
        return Done(f"did {spec.kind}", {"by": spec.kind})


@dataclass
class Recording:
    """A runbook whose every part a test can replace."""

    kinds: Sequence[str] = ("a", "b", "c")
    name: str = "recording"
    target_label: str = "etcd_cluster"
    sources: tuple[ModuleType, ...] = ()
    permissions: Permissions = field(default_factory=Permissions)
    reversibility: Reversibility = Reversibility.REVERSIBLE
    undo: str = "nothing to undo"
    locks: tuple[str, ...] = ("control-plane",)
    guards: tuple[WorldGuard[Any], ...] = ()
    effects: list[tuple[str, str]] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    seeing: Callable[[], SeenWorld] = lambda: SeenWorld(FAR)
    nothing_to_do: str | None = None
    verifying: Hook = lambda _: None
    unknown: str | None = None
    seen: int = 0

    def __post_init__(self) -> None:
        self.steps: dict[str, Recorded] = {kind: Recorded(kind, self.effects) for kind in self.kinds}

    def knows(self, target: Target) -> bool:
        return target.name != self.unknown

    def observe(self, alert: Alert, target: Target) -> SeenWorld:
        del alert, target
        self.seen += 1
        return self.seeing()

    def plan(self, world: SeenWorld) -> Plan | NothingToDo:
        del world
        if self.nothing_to_do is not None:
            return NothingToDo(self.nothing_to_do)
        steps = tuple(StepSpec(kind, "it", f"do {kind}") for kind in self.kinds)
        return Plan("do it all", (), steps, dict(self.limits))

    def verify(self, context: StepContext) -> Done:
        self.verifying(context)
        return Done("it is well")

    def done(self, run: Run) -> list[str]:
        """The effects of that run, in order."""
        return [kind for kind, run_id in self.effects if run_id == run.id]


def settings(**changes: object) -> EngineSettings:
    return EngineSettings.model_validate({"planning_patience": "1ms", "reopen_after": "1ms", **changes})


def say(target: str = "main", *, firing: bool = True, **labels: str | None) -> bytes:
    """A notification for the recording runbook."""
    return payload(firing=firing, labels={"ballast_runbook": "recording", "etcd_cluster": target, **labels})


def alert(fingerprint: str, target: str, *, firing: bool = True) -> dict[str, Any]:
    """One alert, as a payload's list holds them."""
    (one,) = json.loads(say(target, firing=firing))["alerts"]
    return {**one, "fingerprint": fingerprint}


class Desk:
    """One store, one runbook, and an engine that moves only when `turn` is called."""

    def __init__(
        self,
        store: Store,
        runbook: Recording | None = None,
        *,
        rules: Policy | None = None,
        clusters: Mapping[str, str] | None = None,
        reviewed: Mapping[str, str] | None = None,
        knobs: EngineSettings | None = None,
    ) -> None:
        """``clusters`` are the Alertmanager's URL by cluster name."""
        self.store = store
        self.runbook = runbook or Recording()
        self.witness = Believing()
        self.policy = rules or policy()
        sites = clusters or {"here": "http://127.0.0.1:9"}
        self.engine = Engine(
            store,
            runbooks={self.runbook.name: self.runbook},
            reviewed={self.runbook.name: digest(self.runbook)} if reviewed is None else reviewed,
            policies=Given(self.policy),
            witness=self.witness,
            alertmanagers={name: (Alertmanager(HttpConfig(url=url)),) for name, url in sites.items()},
            settings=knobs or settings(lease="1h"),
        )
        if not store.exclusive:
            self.engine.membership.beat()  # it lives, and for as long as any test takes
        self.engine._hand_on = self._carry_out

    def advance(self, run_id: str) -> None:
        """What becomes of one run in one look of the engine, in this thread."""
        self.engine._safely(run_id, lambda: self.engine._step(run_id))

    def _carry_out(self, run: Run, claiming: Claiming) -> bool:
        claimed = claiming.outcome.result()
        if isinstance(claimed, int):
            self.engine._executor.execute(run, claimed, claiming.steps)
        return False

    def receive(self, body: bytes | None = None) -> None:
        self.store.write_together(inbox.accept, inbox.Arrival(say() if body is None else body, "test"))

    def file(self) -> None:
        """Makes runs of what was accepted."""
        while self.engine._intake.file():
            pass

    def turn(self) -> None:
        """What the engine's threads do in one round, in this thread."""
        self.file()
        due = self.store.read(reading.due, replica=None, furthest=60.0, limit=256)
        for run in [run for run in reversed(self.runs()) if not run.final]:
            if run.state is not RunState.AWAITING_APPROVAL:
                self.advance(run.id)
        for run in due:
            if run.state is RunState.AWAITING_APPROVAL:
                self.engine._move(run.id, run.state)

    def runs(self) -> tuple[Run, ...]:
        """The newest first."""
        return self.store.read(reading.recent_runs, limit=1000)

    def run(self) -> Run:
        """The newest run."""
        return self.runs()[0]

    def until(self, *states: RunState) -> Run:
        """Turns until the newest run is in one of ``states``."""

        def there() -> Run | None:
            self.turn()
            return self.run() if self.run().state in states else None

        found = eventually(there, every=0.0)
        assert found is not None
        return found

    def answer(self, body: bytes | None = None) -> Run:
        """What becomes of one notification that opens a run."""
        self.receive(body)
        return self.until(*FINAL)

    def claimed(self, body: bytes | None = None) -> tuple[Run, int]:
        """A run that has been claimed and of which no step has begun, with its token."""
        self.receive(body)
        run = self.until(RunState.QUEUED, *EXECUTING)
        assert run.state is RunState.QUEUED
        claiming = self.engine._planner.claim(run)
        assert claiming is not None
        token = claiming.outcome.result()
        assert isinstance(token, int)
        return run, token

    def approve(self, run: Run, *acknowledged: str, plan_hash: str | None = None) -> None:
        wanted = plan_hash or run.plan_hash
        assert wanted is not None
        self.store.write(
            decisions.approve, run.id, plan_hash=wanted, person="anna", reason="looks right", acknowledged=acknowledged
        )

    def story(self, run: Run) -> str:
        entries = self.store.read(reading.timeline, run.id)
        return "\n".join(f"{entry.event}: {entry.words}" for entry in entries)

    def events(self, run: Run) -> list[str]:
        return [entry.event for entry in self.store.read(reading.timeline, run.id)]
