"""An automation that does not notice that a person decided otherwise: draino #17.

Draino cordons a node and schedules its drain for some minutes later. An administrator who looked at the node and
uncordoned it in the meantime was not heard: the drain began all the same.

Here a run is decided and waits for its turn, and a person takes its target into their own hands, with a hold.

Source: https://github.com/planetlabs/draino/issues/17
"""

from pathlib import Path

from ballast_remediator.contract import RunState, StopKind
from ballast_remediator.guards.nobody_is_at_work import nobody_is_at_work
from ballast_remediator.store import stops
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk
from tests.remediator.incidents.incident import Outcome, guard, let_it_run

STOPPED_BY = (guard(nobody_is_at_work),)


def happens(folder: Path) -> Outcome:
    with Store(folder / "remediator.db") as store:
        desk = Desk(store)
        desk.receive()
        desk.until(RunState.QUEUED)
        store.write(stops.put, StopKind.HOLD, cluster="here", target="main", person="anna", reason="it is healthy")
        return let_it_run(desk)
