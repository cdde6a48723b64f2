"""Carries points out in rounds, each on a store of its own, and judges what every round leaves."""

import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from drills.faults import effects, invariants
from drills.faults.history import History, Reader
from drills.faults.inject import AIM_WITHIN, Injector, Skipped
from drills.faults.load import Load, Pair, Promises
from drills.faults.place import Place
from drills.faults.points import Point, StoreKind, draw
from drills.stack import Stack, StackError

ROUND: Final = 100
"""Points on one store, before it is judged and a fresh one begins."""
LANES: Final = {StoreKind.SQLITE: 2, StoreKind.POSTGRESQL: 4}
"""Faults that may be under way at the same time."""
STUCK_AFTER: Final = 120.0
"""Seconds without one more run that ended, or alert that was filed, after which nobody waits for the rest."""
POLL: Final = 0.3
LOST_AFTER: Final = 15.0
"""The same where something is meant to be lost."""
STOP_WITHIN: Final = 15.0
SURELY_WITHIN: Final = 30.0
"""Seconds for which a step is waited for where a point is of no use without it."""


@dataclass(slots=True)
class Counts:
    """What happened, and what must not have."""

    points: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    effects: int = 0
    defragmentations: int = 0
    taken_over: int = 0
    in_the_window: int = 0
    violations: dict[str, list[str]] = field(default_factory=dict)

    @property
    def violated(self) -> int:
        return sum(map(len, self.violations.values()))

    def violate(self, name: str, words: str) -> None:
        self.violations.setdefault(name, []).append(words)

    def add(self, other: "Counts") -> None:
        """What another round counted; its seconds were the same ones, or are counted by the caller."""
        for name in ("points", "accepted", "effects", "defragmentations", "taken_over", "in_the_window"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("faults", "skipped", "answers", "states"):
            getattr(self, name).update(getattr(other, name))
        for name, words in other.violations.items():
            self.violations.setdefault(name, []).extend(words)


@dataclass(frozen=True, slots=True)
class Round:
    """Points of one seed on one store, ``lanes`` of them at a time.

    ``without`` names a safeguard that is taken out; only a ``real`` round has an etcd and Alertmanagers.
    """

    seed: int
    store: StoreKind
    points: tuple[Point, ...]
    without: str = ""
    real: bool = True
    lanes: int | None = None
    until: str | None = None
    """An invariant: once it is violated, the rest of the points is left out, and nothing is waited for."""

    @classmethod
    def drawn(cls, seed: int, store: StoreKind, first: int, count: int) -> "Round":
        return cls(seed, store, tuple(draw(seed, number, store) for number in range(first, first + count)))


def carry_out(one: Round, done: Callable[[Point], None] = lambda _: None) -> Counts:
    """Carries a round out and judges it; after a violation the logs, the effects and an SQLite store are kept."""
    counts = Counts()
    began = time.monotonic()
    with Stack() as stack:
        place = Place(stack, one.store, without=one.without, real=one.real)
        promises = Promises(stack.logs / "accepted")
        with _loaded(place, promises, AIM_WITHIN if one.until is None else SURELY_WITHIN) as injector:
            with ThreadPoolExecutor(one.lanes or LANES[one.store], thread_name_prefix="fault") as pool:
                for point in one.points:
                    future = pool.submit(_point, injector, point, counts)
                    future.add_done_callback(lambda _, point=point: done(point))  # type: ignore[misc]  # mypy infers no default
                    if one.until is not None and _violated(one.until, place, future):
                        break
            if one.until is None:
                _settle(place, promises, injector, LOST_AFTER if one.without else STUCK_AFTER)
        _judge(place, promises, counts)
        counts.seconds = time.monotonic() - began
        if counts.violated and not one.without:
            _keep(stack, place, counts)
    return counts


@contextmanager
def _loaded(place: Place, promises: Promises, aim_within: float) -> Iterator[Injector]:
    real = place.surroundings is not None
    pair = Pair(place.stack, place.replicas[0].url, place.token("ingest")) if real else None
    load = Load([replica.url for replica in place.replicas], place.token, promises, pair)
    load.start()
    try:
        yield Injector(place, load, pair, aim_within=aim_within)
    finally:
        load.stop()


def _point(injector: Injector, point: Point, counts: Counts) -> None:
    try:
        injector.carry_out(point)
    except Skipped as why:
        counts.skipped[f"{point.fault}: {why}"] += 1
    except (StackError, OSError) as error:
        counts.violate("what does not come back", f"point {point.number} ({point.fault}): {error}")
    else:
        counts.faults[point.fault] += 1
    counts.points += 1


def _violated(name: str, place: Place, future: Future[None]) -> bool:
    """Whether it is by now, after that point."""
    future.result()
    history = Reader(place.where).history(frozenset(), effects.read(place.effects))
    return history.problem is None and any(invariants.INVARIANTS[name](history))


def _settle(place: Place, promises: Promises, injector: Injector, stuck_after: float) -> None:
    """No more faults: everybody works, no more alerts come, and what has begun ends."""
    for replica in place.replicas:
        replica.bring_back()
    injector.load.stop_posting()
    reader = Reader(place.where)
    least, give_up = sys.maxsize, 0.0
    while least == sys.maxsize or time.monotonic() < give_up:
        try:
            left = reader.still_open() + len(promises.accepted - reader.known())
        except OSError:
            left = sys.maxsize - 1  # it does not answer yet
        if left == 0:
            return
        if left < least:
            least, give_up = left, time.monotonic() + stuck_after
        time.sleep(POLL)


def _judge(place: Place, promises: Promises, counts: Counts) -> None:
    for replica in place.replicas:
        replica.process.stop(within=STOP_WITHIN)
    history = Reader(place.where).history(frozenset(promises.accepted), effects.read(place.effects))
    for name, words in invariants.violations(history).items():
        for each in words:
            counts.violate(name, each)
    logs = {} if place.surroundings is None else place.surroundings.logs
    seen = [each for name, log in logs.items() for each in invariants.defragmentations(name, log)]
    for each in invariants.two_at_once(seen):
        counts.violate("etcd: two members in defragmentation at once", each)
    _count(history, promises, counts)
    counts.defragmentations = len(seen)


def _count(history: History, promises: Promises, counts: Counts) -> None:
    counts.accepted = len(promises.accepted)
    counts.answers.update(promises.answers)
    counts.states.update(run.state for run in history.runs)
    counts.effects = sum(effect.acts for effect in history.effects)
    counts.taken_over = sum(entry.event == "taken_over" for entry in history.audit)
    counts.in_the_window = invariants.in_the_window(history)


def _keep(stack: Stack, place: Place, counts: Counts) -> None:
    stack.fail()
    (stack.logs / "violations").write_text(
        "".join(f"{name}: {words}\n" for name, each in counts.violations.items() for words in each)
    )
    if place.effects.exists():
        shutil.copy(place.effects, stack.logs / "effects")
    for file in place.disk.folder.glob("remediator.db*"):
        shutil.copy(file, stack.logs / file.name)
    counts.violate("logs", str(stack.logs))


def run(
    seed: int,
    store: StoreKind,
    *,
    points: int,
    first: int = 1,
    side_by_side: int = 1,
    size: int = ROUND,
    tell: Callable[[str], None] = print,
) -> Counts:
    """So many points from ``first`` on, in rounds of ``size`` points of which ``side_by_side`` go on at once."""
    total, began = Counts(), time.monotonic()
    over = 0

    def done(_: Point) -> None:
        nonlocal over
        over += 1
        if over % 20 == 0:
            tell(f"  {store}: {over} of {points} points after {time.monotonic() - began:.0f} s")

    last = first + points
    rounds = [Round.drawn(seed, store, at, min(size, last - at)) for at in range(first, last, size)]
    with ThreadPoolExecutor(side_by_side, thread_name_prefix="round") as pool:
        futures: list[Future[Counts]] = [pool.submit(carry_out, one, done) for one in rounds]
        for one, future in zip(rounds, futures, strict=True):
            counts = future.result()
            total.add(counts)
            words = f"points {one.points[0].number} to {one.points[-1].number}"
            tell(f"  {store}: {words}: {counts.violated} violations, {counts.seconds:.0f} s")
    total.seconds = time.monotonic() - began
    return total
