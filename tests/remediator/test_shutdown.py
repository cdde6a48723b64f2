"""The end of a process, part by part: who is waited for, and what happens when somebody does not end."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator import shutdown
from ballast_remediator.contract import RunState, StepContext
from ballast_remediator.shutdown import Shutdown
from ballast_remediator.store import reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import PostgresqlServer
from tests.remediator.engine.desk import Desk, Recording, settings
from tests.waiting import eventually

NEVER = 3600.0


class Part:
    """Ends when told to, and notes in ``ended`` that it did."""

    def __init__(self, name: str, ended: list[str], *, hangs: threading.Event | None = None) -> None:
        self.name = name
        self._ended = ended
        self._hangs = hangs

    def stop(self, timeout: float) -> bool:
        if self._hangs is not None:
            self._hangs.wait(timeout)
            return False
        self._ended.append(self.name)
        return True


def parts(ended: list[str], store: Store, **changes: Any) -> Shutdown:
    made: dict[str, Any] = {name: Part(name, ended) for name in ("notifier", "engine", "housekeeping")}
    return Shutdown(**{**made, **changes}, store=store, leave=lambda code: ended.append(f"exit {code}"))


def test_the_parts_end_in_their_order_and_then_the_store(tmp_path: Path) -> None:
    ended: list[str] = []
    store = Store(tmp_path / "remediator.db")
    ending = parts(ended, store)
    assert not ending.begun
    ending.begin()
    ending.begin()
    assert ending.begun
    ending.finish()
    assert ended == ["notifier", "engine", "housekeeping"]
    Store(tmp_path / "remediator.db").close()


def test_a_process_whose_steps_do_not_end_leaves_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "WITHIN", 1.2)
    ended: list[str] = []
    with Store(tmp_path / "remediator.db") as store:
        parts(ended, store, engine=Part("engine", ended, hangs=threading.Event())).begin()
        eventually(lambda: "exit 0" in ended)
    assert ended[:2] == ["notifier", "exit 0"]


def test_a_process_that_is_kept_by_anything_else_ends_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "WITHIN", 0.2)
    ended: list[str] = []
    hangs = threading.Event()

    class Hanging(Part):
        def stop(self, timeout: float) -> bool:
            del timeout
            return hangs.wait()

    with Store(tmp_path / "remediator.db") as store:
        parts(ended, store, housekeeping=Hanging("housekeeping", ended)).begin()
        eventually(lambda: ended == ["notifier", "engine", "exit 0"])
        hangs.set()


@pytest.fixture
def two(shared: PostgresqlServer) -> Iterator[tuple[Desk, Desk]]:
    """Replicas that share a store and a world, and whose leases outlast any test."""
    with ExitStack() as stack:
        knobs = settings(lease="1h")
        one = Desk(stack.enter_context(Store(shared)), knobs=knobs)
        other = Desk(stack.enter_context(Store(shared)), Recording(effects=one.runbook.effects), knobs=knobs)
        for desk in (one, other):
            del desk.engine._hand_on  # with threads
        yield one, other


def test_what_a_long_step_leaves_is_another_replicas_at_once(two: tuple[Desk, Desk]) -> None:
    """And not when the lease lapses, which is an hour here."""
    one, other = two
    begun, release = threading.Event(), threading.Event()

    def long(_: StepContext) -> None:
        begun.set()
        release.wait(NEVER)

    one.runbook.steps["b"].after = long
    one.engine.start()
    eventually(lambda: one.engine.membership.id)
    one.receive()
    one.engine.wake()
    assert begun.wait(30.0)
    other.engine.start()
    try:
        assert not one.engine.stop(timeout=1.0), "the step goes on, and the process has to end"
        ended = eventually(lambda: next((run for run in other.runs() if run.final), None))
        assert ended.state is RunState.SUCCEEDED
        assert other.runbook.done(ended) == ["a", "b", "c"]
    finally:
        release.set()
        other.engine.stop(timeout=10.0)
    eventually(lambda: not one.engine._working)
    assert other.runbook.done(ended) == ["a", "b", "c"], "the one that was left does nothing more"
    done = [entry for entry in other.store.read(reading.timeline, ended.id) if entry.event == "step_done"]
    assert [entry.data["ordinal"] for entry in done] == [1, 2, 3]
