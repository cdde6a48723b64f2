"""A trigger that asks nobody who they are: Robusta #2174.

The runner's HTTP API listens on every address and has no authentication: whoever reaches POST /api/trigger names any
action of the registry, among them the draining of a node and the restart of a deployment, and it is carried out.

Here somebody without a token posts a notification of an alert that does not exist, for a runbook that runs by itself.

Source: https://github.com/robusta-dev/robusta/issues/2174
"""

from pathlib import Path

import pytest

from ballast_remediator.app import create_app
from ballast_remediator.contract import AlertEvidence
from ballast_remediator.guards.alert_is_true_now import alert_is_true_now
from ballast_remediator.store.database import Store
from ballast_remediator.tokens import Holder, Role
from ballast_remediator.web import access
from tests.remediator.chain import UNREACHABLE
from tests.remediator.engine.desk import Desk, say
from tests.remediator.incidents.incident import Outcome, Protection, guard, let_it_run
from tests.remediator.web.setting import INGEST, RecordingEngine, make_site


def _take_out(monkeypatch: pytest.MonkeyPatch) -> None:
    anybody = Holder(name="anybody", role=Role.INGEST, sha256="0" * 64)
    monkeypatch.setattr(access, "authorize", lambda *_: anybody)


STOPPED_BY = (Protection("token", "a token is needed", _take_out), guard(alert_is_true_now))


def happens(folder: Path) -> Outcome:
    config = make_site(folder).config
    with Store(config.store.place) as store:
        web = create_app(config, engine=RecordingEngine(), store=store).test_client()
        answer = web.post(INGEST, data=say(cluster="production"))
        desk = Desk(store, clusters={"production": UNREACHABLE})
        desk.witness.saying = AlertEvidence("ALERTS", None)
        outcome = let_it_run(desk)
        return Outcome(outcome.harm, f"{answer.text}\n{outcome.words}")
