import re
import subprocess

import pytest
from flask import Flask

from ballast_remediator.contract import RunState, StopKind
from ballast_remediator.store import heartbeats, runs, stops
from ballast_remediator.store.database import Store
from drills.stack.process import tool
from tests.remediator.web.setting import RecordingEngine, Site


def test_the_process_lives(app: Flask) -> None:
    assert app.test_client().get("/healthz").json == {"status": "ok"}


def test_it_is_ready(app: Flask) -> None:
    assert app.test_client().get("/readyz").json == {"ready": True, "reasons": []}


def test_it_says_why_it_is_not_ready(app: Flask, engine: RecordingEngine) -> None:
    engine.trouble = "the engine has not looked at its runs for 60 s"
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.json["reasons"]) == (503, [engine.trouble])


def test_metrics_without_a_store_leave_out_what_is_unknown(app: Flask, site: Site) -> None:
    # A database that is gone from under the process cannot be read by new connections.
    site.config.store.path.unlink()
    site.config.store.path.mkdir()
    client = app.test_client()
    app.extensions["ballast"].store._engine.dispose()
    exposed = client.get("/metrics").text
    assert "ballast_remediator_store_up 0.0" in exposed
    assert "ballast_remediator_runs" not in exposed
    assert "ballast_remediator_stops" not in exposed
    assert "ballast_remediator_notifications_unfiled" not in exposed
    assert client.get("/readyz").status_code == 503


@pytest.mark.usefixtures("run_id")
def test_metrics_show_runs_and_troubles(app: Flask, engine: RecordingEngine, site: Site) -> None:
    engine.trouble = "stuck"
    site.tokens.write_text("tokens: []\n")
    exposed = app.test_client().get("/metrics").text.splitlines()
    assert 'ballast_remediator_runs{runbook="etcd-free-space",state="awaiting_approval"} 1.0' in exposed
    assert "ballast_remediator_engine_working 0.0" in exposed
    assert "ballast_remediator_tokens_file_in_force 0.0" in exposed


@pytest.mark.usefixtures("run_id")
def test_metrics_are_as_prometheus_wants_them(app: Flask) -> None:
    exposed = app.test_client().get("/metrics").data
    command = [tool("promtool"), "check", "metrics"]
    check = subprocess.run(command, input=exposed, capture_output=True, timeout=60, check=False)
    assert (check.returncode, check.stdout + check.stderr) == (0, b"")


def test_metrics_tell_which_policy_is_in_force_and_that_a_newer_one_is_not(app: Flask, engine: RecordingEngine) -> None:
    exposed = app.test_client().get("/metrics").text.splitlines()
    assert "ballast_remediator_policy_problem 0.0" in exposed
    assert f'ballast_remediator_policy_info{{digest="{"cd" * 32}"}} 1.0' in exposed
    engine.bad_policy = "policy.yaml:3: rules.0.mode: …"
    assert "ballast_remediator_policy_problem 1.0" in app.test_client().get("/metrics").text.splitlines()


def test_metrics_count_stops_by_kind_with_the_kill_switch_file(
    app: Flask, engine: RecordingEngine, store: Store
) -> None:
    def told() -> dict[str, str]:
        exposed = app.test_client().get("/metrics").text
        return dict(re.findall(r'^ballast_remediator_stops\{kind="(\w+)"\} (\S+)$', exposed, re.MULTILINE))

    assert told() == {"kill_switch": "0.0", "brake": "0.0", "freeze": "0.0", "hold": "0.0"}
    engine.stop_file = "/run/ballast/stop"
    for kind in (StopKind.KILL_SWITCH, StopKind.FREEZE, StopKind.FREEZE):
        store.write(stops.put, kind, person="anna", reason="x", cluster="production")
    over = store.write(stops.put, StopKind.HOLD, person="anna", reason="x", cluster="production", target="main")
    store.write(stops.lift, over.id, person="anna", reason="over")
    assert told() == {"kill_switch": "2.0", "brake": "0.0", "freeze": "2.0", "hold": "0.0"}


def exposed(app: Flask) -> dict[str, float]:
    text = app.test_client().get("/metrics").text
    return {series: float(value) for series, value in re.findall(r"^(ballast_\S+) (\S+)$", text, re.MULTILINE)}


def test_metrics_tell_of_the_work(app: Flask, store: Store, run_id: str) -> None:
    before = exposed(app)
    cancelled = 'ballast_remediator_runs_ended_total{runbook="etcd-free-space",state="cancelled"}'
    assert before[cancelled] == 0
    assert before["ballast_remediator_approvals_expiring"] == 0
    assert before['ballast_remediator_oldest_open_run_age_seconds{state="awaiting_approval"}'] < 600
    writes = "ballast_remediator_store_write_duration_seconds_count"
    store.write(runs.transition, run_id, RunState.CANCELLED, words="rejected")
    after = exposed(app)
    assert after[cancelled] == 1
    assert not any("oldest_open_run" in series for series in after)
    assert after["ballast_remediator_audit_entries"] == before["ballast_remediator_audit_entries"] + 1
    assert after[writes] == before[writes] + 1
    assert exposed(app)[cancelled] == 1


def test_metrics_tell_of_a_heartbeat_that_never_came(app: Flask, store: Store) -> None:
    missing = 'ballast_remediator_heartbeat_missing{watched_cluster="production"}'
    assert exposed(app)[missing] == 0
    store.write(heartbeats.look, ("production",), alertname="Watchdog", since=store.now() - 901, absent_after=900.0)
    assert exposed(app)[missing] == 1
    assert not any("heartbeat_age" in series for series in exposed(app))
    store.write(heartbeats.beat, "production")
    told = exposed(app)
    assert told[missing] == 0
    assert told['ballast_remediator_heartbeat_age_seconds{watched_cluster="production"}'] < 600


def test_metrics_tell_since_when_an_endless_stop_stands(app: Flask, store: Store) -> None:
    for until in (None, store.now() + 600):
        store.write(
            stops.put, StopKind.HOLD, person="anna", reason="x", cluster="production", target="main", until=until
        )
    since = [series for series in exposed(app) if "endless_since" in series]
    assert since == ['ballast_remediator_stops_endless_since_timestamp_seconds{kind="hold"}']


def test_without_a_receiver_nothing_is_said_of_notices(app: Flask) -> None:
    assert not any("notices" in series for series in exposed(app))
