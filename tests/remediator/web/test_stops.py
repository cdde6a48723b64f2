"""Stops over HTTP: whoever may decide sets them and lifts them, and a stop that would stop nothing is refused."""

import time
from typing import Any

import pytest

from ballast_remediator.contract import RunState, StopKind
from ballast_remediator.store import reading, stops
from ballast_remediator.store.database import Store
from tests.remediator.web.setting import AsRole, RecordingEngine

STOPS = "/api/v1/stops"
KILL = {"kind": "kill_switch", "reason": "a drill"}
FREEZE = {"kind": "freeze", "cluster": "production", "reason": "an upgrade"}
HOLD = {"kind": "hold", "cluster": "production", "target": "main", "reason": "a restore"}


@pytest.mark.parametrize("role", ["approver", "admin"])
@pytest.mark.parametrize(
    ("body", "scope"),
    [
        (KILL, "everything"),
        ({**KILL, "cluster": "production"}, "cluster production"),
        ({**KILL, "runbook": "etcd-free-space"}, "runbook etcd-free-space"),
        (FREEZE, "cluster production"),
        (HOLD, "target main of cluster production"),
    ],
)
def test_a_stop_is_set_listed_and_lifted(
    as_role: AsRole, engine: RecordingEngine, role: str, body: dict[str, Any], scope: str
) -> None:
    placed = as_role(role).post(STOPS, json=body)
    assert placed.status_code == 200
    assert {key: placed.json[key] for key in ("kind", "scope", "person", "reason", "until")} == {
        "kind": body["kind"],
        "scope": scope,
        "person": role,
        "reason": body["reason"],
        "until": None,
    }
    assert as_role("viewer").get(STOPS).json == {"stops": [placed.json], "kill_switch_file": None}

    lifted = as_role(role).post(f"{STOPS}/{placed.json['id']}/lift", json={"reason": "over"})

    assert (lifted.status_code, lifted.json["id"]) == (200, placed.json["id"])
    assert as_role("viewer").get(STOPS).json["stops"] == []
    assert engine.woken == 2


def test_a_freeze_ends_by_itself(as_role: AsRole, store: Store) -> None:
    as_role("approver").post(STOPS, json={**FREEZE, "seconds": 7200})
    (stop,) = store.read(stops.in_force)
    assert stop.until == pytest.approx(time.time() + 7200, abs=60)
    assert store.read(stops.in_force, now=stop.until) == ()


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({**KILL, "kind": "brake"}, (400, "the brake is set by the remediator alone")),
        ({**KILL, "kind": "pause"}, (400, "kind: ")),
        ({"kind": "kill_switch"}, (400, "reason: ")),
        ({**KILL, "reason": " "}, (400, "reason: ")),
        ({**KILL, "clusters": "production"}, (400, "clusters: ")),
        ({**KILL, "seconds": 0}, (400, "seconds: ")),
        ({**KILL, "seconds": "NaN"}, (400, "seconds: ")),
        ({**KILL, "cluster": ""}, (400, "cluster: ")),
        ({**KILL, "cluster": "prodction"}, (409, "'prodction' is not configured (configured: production)")),
        ({**KILL, "runbook": "reboot"}, (409, "no approved runbook 'reboot' (there are: etcd-free-space)")),
        ({"kind": "freeze", "reason": "x"}, (409, "a freeze needs the cluster")),
        ({"kind": "hold", "reason": "x", "target": "main"}, (409, "a hold needs the cluster and the target")),
        ({**HOLD, "target": "mian"}, (409, "no target 'mian' in production (configured: main)")),
    ],
)
def test_a_stop_that_would_stop_nothing_is_refused_with_words(
    as_role: AsRole, store: Store, body: dict[str, Any], refusal: tuple[int, str]
) -> None:
    code, words = refusal
    answer = as_role("approver").post(STOPS, json=body)
    assert (answer.status_code, words in answer.json["error"]) == (code, True), answer.json
    assert store.read(stops.in_force) == ()


@pytest.mark.parametrize("role", ["viewer", "ingest"])
def test_who_may_not_decide_neither_stops_nor_lifts(as_role: AsRole, store: Store, role: str) -> None:
    placed = as_role("approver").post(STOPS, json=KILL).json["id"]
    for path, body in ((STOPS, KILL), (f"{STOPS}/{placed}/lift", {"reason": "x"})):
        answer = as_role(role).post(path, json=body)
        assert (answer.status_code, "that takes approver or admin" in answer.json["error"]) == (403, True)
    assert [stop.id for stop in store.read(stops.in_force)] == [placed]


def test_a_stop_is_lifted_once_and_others_stay(as_role: AsRole) -> None:
    approver = as_role("approver")
    first, second = (approver.post(STOPS, json=KILL).json["id"] for _ in range(2))
    path = f"{STOPS}/{first}/lift"
    assert approver.post(path, json={}).status_code == 400
    assert approver.post(path, json={"reason": "over"}).status_code == 200
    again = approver.post(path, json={"reason": "over"})
    assert (again.status_code, again.json["error"]) == (404, f"there is no stop {first} in force")
    assert [stop["id"] for stop in approver.get(STOPS).json["stops"]] == [second]


def test_people_lift_the_brake_and_what_waited_expires(as_role: AsRole, store: Store, run_id: str) -> None:
    brake = store.write(stops.put, StopKind.BRAKE, person="intake", reason="alerts for 6 targets came")
    answer = as_role("approver").post(f"{STOPS}/{brake.id}/lift", json={"reason": "a release"})
    assert (answer.status_code, answer.json["kind"]) == (200, "brake")
    run = store.read(reading.run, run_id)
    assert run is not None
    assert (run.state, "which approver released" in run.reason) == (RunState.EXPIRED, True)


def test_the_kill_switch_file_is_told(as_role: AsRole, engine: RecordingEngine) -> None:
    engine.stop_file = "/run/ballast/stop"
    assert as_role("viewer").get(STOPS).json == {"stops": [], "kill_switch_file": "/run/ballast/stop"}


def test_without_a_store_a_stop_is_not_said_to_be_set(as_role: AsRole, store: Store) -> None:
    store._writer.end()
    store._writer.join(10.0)
    answer = as_role("approver").post(STOPS, json=KILL)
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (STOPS, {**KILL, "reason": "a\x00"}),
        (STOPS, {**KILL, "target": "\x00"}),
        (f"{STOPS}/%00/lift", {"reason": "over"}),
    ],
)
def test_nul_is_refused_before_the_store_has_to(as_role: AsRole, path: str, body: dict[str, str]) -> None:
    answer = as_role("approver").post(path, json=body)
    assert (answer.status_code, "NUL is no character" in answer.text) == (400, True)
