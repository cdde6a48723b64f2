"""Approvals by several people over HTTP: who has approved, how many it takes, who may, and who is refused."""

from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.store import reading
from ballast_remediator.store.database import Store
from tests.remediator.store.rows import put_into
from tests.remediator.web.setting import PLAN_HASH, AsRole, entry, make_site, seed

APPROVAL = {"plan_hash": PLAN_HASH, "reason": "looked at it", "acknowledge": ["stall_fits"]}
PEOPLE = ("anna", "ben", "cleo")


@pytest.fixture
def site(tmp_path: Path) -> Any:
    """Three people may approve; NAME-secret is the token of each."""
    made = make_site(tmp_path)
    with made.tokens.open("a") as tokens:
        tokens.writelines(entry(name, "approver", f"{name}-secret") for name in PEOPLE)
    return made


@pytest.fixture
def run_id(store: Store) -> str:
    """It takes anna and ben, or cleo and one of them is not enough: the rule does not name her."""
    return seed(store, approvals_needed=2, approvers=("anna", "ben", "ingest"))


def state(store: Store, run_id: str) -> RunState:
    run = store.read(reading.run, run_id)
    assert run is not None
    return run.state


def test_it_takes_two_people_and_the_view_says_who(as_role: AsRole, store: Store, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}"
    before = as_role("viewer").get(path).json
    assert (before["approvals"], before["approvals_needed"], before["approvers"]) == ([], 2, ["anna", "ben", "ingest"])

    one = as_role("anna").post(f"{path}/approve", json=APPROVAL).json
    assert one["state"] == "awaiting_approval"
    assert [(given["person"], given["reason"], given["acknowledged"]) for given in one["approvals"]] == [
        ("anna", "looked at it", ["stall_fits"])
    ]
    assert "it takes 1 more of other people" in one["reason"]

    both = as_role("ben").post(f"{path}/approve", json=APPROVAL).json
    assert (both["state"], [given["person"] for given in both["approvals"]]) == ("queued", ["anna", "ben"])
    assert state(store, run_id) is RunState.QUEUED


@pytest.mark.parametrize(
    ("who", "change", "code", "words"),
    [
        ("anna", {}, 409, "anna has approved this plan already; it takes 2 different people"),
        ("cleo", {}, 409, "the policy's rule does not let cleo approve this run; it names anna, ben, ingest"),
        ("ingest", {}, 403, "has the role ingest, which is not good to decide"),
        ("viewer", {}, 403, "has the role viewer"),
        ("ben", {"plan_hash": "00" * 32}, 409, "is another one now"),
        ("ben", {"acknowledge": []}, 409, "has to be accepted by name: stall_fits"),
    ],
)
def test_an_approval_that_does_not_count_is_refused_with_words(
    as_role: AsRole, store: Store, run_id: str, *, who: str, change: dict[str, Any], code: int, words: str
) -> None:
    path = f"/api/v1/runs/{run_id}/approve"
    assert as_role("anna").post(path, json=APPROVAL).status_code == 200
    answer = as_role(who).post(path, json={**APPROVAL, **change})
    assert (answer.status_code, words in answer.json["error"]) == (code, True), answer.json
    assert state(store, run_id) is RunState.AWAITING_APPROVAL


def test_who_comes_too_late_approves_nothing(as_role: AsRole, store: Store, run_id: str) -> None:
    run = store.read(reading.run, run_id)
    assert run is not None
    put_into(store, run, RunState.AWAITING_APPROVAL, expires_at=1.0)
    late = as_role("anna").post(f"/api/v1/runs/{run_id}/approve", json=APPROVAL)
    assert (late.status_code, late.json["error"]) == (409, f"run {run_id} expired")


def test_one_rejection_is_enough(as_role: AsRole, store: Store, run_id: str) -> None:
    as_role("anna").post(f"/api/v1/runs/{run_id}/approve", json=APPROVAL)
    answer = as_role("cleo").post(f"/api/v1/runs/{run_id}/reject", json={"reason": "not in the morning"})
    assert (answer.json["state"], state(store, run_id)) == ("cancelled", RunState.CANCELLED)
