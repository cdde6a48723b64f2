"""A commit that takes longer than anybody waits for it is still one commit: nothing is written, or counted, twice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from ballast_remediator.contract import FINAL, RunState
from ballast_remediator.engine import execution
from ballast_remediator.store import database, reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import run_alerts
from ballast_remediator.store.writer import StoreUnavailable, Undecided
from tests.remediator.engine.desk import Desk
from tests.waiting import eventually


class Slow(Store):
    """The next commit of the operation named ``slow`` ends only after somebody has given up waiting for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slow: str | None = None
        self.given_up = threading.Event()
        self._stuck = threading.Event()
        event.listen(self._engine, "commit", self._stall)

    def _stall(self, _: object) -> None:
        if self._stuck.is_set():
            self._stuck.clear()
            self.given_up.wait(20.0)

    def write(self, operation: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if operation.__name__ == self.slow:
            self.slow = None
            self._stuck.set()
        try:
            return super().write(operation, *args, **kwargs)
        except StoreUnavailable:
            self.given_up.set()
            raise


@contextmanager
def slow(folder: Path) -> Iterator[Slow]:
    with Slow(folder / "slow.db") as store:
        yield store


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PAUSE", 0.001)


@pytest.mark.parametrize("operation", ["intend", "checkpoint", "advance", "note"])
def test_a_run_writes_once_what_is_late(tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with slow(tmp_path) as store:
        desk = Desk(store)
        desk.runbook.steps["a"].after = lambda context: context.note("a happened")
        run, token = desk.claimed()
        store.slow = operation
        monkeypatch.setattr(database, "WRITE_TIMEOUT", 0.1)
        desk.engine._executor.execute(run, token)
        assert store.given_up.is_set()
        assert desk.run().state is RunState.SUCCEEDED
        assert [step.attempts for step in store.read(reading.steps_of, run.id)] == [1, 1, 1]
        assert desk.events(run)[4:] == [
            "step_started",
            "note",
            "step_done",
            *["step_started", "step_done"] * 2,
            "verifying",
            "succeeded",
        ]


def test_a_notification_is_filed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(store)
    desk.receive()
    release = threading.Event()

    def stall(_: object) -> None:
        release.wait(20.0)

    event.listen(store._engine, "commit", stall)
    with monkeypatch.context() as impatient:
        impatient.setattr(database, "WRITE_TIMEOUT", 0.05)
        for _ in range(2):
            # The second time it waits for the same write.
            with pytest.raises(Undecided):
                desk.engine._intake.file()
        release.set()
        eventually(lambda: not desk.engine._intake.file(), retry=Undecided)
    assert desk.until(*FINAL).state is RunState.SUCCEEDED
    assert store.read(lambda c: c.execute(select(run_alerts.c.received)).scalars().all()) == [1]
