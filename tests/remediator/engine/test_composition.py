"""World guards together: the strictest answer decides, and one guard more never permits more."""

from itertools import product

import pytest

from ballast_remediator.contract import FINAL, Answer, RunState, Verdict, WorldGuard
from ballast_remediator.store import decisions
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk, Recording, SeenWorld


def allows(world: SeenWorld) -> Answer:
    del world
    return Answer("allows", Verdict.ALLOW, "whatever it is")


def asks(world: SeenWorld) -> Answer:
    del world
    return Answer("asks", Verdict.ASK, "somebody has to look")


def refuses(world: SeenWorld) -> Answer:
    del world
    return Answer("refuses", Verdict.REFUSE, "whatever it is")


def raises(world: SeenWorld) -> Answer:
    raise ZeroDivisionError(str(world))


STRICTER = (allows, asks, refuses, raises)
ENDS = {allows: RunState.SUCCEEDED, asks: RunState.AWAITING_APPROVAL, refuses: RunState.SUPPRESSED}
ORDERS = [guards for length in range(1, 4) for guards in product(STRICTER, repeat=length)]


@pytest.mark.parametrize("first", STRICTER, ids=lambda guard: guard.__name__)
def test_the_strictest_of_them_decides_in_any_order(store: Store, first: WorldGuard[SeenWorld]) -> None:
    """In `auto`, where nothing else stands in the way."""
    runbook = Recording()
    desk = Desk(store, runbook)
    for guards in (guards for guards in ORDERS if guards[0] is first):
        runbook.guards = guards
        runbook.effects.clear()
        desk.receive()
        run = desk.until(*FINAL, RunState.AWAITING_APPROVAL)
        strictest = max(guards, key=STRICTER.index)
        assert run.state is ENDS.get(strictest, RunState.SUPPRESSED), guards
        assert bool(runbook.effects) is (strictest is allows), guards
        if run.state is RunState.AWAITING_APPROVAL:
            store.write(decisions.reject, run.id, person="anna", reason="the next one")
