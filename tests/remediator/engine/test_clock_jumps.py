"""Somebody sets the clock by ten minutes: no target rests less for it, and no budget lasts longer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.guards.clock_is_steady import clock_is_steady
from ballast_remediator.policy import BudgetRule
from ballast_remediator.store.database import Store
from tests.remediator.engine.clock import Clock
from tests.remediator.engine.desk import Desk, say, settings
from tests.remediator.incidents.incident import guard, let_it_run
from tests.remediator.standing import policy

TEN_MINUTES = 600.0
COOLDOWN: dict[str, Any] = {"cooldown": 300.0}
BUDGET: dict[str, Any] = {"budget": BudgetRule(runs=1, window=300.0)}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock, tmp_path: Path) -> Iterator[Store]:
    with clock.store(tmp_path) as opened:
        yield opened


def acted(desk: Desk) -> int:
    return len({run_id for _, run_id in desk.runbook.effects})


def alerts(desk: Desk, target: str) -> str:
    """One more alert, and what becomes of it."""
    desk.receive(say(target))
    return let_it_run(desk).words


@pytest.mark.parametrize("jump", [TEN_MINUTES, -TEN_MINUTES], ids=["forward", "back"])
@pytest.mark.parametrize(("rule", "target"), [(COOLDOWN, "main"), (BUDGET, "events")], ids=["cooldown", "budget"])
def test_a_clock_that_was_set_buys_no_action(
    store: Store, clock: Clock, rule: dict[str, Any], target: str, jump: float
) -> None:
    desk = clock.watched_by(Desk(store, rules=policy(**rule)))
    alerts(desk, "main")
    assert acted(desk) == 1

    clock.ahead += jump
    assert "clock_is_steady: the clock of this host was set" in alerts(desk, target)
    assert acted(desk) == 1

    clock.passed += TEN_MINUTES / 2
    alerts(desk, target)
    assert acted(desk) == 1

    clock.passed += TEN_MINUTES
    alerts(desk, target)
    assert acted(desk) == 2


@pytest.mark.parametrize(("rule", "target"), [(COOLDOWN, "main"), (BUDGET, "events")], ids=["cooldown", "budget"])
def test_rests_and_budgets_are_right_by_themselves(
    store: Store, clock: Clock, rule: dict[str, Any], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard(clock_is_steady).take_out(monkeypatch)
    desk = clock.watched_by(Desk(store, rules=policy(**rule)))
    alerts(desk, "main")
    clock.ahead += TEN_MINUTES
    alerts(desk, target)
    assert acted(desk) == 1
    clock.passed += TEN_MINUTES
    alerts(desk, target)
    assert acted(desk) == 2


@pytest.mark.parametrize("jump", [TEN_MINUTES, -TEN_MINUTES], ids=["forward", "back"])
def test_a_run_that_is_queued_waits_until_the_clock_can_be_believed(store: Store, clock: Clock, jump: float) -> None:
    desk = clock.watched_by(Desk(store, knobs=settings(planning_patience="1h")))
    desk.receive()
    run = desk.until(RunState.QUEUED)
    clock.ahead += jump
    for _ in range(3):
        desk.turn()
    assert desk.run().state is RunState.PLANNING
    assert desk.run().reason.startswith("clock_is_steady: ")
    clock.passed += TEN_MINUTES
    let_it_run(desk)
    assert (desk.run().id, desk.run().state) == (run.id, RunState.SUCCEEDED)


def test_a_run_under_way_is_not_disturbed_by_the_clock(store: Store, clock: Clock) -> None:
    desk = clock.watched_by(Desk(store))

    def set_clock(_: object) -> None:
        clock.ahead += TEN_MINUTES

    desk.runbook.steps["a"].after = set_clock
    assert desk.answer().state is RunState.SUCCEEDED
