"""Pre-approvals over HTTP, and to the end: what fits runs without a person, anything else waits for one."""

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from ballast_remediator.app import create_app
from ballast_remediator.contract import Answer, Mode, RunState
from ballast_remediator.guards import allow, ask
from ballast_remediator.store import decisions
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import preapprovals
from tests.remediator.engine.desk import Desk, Recording, SeenWorld, say
from tests.remediator.standing import policy
from tests.remediator.web.setting import AsRole, Caller, Site, entry

PREAPPROVALS = "/api/v1/preapprovals"
GIVEN = {
    "cluster": "production",
    "runbook": "recording",
    "targets": ["main"],
    "limits": {"members_at_once": 1},
    "acknowledge": [],
    "seconds": 3600,
    "reason": "the night shift",
}
SOON = datetime.now(timezone(timedelta(hours=5))) + timedelta(hours=1)


@pytest.fixture
def risky() -> list[bool]:
    """Whether a guard asks for a risk to be accepted."""
    return [False]


@pytest.fixture
def desk(store: Store, risky: list[bool]) -> Desk:
    """A runbook that the policy lets run when a person has approved."""

    def guard(_: SeenWorld) -> Answer:
        return ask("it_is_quiet", "a backup runs") if risky[0] else allow("it_is_quiet", "quiet")

    runbook = Recording(guards=(guard,), limits={"members_at_once": 1})
    return Desk(store, runbook, rules=policy(Mode.ASK), clusters={"production": "http://127.0.0.1:9"})


@pytest.fixture
def app(site: Site, desk: Desk, store: Store) -> Flask:
    with site.tokens.open("a") as tokens:
        tokens.write(entry("anna", "approver", "anna-secret"))
    return create_app(site.config, engine=desk.engine, store=store)


@pytest.fixture
def anna(as_role: AsRole) -> Caller:
    return as_role("anna")


def becomes(desk: Desk, target: str = "main") -> RunState:
    """Where a run comes to without anybody."""
    desk.receive(say(target))
    return desk.until(RunState.AWAITING_APPROVAL, RunState.SUCCEEDED).state


def test_what_was_approved_beforehand_runs_and_the_audit_says_by_whom(anna: Caller, desk: Desk) -> None:
    given = anna.post(PREAPPROVALS, json=GIVEN)
    assert given.status_code == 200
    assert becomes(desk) is RunState.SUCCEEDED
    assert "approved beforehand by anna (the night shift)" in desk.story(desk.run())


def test_without_one_it_waits(desk: Desk) -> None:
    assert becomes(desk) is RunState.AWAITING_APPROVAL


@pytest.mark.parametrize(
    "change", [{"limits": {"members_at_once": 0}}, {"limits": {"members": 5}}], ids=["narrower", "no such limit"]
)
def test_outside_its_limits_it_waits_for_a_person(anna: Caller, desk: Desk, change: dict[str, Any]) -> None:
    assert anna.post(PREAPPROVALS, json={**GIVEN, **change}).status_code == 200
    assert becomes(desk) is RunState.AWAITING_APPROVAL


def test_on_another_target_it_waits_for_a_person(anna: Caller, desk: Desk) -> None:
    assert anna.post(PREAPPROVALS, json=GIVEN).status_code == 200
    assert becomes(desk, "events") is RunState.AWAITING_APPROVAL


def test_a_risk_that_was_not_accepted_waits_for_a_person(anna: Caller, desk: Desk, risky: list[bool]) -> None:
    anna.post(PREAPPROVALS, json=GIVEN)
    risky[0] = True
    assert becomes(desk) is RunState.AWAITING_APPROVAL


def test_a_risk_that_was_accepted_beforehand_does_not(anna: Caller, desk: Desk, risky: list[bool]) -> None:
    anna.post(PREAPPROVALS, json={**GIVEN, "acknowledge": ["it_is_quiet"]})
    risky[0] = True
    assert becomes(desk) is RunState.SUCCEEDED


def test_when_it_is_over_it_waits_for_a_person(anna: Caller, desk: Desk, store: Store) -> None:
    anna.post(PREAPPROVALS, json=GIVEN)
    store.write(lambda connection: connection.execute(preapprovals.update().values(until=time.time() - 1)))
    assert becomes(desk) is RunState.AWAITING_APPROVAL
    assert anna.get(PREAPPROVALS).json == {"preapprovals": []}


def test_when_the_runbook_has_changed_it_waits_for_a_person_and_the_list_says_so(
    anna: Caller, desk: Desk, store: Store
) -> None:
    anna.post(PREAPPROVALS, json=GIVEN)
    store.write(lambda connection: connection.execute(preapprovals.update().values(runbook_digest="of another source")))
    assert becomes(desk) is RunState.AWAITING_APPROVAL
    (listed,) = anna.get(PREAPPROVALS).json["preapprovals"]
    assert listed["problem"] == "recording is not the one that was approved any more: its source has changed since"


