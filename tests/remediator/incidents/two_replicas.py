"""An action that is carried out twice in a highly available installation: StackStorm #6007.

On st2 3.7.0 in its Kubernetes HA layout, single actions of a chain that a webhook triggers were now and then executed
twice, to customers' harm. Nobody found out why, and it could not be provoked.

Here somebody starts a second replica on the same store while the first one is in the middle of a step. What a process
leaves unfinished is taken over by the next one, so two at a time would both do it.

Source: https://github.com/StackStorm/st2/issues/6007
"""

from pathlib import Path
from types import SimpleNamespace

import pytest

from ballast_remediator.store import sqlite
from ballast_remediator.store.database import Store
from ballast_remediator.store.sqlite import StoreInUse
from tests.remediator.engine.desk import Desk, Recording
from tests.remediator.incidents.incident import Outcome, Protection, told


def _take_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "fcntl", SimpleNamespace(flock=lambda *_: None, LOCK_EX=0, LOCK_NB=0))


STOPPED_BY = (Protection("one process for each store", "is in use by process", _take_out),)


def happens(folder: Path) -> Outcome:
    path = folder / "remediator.db"
    refusals: list[str] = []
    runbook = Recording(kinds=("once",))

    def second_replica(_: object) -> None:
        runbook.steps["once"].before = lambda _: None
        try:
            with Store(path) as same:
                Desk(same, runbook).turn()
        except StoreInUse as error:
            refusals.append(str(error))

    runbook.steps["once"].before = second_replica
    with Store(path) as store:
        desk = Desk(store, runbook)
        run = desk.answer()
        return Outcome(tuple(runbook.done(run)[1:]), "\n".join([*refusals, told(desk)]))
