"""An automation that takes most of a cluster out of service at once: draino #89.

More than 75 % of a cluster's nodes got a condition that draino answers. It spaces its drains out, but it cordons at
once: new pods found no node any more, and a large application could not be rolled out.

Here thirteen of sixteen targets raise the same alert at the same time, and the policy allows a quarter of them.

Source: https://github.com/planetlabs/draino/issues/89
"""

from pathlib import Path

import pytest

from ballast_remediator.guards.budget_is_left import budget_is_left
from ballast_remediator.policy import BrakeRule, BudgetRule, Policy
from ballast_remediator.store import inbox
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import FAR, Desk, Recording, SeenWorld, say
from tests.remediator.incidents.incident import Outcome, Protection, guard, let_it_run
from tests.remediator.standing import policy

NODES = 16
SICK = 13
QUARTER = 4


def _take_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox._Filing, "_brake_if_too_many", lambda *_: None)


STOPPED_BY = (guard(budget_is_left), Protection("brake", "brake_is_off: ", _take_out))


def happens(folder: Path) -> Outcome:
    with Store(folder / "remediator.db") as store:
        cordon = Recording(kinds=("cordon",), locks=(), seeing=lambda: SeenWorld(FAR, population=NODES))
        desk = Desk(store, cordon, rules=_rules())
        for number in range(SICK):
            desk.receive(say(f"node-{number}"))
        outcome = let_it_run(desk)
        return Outcome(outcome.harm[QUARTER:], outcome.words)


def _rules() -> Policy:
    quarter = policy(budget=BudgetRule(percent=25))
    return Policy(quarter.content.model_copy(update={"brake": BrakeRule(targets=QUARTER)}))