def test_after_a_revocation_it_waits_for_a_person(as_role: AsRole, anna: Caller, desk: Desk) -> None:
    given = anna.post(PREAPPROVALS, json=GIVEN).json
    path = f"{PREAPPROVALS}/{given['id']}/revoke"
    taken = as_role("approver").post(path, json={"reason": "the shift is over"})
    assert (taken.status_code, taken.json) == (200, given)
    assert becomes(desk) is RunState.AWAITING_APPROVAL
    again = anna.post(path, json={"reason": "x"})
    assert (again.status_code, again.json["error"]) == (404, f"there is no pre-approval {given['id']} in force")


def test_where_it_takes_two_people_one_alone_is_not_enough(as_role: AsRole, anna: Caller, desk: Desk) -> None:
    desk.policy.content.rules[0].__dict__["approvals"] = 2
    anna.post(PREAPPROVALS, json=GIVEN)
    anna.post(PREAPPROVALS, json={**GIVEN, "reason": "once more, which is the same person"})
    assert becomes(desk) is RunState.AWAITING_APPROVAL
    desk.store.write(decisions.reject, desk.run().id, person="anna", reason="so that the next alert opens a new run")
    as_role("approver").post(PREAPPROVALS, json=GIVEN)
    assert becomes(desk) is RunState.SUCCEEDED


def test_somebody_whom_the_rule_does_not_name_approves_nothing(anna: Caller, desk: Desk) -> None:
    desk.policy.content.rules[0].__dict__["approvers"] = ("ben",)
    anna.post(PREAPPROVALS, json=GIVEN)
    assert becomes(desk) is RunState.AWAITING_APPROVAL


def test_it_is_bound_to_the_runbook_as_it_is_reviewed_now(anna: Caller, desk: Desk) -> None:
    given = anna.post(PREAPPROVALS, json={**GIVEN, "seconds": None, "until": SOON.isoformat()}).json
    assert given["runbook_digest"] == desk.engine.runbooks()["recording"]
    assert datetime.fromisoformat(given["until"]) == SOON
    assert (given["person"], given["targets"], given["problem"]) == ("anna", ["main"], None)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"targets": []}, (400, "targets: ")),
        ({"targets": "main"}, (400, "targets: ")),
        ({"targets": ["main", "mian"]}, (409, "no target 'mian' in production (configured: main)")),
        ({"cluster": "here"}, (409, "cluster 'here' is not configured")),
        ({"runbook": "reboot"}, (409, "no approved runbook 'reboot' (there are: recording)")),
        ({"limits": {"members_at_once": "many"}}, (400, "limits.members_at_once: ")),
        ({"seconds": None}, (400, "say when it ends")),
        ({"until": SOON.isoformat()}, (400, "say when it ends")),
        ({"seconds": 40 * 86400}, (409, "lasts for 31 d at most")),
        ({"seconds": None, "until": "2020-01-01T00:00:00Z"}, (409, "over before it begins")),
        ({"seconds": None, "until": "2100-01-01T00:00:00"}, (400, "until: ")),
        ({"reason": ""}, (400, "reason: ")),
        ({"force": True}, (400, "force: ")),
    ],
)
def test_one_that_would_approve_nothing_is_refused_with_words(
    anna: Caller, change: dict[str, Any], refusal: tuple[int, str]
) -> None:
    code, words = refusal
    answer = anna.post(PREAPPROVALS, json={**GIVEN, **change})
    assert (answer.status_code, words in answer.json["error"]) == (code, True), answer.json
    assert anna.get(PREAPPROVALS).json == {"preapprovals": []}


@pytest.mark.parametrize("role", ["viewer", "ingest"])
def test_who_may_not_decide_approves_nothing_beforehand(as_role: AsRole, role: str) -> None:
    assert as_role(role).post(PREAPPROVALS, json=GIVEN).status_code == 403


def test_a_runbook_that_was_not_reviewed_cannot_be_approved_beforehand(site: Site, tmp_path: Path) -> None:
    with Store(tmp_path / "other.db") as store:
        desk = Desk(store, reviewed={"recording": "another digest"}, clusters={"production": "http://127.0.0.1:9"})
        client = create_app(site.config, engine=desk.engine, store=store).test_client()
        answer = client.post(PREAPPROVALS, json=GIVEN, headers={"Authorization": "Bearer approver-secret"})
    assert (answer.status_code, "there is no approved runbook 'recording'" in answer.json["error"]) == (409, True)
