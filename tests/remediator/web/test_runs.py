import json
from typing import Any

import pytest
from flask import Flask

from ballast_remediator import notification
from ballast_remediator.contract import RunState
from ballast_remediator.store import reading, runs
from ballast_remediator.store.database import Store
from tests.remediator.web.setting import INGEST, AsRole, RecordingEngine, seed

HASH = "ab" * 32
APPROVAL = {"plan_hash": HASH, "reason": "looked at it", "acknowledge": ["stall_fits"]}


def test_runs_are_listed_newest_first_and_by_state(as_role: AsRole, run_id: str) -> None:
    viewer = as_role("viewer")
    (listed,) = viewer.get("/api/v1/runs").json["runs"]
    assert listed["id"] == run_id
    assert (listed["cluster"], listed["runbook"], listed["target"]) == ("production", "etcd-free-space", "main")
    assert listed["state"] == "awaiting_approval"
    assert listed["created_at"].endswith("Z")
    assert viewer.get("/api/v1/runs?state=failed").json == {"runs": []}


@pytest.mark.parametrize(
    ("query", "words"),
    [("limit=0", "limit: "), ("limit=501", "limit: "), ("limit=x", "limit: "), ("state=x", "state: ")],
)
def test_a_filter_that_cannot_be_is_said_to_be(as_role: AsRole, query: str, words: str) -> None:
    answer = as_role("viewer").get(f"/api/v1/runs?{query}")
    assert (answer.status_code, answer.json["error"].startswith(words)) == (400, True)


def test_a_run_shows_its_plan_its_guards_and_what_happened(as_role: AsRole, run_id: str) -> None:
    shown = as_role("viewer").get(f"/api/v1/runs/{run_id}").json
    assert shown["plan_hash"] == HASH
    assert shown["plan"]["steps"][1] == {
        "ordinal": 2,
        "kind": "defragment",
        "target": "m2",
        "words": "defragment m2",
        "params": {"bytes": 5},
    }
    assert shown["plan"]["answers"][1] == {
        "guard": "stall_fits",
        "verdict": "ask",
        "reason": "each member stalls for 40 s",
    }
    assert (shown["to_acknowledge"], shown["acknowledged"], shown["steps"]) == (["stall_fits"], [], [])
    assert [entry["event"] for entry in shown["timeline"]] == ["received", "planning", "awaiting_approval"]
    assert shown["alert"]["labels"]["alertname"] == "EtcdFreeSpaceNeeded"


def test_a_run_before_its_plan_shows_none(as_role: AsRole, store: Store, run_id: str) -> None:
    store.write(runs.transition, run_id, RunState.CANCELLED, words="gone")
    assert as_role("viewer").get(f"/api/v1/runs/{run_id}").json["finished_at"] is not None


@pytest.mark.parametrize(
    ("starts_at", "shown"),
    [
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
    ],
)
def test_an_alert_of_any_time_that_is_accepted_can_be_shown_and_decided(
    as_role: AsRole, store: Store, payload: dict[str, Any], starts_at: str, shown: str
) -> None:
    payload["alerts"][0]["startsAt"] = starts_at
    body = json.dumps(payload).encode()
    (alert,) = notification.parse(body).alerts
    run_id = seed(store, starts_at=alert.starts_at)
    assert as_role("ingest").post(INGEST, data=body).status_code == 202
    assert as_role("viewer").get(f"/api/v1/runs/{run_id}").json["alert"]["starts_at"] == shown
    assert as_role("approver").post(f"/api/v1/runs/{run_id}/approve", json=APPROVAL).status_code == 200


