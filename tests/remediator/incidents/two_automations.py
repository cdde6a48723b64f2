"""Two automations at work on the same thing: DynamoDB's DNS, October 2025.

What one enactor wrote, the clean-up of another one deleted as too old, since both were at the same endpoint at the same
time and nothing kept them apart. See stale_actor.py for the other half of that night.

Here an alert on one etcd comes while a run disturbs another etcd of the same control plane.

Source: https://aws.amazon.com/message/101925/
"""

from pathlib import Path

import pytest
from sqlalchemy import insert

from ballast_remediator.guards.lock_is_free import lock_is_free
from ballast_remediator.store import ledger
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import locks
from tests.remediator.engine.desk import Desk, say
from tests.remediator.incidents.incident import Outcome, Protection, guard, told


def _take_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_TAKE", insert(locks).prefix_with("OR IGNORE"))


STOPPED_BY = (
    guard(lock_is_free),
    Protection("the key of the table locks", "UNIQUE constraint failed: locks.name", _take_out),
)


def happens(folder: Path) -> Outcome:
    with Store(folder / "remediator.db") as store:
        desk = Desk(store)
        desk.receive(say("main"))
        desk.receive(say("events"))
        desk.turn()
        second, first = desk.runs()
        desk.runbook.steps["a"].after = lambda _: desk.advance(second.id)
        desk.advance(first.id)
        theirs = [run_id for _, run_id in desk.runbook.effects]
        ended = len(theirs) - theirs[::-1].index(first.id)
        meanwhile = tuple(f"run {run_id}" for run_id in theirs[:ended] if run_id != first.id)
        return Outcome(meanwhile, told(desk))
