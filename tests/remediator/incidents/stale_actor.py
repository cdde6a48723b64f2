"""A stale actor that overwrites the newer one: DynamoDB's DNS, October 2025.

Independent enactors apply DNS plans, each after one check that its plan is newer than the one in force. One of them was
delayed for long after its check. Another one applied a newer plan to every endpoint and began to delete old plans; then
the delayed one wrote its old plan over the newer one, and the clean-up deleted that plan: the region's endpoint had no
address, and people had to repair it by hand.

Here a process stands still in the middle of a run, another one takes the run over and finishes it, and the first one
wakes up.

Source: https://aws.amazon.com/message/101925/
"""

from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from ballast_remediator.contract import FINAL, RunState
from ballast_remediator.store import runs, schema
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk, Recording
from tests.remediator.incidents.incident import Outcome, Protection, told


def _take_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def same_token(connection: Connection, run_id: str, owner: str | None) -> int:
        del owner
        return int(connection.execute(select(schema.runs.c.token).where(schema.runs.c.id == run_id)).scalar_one())

    monkeypatch.setattr(runs, "_next_token", same_token)


STOPPED_BY = (Protection("fencing token", "taken_over: ", _take_out),)


def happens(folder: Path) -> Outcome:
    written: list[str] = []
    with Store(folder / "remediator.db") as store:
        delayed = _enactor(store, "the old plan", written)
        delayed.receive()
        run = delayed.until(RunState.QUEUED, *FINAL)

        def overtaken(_: object) -> None:
            _enactor(store, "the new plan", written).until(*FINAL)

        delayed.runbook.steps["check"].after = overtaken
        delayed.advance(run.id)
        return Outcome(tuple(written[written.index("the new plan") + 1 :]), told(delayed))


def _enactor(store: Store, plan: str, written: list[str]) -> Desk:
    runbook = Recording(kinds=("check", "write"))
    runbook.steps["write"].before = lambda _: written.append(plan)
    return Desk(store, runbook)
