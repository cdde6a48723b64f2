"""Runbooks whose steps are of every kind, on targets that exist nowhere but in a file (`drills.faults.effects`).

What a run does follows from its target, how its steps go from its id: the same run goes the same way in whichever
process carries it out.
"""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Final, Self, cast

from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.contract import (
    Alert,
    Done,
    NothingToDo,
    Observed,
    Permissions,
    Plan,
    Progress,
    Reversibility,
    Step,
    StepContext,
    StepFailed,
    StepSpec,
    Target,
    WorldGuard,
)
from ballast_remediator.engine.execution import Context
from drills.faults import effects
from drills.faults.effects import FILE, REPLICA, Deed, Effects, What
from kube_ballast.clients.errors import Timeout, Unavailable

LABEL: Final = "thing"
CLUSTER: Final = "here"
THINGS: Final = tuple(f"thing-{number}" for number in range(12))
ZONES: Final = 4
STEPS: Final = (2, 3, 4)
WEIGHTS: Final[Mapping[str, int]] = {
    "at-once": 4,
    "already": 1,
    "slow": 4,
    "unsure": 2,
    "flaky": 2,
    "sustain": 4,
    "refused": 1,
    "faulty": 1,
}
"""How often a kind of step stands in a plan, against the others."""
SLOW_SECONDS: Final = (0.1, 1.0)
BEATS: Final = 8
BEAT_SECONDS: Final = 0.15
UNSURE_SECONDS: Final = 0.6
"""For so long after it began nobody can tell whether an unsure step, or one that was cut off, took effect."""
RARELY: Final = 0.15
HALF: Final = 0.5


def share(*parts: object) -> float:
    """A number in [0, 1) that is always the same for the same parts."""
    text = "\n".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


@dataclass(frozen=True, slots=True)
class GeneratedStep:
    """A step of one kind; `_ACTS` says what its act does."""

    kind: str
    world: Effects

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        if self.kind == "already":
            return Observed(Progress.DONE, "nothing is to be done")
        state = self.world.state(context.run_id, _ordinal(spec))
        if state.ended:
            return Observed(Progress.DONE, "the world shows it", {"beats": state.beats})
        if state.began is not None and time.monotonic() - state.began < UNSURE_SECONDS:
            return Observed(Progress.UNKNOWN, "it began a moment ago, and may go on")
        return Observed(Progress.NOT_DONE, "the world does not show it")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        _ACTS[self.kind](Hand(self.world, spec, context))
        return Done(f"{self.kind} was done")


class Hand:
    """What an act works with: each effect right after the question whether to go on."""

    def __init__(self, world: Effects, spec: StepSpec, context: StepContext) -> None:
        self.context = context
        self._world = world
        locks = tuple(str(spec.params["locks"]).split())
        self._deed = Deed(context.run_id, _ordinal(spec), spec.kind, locks)
        self._looked = 0.0
        self.chance = share(context.run_id, _ordinal(spec))
        self.attempt = world.state(context.run_id, _ordinal(spec)).attempts + 1

    def begin(self) -> None:
        self._act(What.BEGAN)

    def beat(self) -> None:
        self._act(What.BEAT)

    def end(self) -> None:
        """It comes to its end whether somebody looks or not, as what was sent to a server does."""
        self._add(What.ENDED)

    def once(self) -> None:
        self.begin()
        self.end()

    def _act(self, what: What) -> None:
        self._looked = time.monotonic()
        self.context.go_on()
        self._add(what)

    def _add(self, what: What) -> None:
        context = cast("Context", self.context)
        token = context._token  # noqa: SLF001 - no step needs it; the judge of this drill does
        self._world.add(self._deed, what, token=token, looked=self._looked)


def _slow(hand: Hand) -> None:
    hand.begin()
    least, most = SLOW_SECONDS
    time.sleep(least + hand.chance * (most - least))  # it looks at nothing meanwhile, as a call that hangs
    hand.end()


def _sustain(hand: Hand) -> None:
    hand.begin()
    for number in range(BEATS):
        hand.beat()
        hand.context.note(f"beat {number + 1} of {BEATS}")
        hand.context.wait(BEAT_SECONDS)
    hand.end()


def _unsure(hand: Hand) -> None:
    if hand.chance < HALF and hand.attempt == 1:  # it never arrived
        hand.begin()
    else:
        hand.once()
    raise Timeout("the drill's world", "no answer came")


