"""The process may die at any point: every step takes effect, none that was written down is done again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ballast_remediator.contract import FINAL, RunState, StepContext
from ballast_remediator.store import inbox, reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from ballast_remediator.store.schema import locks
from tests.remediator.engine.desk import Desk, Recording, say

TARGETS = count()


class Crash(BaseException):
    """The process dies here. Nothing catches it, as nothing can."""


class Mortal:
    """Dies at the given tick since its last start; a tick is each side of each write and of each effect."""

    def __init__(self, points: list[int]) -> None:
        self._points = list(points)
        self.ticks = 0

    def start(self) -> None:
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1
        if self._points and self.ticks == self._points[0]:
            self._points.pop(0)
            raise Crash


class MortalStore:
    """The same store for each life of the process."""

    exclusive = True

    def __init__(self, store: Store, mortal: Mortal) -> None:
        self._store = store
        self._mortal = mortal

    def write(self, *args: Any, **kwargs: Any) -> Any:
        self._mortal.tick()
        given_back = self._store.write(*args, **kwargs)
        self._mortal.tick()
        return given_back

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self._mortal.tick()
        submitted = self._store.submit(*args, **kwargs)
        with suppress(Exception):
            submitted.result()
        self._mortal.tick()
        return submitted

    def read(self, *args: Any, **kwargs: Any) -> Any:
        return self._store.read(*args, **kwargs)

    def look(self, *args: Any, **kwargs: Any) -> Any:
        return self._store.look(*args, **kwargs)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One for all examples: each has a target of its own."""
    folder: Path = tmp_path_factory.mktemp("crashes")
    with Store(folder / "remediator.db") as opened:
        yield opened


def dying(store: Store, runbook: Recording, mortal: Mortal) -> Callable[[StepContext], None]:
    """A hook that may die, and that never sees a step begin which was written down as done."""

    def tick(context: StepContext) -> None:
        steps = store.read(reading.steps_of, context.run_id)
        begun = next(step for step in steps if step.done_at is None)
        assert begun.attempts >= 1
        assert [step.done_at is None for step in steps] == sorted(step.done_at is None for step in steps)
        mortal.tick()

    for step in runbook.steps.values():
        step.before = step.after = tick
    return tick


def lived(store: Store, runbook: Recording, points: list[int]) -> tuple[Run, int]:
    """One notification carried through as many lives as it takes; gives the run and the ticks of the last life."""
    mortal = Mortal(points)
    dying(store, runbook, mortal)
    target = f"target-{next(TARGETS)}"
    store.write_together(inbox.accept, inbox.Arrival(say(target), "test"))
    for _ in range(len(points) + 1):
        desk = Desk(MortalStore(store, mortal), runbook)
        mortal.start()
        try:
            run = desk.until(*FINAL)
        except Crash:
            continue
        assert run.target.name == target
        return run, mortal.ticks
    raise AssertionError("more deaths than points")


def well(store: Store, runbook: Recording, run: Run) -> None:
    steps = store.read(reading.steps_of, run.id)
    done = runbook.done(run)
    if max((step.attempts for step in steps), default=0) > 3:
        assert run.state is RunState.FAILED
        assert "failed 3 times; each time this process ended in the middle of it" in run.reason
    else:
        assert run.state is RunState.SUCCEEDED
        assert set(done) == set(runbook.kinds)
    # First in the plan's order, and a repetition only of the step that was under way.
    assert done == sorted(done)
    for step in steps:
        assert done.count(step.spec.kind) <= step.attempts
    assert store.read(lambda connection: connection.execute(locks.select()).all()) == []


@pytest.mark.parametrize("visible", [True, False])
def test_a_crash_at_every_single_point(store: Store, *, visible: bool) -> None:
    def runbook() -> Recording:
        made = Recording()
        for step in made.steps.values():
            step.visible = visible
        return made

    undisturbed, ticks = lived(store, runbook(), [])
    assert undisturbed.state is RunState.SUCCEEDED
    assert ticks >= 30
    for point in range(1, ticks + 1):
        book = runbook()
        run, _ = lived(store, book, [point])
        assert run.state is RunState.SUCCEEDED
        well(store, book, run)
        if visible:
            # An effect that can be seen is never repeated.
            assert book.done(run) == ["a", "b", "c"]
        else:
            assert len(book.done(run)) <= 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=12), st.lists(st.booleans(), min_size=1, max_size=4))
@example([11, 3, 3, 3, 3, 3], [False, False])
def test_crashes_at_any_points(store: Store, points: list[int], visible: list[bool]) -> None:
    book = Recording(kinds=[chr(ord("a") + number) for number in range(len(visible))])
    for step, can_be_seen in zip(book.steps.values(), visible, strict=True):
        step.visible = can_be_seen
    run, _ = lived(store, book, points)
    well(store, book, run)
