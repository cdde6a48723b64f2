"""What came of shadowed runs: which score each has and why, and who may say otherwise."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ballast_remediator.contract import RunState, StopKind
from ballast_remediator.store import reading, shadow, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import runs
from ballast_remediator.store.shadow import Later
from tests.remediator.store.rows import put_into
from tests.remediator.web.setting import AsRole
from tests.remediator.web.shadows import every_score, look, resolve, shadowed


@pytest.fixture
def report(as_role: AsRole) -> Any:
    """Asks for the report and gives its JSON."""
    return lambda query="": as_role("viewer").get(f"/api/v1/shadow{query}").json


def score(report: Any) -> tuple[str, str]:
    (run,) = report()["runs"]
    return run["score"], run["words"]


def test_every_score_is_counted_by_runbook_and_cluster(report: Any, store: Store) -> None:
    ids = every_score(store)
    found = report()
    production, staging = found["totals"]
    assert (production["cluster"], production["runbook"], production["runs"]) == ("production", "etcd-free-space", 6)
    assert production["scores"] == dict.fromkeys(("people", "itself", "not_at_all", "refused", "unknown", "open"), 1)
    assert production["refused_by"] == {"quorum_survives": 1}
    assert (staging["runs"], staging["scores"]["itself"]) == (1, 1)
    assert [run["id"] for run in found["runs"]] == [*reversed(ids)]
    assert [run["score"] for run in found["runs"]] == [
        "itself",
        "open",
        "unknown",
        "refused",
        "not_at_all",
        "people",
        "itself",
    ]
    assert found["runs"][0]["would_have"] == "free 1.5 GiB on 3 members"
    assert found["runs"][0]["ended_at"] is not None


def test_an_alert_that_goes_on_is_one_alert_however_many_runs_it_opens(report: Any, store: Store) -> None:
    for _ in range(3):
        shadowed(store)
    (totals,) = report()["totals"]
    assert (totals["runs"], totals["alerts"]) == (3, 1)


def test_a_hold_before_the_end_is_peoples_work_and_one_after_it_is_not(report: Any, store: Store) -> None:
    shadowed(store)
    on_it = {"cluster": "production", "target": "main"}
    store.write(stops.put, StopKind.HOLD, person="ben", reason="elsewhere", cluster="production", target="events")
    resolve(store)
    store.write(stops.put, StopKind.HOLD, person="anna", reason="later", **on_it)
    assert score(report)[0] == "itself"
    shadowed(store)
    held = store.write(stops.put, StopKind.FREEZE, person="anna", reason="compacting", cluster="production")
    store.write(stops.lift, held.id, person="anna", reason="done")
    resolve(store)
    newest = report()["runs"][0]
    assert (newest["score"], newest["words"]) == (
        "people",
        "anna had set a hold on target main of cluster production: later",
    )


def test_a_hold_that_was_over_before_does_not_count(report: Any, store: Store) -> None:
    held = store.write(stops.put, StopKind.FREEZE, person="anna", reason="compacting", cluster="production")
    store.write(stops.lift, held.id, person="anna", reason="done")
    shadowed(store)
    resolve(store)
    assert score(report)[0] == "itself"


def test_another_run_that_acted_meanwhile_is_peoples_work_too(report: Any, store: Store) -> None:
    shadowed(store)
    other = shadowed(store, fingerprint="other")
    run = store.read(reading.run, other)
    assert run is not None
    put_into(store, run, RunState.SUCCEEDED, started_at=time.time())
    store.write(lambda c: c.execute(runs.update().where(runs.c.id == other).values(runbook="another")))
    resolve(store)
    oldest = report()["runs"][-1]
    assert (oldest["score"], oldest["words"]) == ("people", f"run {other} (another) acted on it")


def test_nothing_to_do_is_an_end_once_no_look_can_contradict_it(report: Any, store: Store) -> None:
    run_id = shadowed(store)
    look(store, run_id, Later.NOTHING_TO_DO, last=False)
    assert score(report)[0] == "open"
    look(store, run_id)
    assert score(report) == ("itself", "there was nothing to do any more, and nobody had said that they work on it")
    look(store, run_id, Later.UNSEEN)
    assert score(report)[0] == "itself"
    look(store, run_id, Later.SAME_PLAN)
    assert score(report)[0] == "not_at_all"


def test_a_person_has_the_last_word(as_role: AsRole, report: Any, store: Store) -> None:
    run_id = shadowed(store)
    resolve(store)
    for mark in ("people", "unknown"):
        answer = as_role("approver").post(f"/api/v1/runs/{run_id}/mark", json={"mark": mark, "reason": "I was there"})
        assert (answer.status_code, answer.json["state"]) == (200, "shadowed")
        assert answer.json["timeline"][-1]["words"] == f"approver says who ended the fault: {mark}. I was there"
        assert score(report) == (mark, "approver says so: I was there")


@pytest.mark.parametrize(
    ("body", "status"),
    [({"mark": "nobody", "reason": "x"}, 400), ({"mark": "people"}, 400), ({"mark": "people", "reason": " "}, 400)],
)
def test_a_mark_that_does_not_fit(as_role: AsRole, store: Store, body: dict[str, str], status: int) -> None:
    assert as_role("approver").post(f"/api/v1/runs/{shadowed(store)}/mark", json=body).status_code == status


def test_only_who_decides_marks_and_only_what_was_shadowed(as_role: AsRole, run_id: str) -> None:
    body = {"mark": "people", "reason": "x"}
    assert as_role("viewer").post(f"/api/v1/runs/{run_id}/mark", json=body).status_code == 403
    assert as_role("approver").post("/api/v1/runs/nothing/mark", json=body).status_code == 404
    refused = as_role("approver").post(f"/api/v1/runs/{run_id}/mark", json=body)
    assert (refused.status_code, "only a run that was shadowed" in refused.json["error"]) == (409, True)
    assert as_role("ingest").get("/api/v1/shadow").status_code == 403


def test_a_report_of_a_time_and_of_so_many(report: Any, store: Store) -> None:
    ids = [shadowed(store, target=f"etcd-{number}") for number in range(3)]
    found = report("?limit=2")
    assert ([run["id"] for run in found["runs"]], found["left_out"]) == ([ids[2], ids[1]], 1)
    assert found["totals"][0]["runs"] == 3
    ahead = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert report(f"?since={ahead}")["runs"] == []
    assert "since" in report("?since=yesterday")["error"]


def test_what_was_shadowed_long_ago_is_left_out(report: Any, store: Store) -> None:
    run_id = shadowed(store)
    store.write(
        lambda c: c.execute(
            shadow.shadows.update().where(shadow.shadows.c.run_id == run_id).values(since=time.time() - 31 * 86400)
        )
    )
    assert report()["runs"] == []