def _flaky(hand: Hand) -> None:
    if hand.attempt < 2:
        hand.begin()
        raise Unavailable("the drill's world", "the connection broke")
    hand.once()


def _refused(hand: Hand) -> None:
    if hand.chance < RARELY:
        raise StepFailed("the world will not have it: nothing was done")
    hand.once()


def _faulty(hand: Hand) -> None:
    hand.begin()
    if hand.chance < RARELY:
        raise ZeroDivisionError("a fault of this runbook, made on purpose")
    hand.end()


_ACTS: Final[Mapping[str, Callable[[Hand], None]]] = {
    "at-once": Hand.once,
    "slow": _slow,
    "unsure": _unsure,
    "flaky": _flaky,
    "sustain": _sustain,
    "refused": _refused,
    "faulty": _faulty,
}


def _ordinal(spec: StepSpec) -> int:
    return int(cast("int", spec.params["ordinal"]))


@dataclass(frozen=True, slots=True)
class Seen:
    """The world of a generated runbook: its target, and when it was looked at."""

    target: Target
    valid_until: float
    population: int = len(THINGS)


class Generated:
    """What the three generated runbooks have in common."""

    name: ClassVar[str]
    things: ClassVar[tuple[str, ...]] = THINGS
    locks: ClassVar[tuple[str, ...]] = ()
    disturbs: ClassVar[bool] = False
    target_label: ClassVar[str] = LABEL
    sources: ClassVar[tuple[ModuleType, ...]] = (effects,)
    permissions: ClassVar[Permissions] = Permissions()
    reversibility: ClassVar[Reversibility] = Reversibility.REVERSIBLE
    undo: ClassVar[str] = "The file is thrown away with the drill."
    guards: ClassVar[tuple[WorldGuard[Seen], ...]] = ()

    def __init__(self, world: Effects) -> None:
        self._world = world
        self.steps: Mapping[str, Step] = MappingProxyType({kind: GeneratedStep(kind, world) for kind in WEIGHTS})

    @classmethod
    def configured(cls, connections: Connections, config: Config) -> Self:
        del connections, config
        return cls(Effects(Path(os.environ[FILE]), os.environ[REPLICA]))

    def knows(self, target: Target) -> bool:
        return target.name in self.things

    def observe(self, alert: Alert, target: Target) -> Seen:
        del alert
        return Seen(target, time.monotonic() + 30.0)

    def plan(self, world: Seen) -> Plan | NothingToDo:
        target = world.target
        zone = f"zone-{THINGS.index(target.name) % ZONES}"
        disturbs = (zone,) if self.disturbs else ()
        locks = " ".join(
            (
                f"{target.cluster}/target/{target.name}",
                *(f"{target.cluster}/lock/{lock}" for lock in self.locks),
                *(f"{target.cluster}/domain/{domain}" for domain in disturbs),
            )
        )
        kinds = kinds_of(target)
        return Plan(
            summary=f"{', '.join(kinds)} on {target.name}",
            because=("a drill asks for it",),
            steps=tuple(
                StepSpec(kind, target.name, f"{kind} on {target.name}", {"ordinal": ordinal, "locks": locks})
                for ordinal, kind in enumerate(kinds, start=1)
            ),
            limits={"steps": len(kinds)},
            disturbs=disturbs,
        )

    def verify(self, context: StepContext) -> Done:
        kinds = kinds_of(context.target)
        for ordinal, kind in enumerate(kinds, start=1):
            if kind != "already" and not self._world.state(context.run_id, ordinal).ended:
                raise StepFailed(
                    f"LOST: the world does not show step {ordinal} ({kind}), which was written down as done"
                )
        return Done("the world shows every step")


def kinds_of(target: Target) -> tuple[str, ...]:
    """The kinds of step of a target's plan, in order."""
    deck = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
    count = STEPS[int(share(target.runbook, target.name) * len(STEPS))]
    return tuple(deck[int(share(target.runbook, target.name, number) * len(deck))] for number in range(count))


class Alone(Generated):
    """Holds its target's lock and no other."""

    name = "drill-alone"


class Sharing(Generated):
    """Holds a lock of the whole cluster too, so that one run of it goes on at a time."""

    name = "drill-sharing"
    things = THINGS[:4]
    locks = ("drill",)


class Disturbing(Generated):
    """Disturbs a failure domain that several targets lie in."""

    name = "drill-disturbing"
    disturbs = True


GENERATED: Final[tuple[type[Any], ...]] = (Alone, Sharing, Disturbing)
