"""Chores get their turns one after the other, whatever one of them comes to, and the head is in the log."""

from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from ballast_remediator.engine import housekeeping
from ballast_remediator.engine.housekeeping import Housekeeping
from ballast_remediator.store import verifying
from ballast_remediator.store.audit import append
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable
from tests.waiting import eventually


class Counted:
    def __init__(self, fault: Exception | None = None) -> None:
        self.turns = 0
        self._fault = fault

    def turn(self) -> bool:
        self.turns += 1
        if self._fault is not None:
            raise self._fault
        return True


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    monkeypatch.setattr(housekeeping, "PAUSE", 0.01)
    monkeypatch.setattr(housekeeping, "IDLE", 0.01)
    with capture_logs() as found:
        yield found


def heads(logs: list[Any]) -> list[tuple[int, str]]:
    return [(one["seq"], one["hash"]) for one in logs if one["event"] == "audit_head"]


def test_one_that_fails_keeps_no_other_from_its_turn(store: Store, logs: list[Any]) -> None:
    chores = [Counted(ZeroDivisionError()), Counted(StoreUnavailable("down")), Counted()]
    keeping = Housekeeping(store, *chores)
    keeping.start()
    eventually(lambda: all(chore.turns > 3 for chore in chores))
    keeping.stop(10)
    told = {one["event"] for one in logs}
    assert {"housekeeping_fault", "housekeeping_waits"} <= told


def test_nothing_is_done_off_duty_but_to_log_the_head(store: Store, logs: list[Any]) -> None:
    chore = Counted()
    store.write(append, event="note", actor="test", words="")
    keeping = Housekeeping(store, chore, on_duty=lambda: False)
    keeping.start()
    eventually(lambda: heads(logs))
    keeping.stop(10)
    assert chore.turns == 0


def test_the_head_is_logged_at_the_start_and_at_the_end_and_now_and_then(
    store: Store, logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def known() -> tuple[int, str]:
        head = store.read(verifying.head)
        return head.seq, head.hash

    store.write(append, event="note", actor="test", words="")
    keeping = Housekeeping(store, Counted())
    first = known()
    keeping.start()
    eventually(lambda: heads(logs) == [first])
    store.write(append, event="note", actor="test", words="")
    keeping.stop(10)
    assert heads(logs) == [first, known()]
    monkeypatch.setattr(housekeeping, "HEAD_EVERY", 0.0)
    keeping = Housekeeping(store, Counted())
    keeping.start()
    eventually(lambda: len(heads(logs)) > 5)
    keeping.stop(10)


def test_an_audit_without_entries_has_no_head_to_write_down(store: Store, logs: list[Any]) -> None:
    keeping = Housekeeping(store)
    keeping.start()
    keeping.stop(10)
    assert heads(logs) == []
