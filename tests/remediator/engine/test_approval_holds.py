"""An approval is for one plan: what merely holds the run up on its way does not void it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast_remediator.contract import Answer, Mode, RunState
from ballast_remediator.guards import allow, refuse
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk, Recording, SeenWorld, policy, settings


@pytest.fixture
def busy() -> list[bool]:
    """Whether the guard refuses, for now."""
    return [False]


@pytest.fixture
def asked(tmp_path: Path, busy: list[bool]) -> Iterator[Desk]:
    def guard(_: SeenWorld) -> Answer:
        return refuse("it_is_quiet", "a backup runs", passing=True) if busy[0] else allow("it_is_quiet", "quiet")

    with Store(tmp_path / "store.db") as store:
        yield Desk(
            store,
            Recording(guards=(guard,)),
            rules=policy(Mode.ASK),
            knobs=settings(planning_patience="1m"),
        )


def test_an_obstacle_that_passes_needs_no_second_approval(asked: Desk, busy: list[bool]) -> None:
    asked.receive()
    waiting = asked.until(RunState.AWAITING_APPROVAL)
    asked.approve(waiting)
    busy[0] = True
    assert asked.until(RunState.PLANNING).reason.endswith("a backup runs")

    busy[0] = False

    assert asked.until(RunState.SUCCEEDED).id == waiting.id
    assert asked.events(waiting).count("awaiting_approval") == 1


def test_another_plan_does(asked: Desk) -> None:
    asked.receive()
    waiting = asked.until(RunState.AWAITING_APPROVAL)
    asked.approve(waiting)
    asked.runbook.limits["members_at_once"] = 2

    again = asked.until(RunState.AWAITING_APPROVAL)

    assert again.plan_hash != waiting.plan_hash
    assert asked.runbook.done(again) == []