def test_an_approval_is_of_this_plan_by_this_person(
    as_role: AsRole, store: Store, engine: RecordingEngine, run_id: str
) -> None:
    answer = as_role("approver").post(f"/api/v1/runs/{run_id}/approve", json=APPROVAL)
    assert (answer.status_code, answer.json["state"]) == (200, "queued")
    assert answer.json["acknowledged"] == ["stall_fits"]
    assert answer.json["timeline"][-1]["actor"] == "approver"
    assert store.read(reading.run, run_id).approved_hash == HASH
    assert engine.woken == 1


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"plan_hash": "00" * 32}, (409, "another one now")),
        ({"acknowledge": []}, (409, "has to be accepted by name: stall_fits")),
        ({"plan_hash": "ab"}, (400, "plan_hash: ")),
        ({"reason": "  "}, (400, "reason: ")),
        ({"acknowledge": "stall_fits"}, (400, "acknowledge: ")),
        ({"force": True}, (400, "force: ")),
    ],
)
def test_an_approval_that_does_not_fit_changes_nothing(
    as_role: AsRole, store: Store, run_id: str, change: dict[str, Any], refusal: tuple[int, str]
) -> None:
    code, words = refusal
    answer = as_role("approver").post(f"/api/v1/runs/{run_id}/approve", json={**APPROVAL, **change})
    assert answer.status_code == code
    assert words in answer.json["error"]
    assert store.read(reading.run, run_id).state is RunState.AWAITING_APPROVAL


def test_a_body_that_is_no_json_is_said_to_be(as_role: AsRole, run_id: str) -> None:
    answer = as_role("approver").post(f"/api/v1/runs/{run_id}/approve", data=b"plan_hash=x")
    assert (answer.status_code, "must be a JSON object" in answer.json["error"]) == (400, True)


def test_a_rejection_cancels(as_role: AsRole, engine: RecordingEngine, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/reject"
    answer = as_role("approver").post(path, json={"reason": "not now"})
    assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert answer.json["reason"] == "rejected by approver: not now"
    again = as_role("approver").post(path, json={"reason": "not now"})
    assert (again.status_code, "is cancelled" in again.json["error"]) == (409, True)
    assert engine.woken == 1


def test_an_unknown_outcome_is_resolved_once(as_role: AsRole, store: Store, run_id: str) -> None:
    store.write(runs.transition, run_id, RunState.QUEUED, words="approved")
    store.write(runs.transition, run_id, RunState.RUNNING, words="running")
    store.write(runs.transition, run_id, RunState.OUTCOME_UNKNOWN, words="nobody knows")
    path = f"/api/v1/runs/{run_id}/resolve"
    answer = as_role("admin").post(path, json={"reason": "looked at it"})
    assert (answer.status_code, answer.json["resolved_at"] is not None) == (200, True)
    assert as_role("admin").post(path, json={"reason": "again"}).status_code == 409


@pytest.mark.parametrize("action", ["approve", "reject", "resolve"])
def test_who_only_reads_decides_nothing(as_role: AsRole, store: Store, run_id: str, action: str) -> None:
    answer = as_role("viewer").post(f"/api/v1/runs/{run_id}/{action}", json=APPROVAL)
    assert (answer.status_code, "that takes approver or admin" in answer.json["error"]) == (403, True)
    assert store.read(reading.run, run_id).state is RunState.AWAITING_APPROVAL


@pytest.mark.parametrize("action", ["approve", "reject", "resolve"])
def test_there_may_be_no_such_run(as_role: AsRole, action: str) -> None:
    body = APPROVAL if action == "approve" else {"reason": "x"}
    answer = as_role("approver").post(f"/api/v1/runs/nothing/{action}", json=body)
    assert (answer.status_code, answer.json["error"]) == (404, "there is no run nothing")


def test_reading_without_a_store_is_a_503(as_role: AsRole, store: Store, run_id: str) -> None:
    store._writer.end()
    store._writer.join(10.0)
    answer = as_role("approver").post(f"/api/v1/runs/{run_id}/reject", json={"reason": "x"})
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)


def test_errors_of_flask_itself_are_json_too(as_role: AsRole) -> None:
    assert "error" in as_role("viewer").get("/nothing").json
    answer = as_role("admin").post("/api/v1/runs")
    assert (answer.status_code, "error" in answer.json, "GET" in answer.headers["Allow"]) == (405, True, True)


def test_a_fault_of_ours_tells_nothing_of_itself(app: Flask, as_role: AsRole) -> None:
    def broken() -> None:
        raise RuntimeError("a secret")

    app.view_functions["runs.list_runs"] = broken
    answer = as_role("viewer").get("/api/v1/runs")
    assert (answer.status_code, answer.json) == (
        500,
        {"error": "the remediator failed to answer this; its log says why"},
    )
