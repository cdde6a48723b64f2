"""POST /api/v1/explain: every guard's answer and what would happen, live, and nothing changes."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from ballast_remediator.app import create_app
from ballast_remediator.contract import AlertEvidence, Answer, Mode, RunState, StopKind
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from ballast_remediator.guards import allow, ask
from ballast_remediator.store import decisions, reading, stops
from ballast_remediator.store.database import Store
from kube_ballast.clients.errors import Unavailable
from tests.remediator.engine.desk import Desk, Recording, SeenWorld, say
from tests.remediator.standing import policy
from tests.remediator.store.rows import entries, hold, opened
from tests.remediator.web.setting import AsRole, Caller, Site

EXPLAIN = "/api/v1/explain"
QUIET = {"acknowledged": ("it_is_quiet",)}


@pytest.fixture
def risky() -> list[bool]:
    """Whether a guard asks for a risk to be accepted."""
    return [False]


@pytest.fixture
def desk(store: Store, risky: list[bool]) -> Desk:
    def guard(_: SeenWorld) -> Answer:
        return ask("it_is_quiet", "a backup runs") if risky[0] else allow("it_is_quiet", "quiet")

    runbook = Recording(guards=(guard,), limits={"members_at_once": 1})
    rules = policy(Mode.ASK, match={"cluster": "production"})
    return Desk(store, runbook, rules=rules, clusters={"production": "http://127.0.0.1:9"})


@pytest.fixture
def app(site: Site, desk: Desk, store: Store) -> Flask:
    return create_app(site.config, engine=desk.engine, store=store)


@pytest.fixture
def viewer(as_role: AsRole) -> Caller:
    return as_role("viewer")


@pytest.fixture
def nothing_changes(store: Store) -> Iterator[None]:
    """The audit holds an entry of every change, so a test that leaves none has changed nothing."""
    before = entries(store), store.read(reading.recent_runs, limit=100)
    yield
    assert (entries(store), store.read(reading.recent_runs, limit=100)) == before


def told(caller: Caller, body: bytes | None = None) -> dict[str, Any]:
    answer = caller.post(EXPLAIN, data=body or say())
    assert answer.status_code == 200, answer.json
    (one,) = answer.json["explanations"]
    return dict(one)


@pytest.mark.usefixtures("nothing_changes")
def test_every_guard_answers_and_the_rule_and_the_plan_are_told(viewer: Caller, desk: Desk) -> None:
    shown = told(viewer)
    assert (shown["state"], shown["words"]) == ("awaiting_approval", "waits for a person to approve it")
    assert (shown["cluster"], shown["runbook"], shown["target"]) == ("production", "recording", "main")
    asked = [answer["guard"] for answer in shown["answers"]]
    own = ["alert_is_true_now", "it_is_quiet"]
    assert asked == own + [guard.__name__ for guard in (*LEDGER_GUARDS, *LOCK_GUARDS)]
    assert shown["rule"] == {
        "number": 1,
        "match": {"cluster": "production"},
        "mode": "ask",
        "approvers": None,
        "approvals_needed": 1,
    }
    assert [step["words"] for step in shown["plan"]["steps"]] == ["do a", "do b", "do c"]
    assert (shown["policy_digest"], shown["open_run"]) == (desk.policy.digest, None)
    assert desk.runbook.effects == []


def test_a_run_comes_to_what_was_explained_with_the_same_plan(viewer: Caller, desk: Desk) -> None:
    shown = told(viewer)
    desk.receive()
    run = desk.until(RunState.AWAITING_APPROVAL)
    assert (run.state, run.reason, run.plan_hash) == (shown["state"], shown["words"], shown["plan_hash"])
    assert told(viewer)["open_run"] == {"id": run.id, "state": "awaiting_approval"}


@pytest.mark.parametrize(
    ("mode", "accept", "state"),
    [(Mode.SHADOW, False, "shadowed"), (Mode.AUTO, False, "queued"), (Mode.AUTO, True, "awaiting_approval")],
)
def test_what_would_happen_follows_the_mode(
    viewer: Caller, desk: Desk, risky: list[bool], mode: Mode, *, accept: bool, state: str
) -> None:
    risky[0] = accept
    desk.policy.content.rules[0].__dict__["mode"] = mode
    assert told(viewer)["state"] == state


@pytest.mark.parametrize("role", ["viewer", "approver", "admin"])
def test_whoever_may_read_may_ask(as_role: AsRole, role: str) -> None:
    assert as_role(role).post(EXPLAIN, data=say()).status_code == 200


def test_alertmanagers_credential_may_not(as_role: AsRole) -> None:
    answer = as_role("ingest").post(EXPLAIN, data=say())
    assert (answer.status_code, "which is not good to read" in answer.json["error"]) == (403, True)


def one_alert() -> dict[str, Any]:
    (alert,) = json.loads(say())["alerts"]
    return dict(alert)


@pytest.mark.parametrize(
    "body",
    [
        one_alert(),
        {key: value for key, value in one_alert().items() if key != "status"},
        [{**one_alert(), "status": {"state": "active", "silencedBy": [], "inhibitedBy": []}, "receivers": []}],
    ],
    ids=["one of a payload", "one without a status", "as the API lists them"],
)
def test_an_alert_may_come_by_itself(viewer: Caller, body: object) -> None:
    assert told(viewer, json.dumps(body).encode())["state"] == "awaiting_approval"


@pytest.mark.usefixtures("nothing_changes")
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"ballast_runbook": None}, "it is for people"),
        ({"ballast_runbook": "reboot"}, "there is no approved runbook 'reboot'"),
        ({"cluster": "elsewhere"}, "cluster 'elsewhere' is not configured"),
        ({"etcd_cluster": None}, "its target is unknown"),
    ],
)
def test_an_alert_that_no_run_answers_says_why(viewer: Caller, labels: dict[str, str | None], words: str) -> None:
    shown = told(viewer, say(**{"target": "main", **labels}) if "etcd_cluster" not in labels else without_target())
    assert (shown["state"], shown["target"], shown["answers"]) == (None, None, [])
    assert words in shown["words"]


def without_target() -> bytes:
    content = json.loads(say())
    del content["alerts"][0]["labels"]["etcd_cluster"]
    return json.dumps(content).encode()


def test_an_alert_that_prometheus_denies_gets_that_answer_and_no_other(viewer: Caller, desk: Desk) -> None:
    desk.witness.saying = AlertEvidence("ALERTS{…}", None)
    shown = told(viewer)
    assert [answer["guard"] for answer in shown["answers"]] == ["alert_is_true_now"]
    assert (shown["state"], shown["plan"], shown["mismatches"]) == ("suppressed", None, [])


def test_where_no_rule_matches_each_one_says_what_it_wants(viewer: Caller, desk: Desk) -> None:
    desk.policy.content.rules[0].__dict__["match"] = {"cluster": "production", "tier": "gold"}
    shown = told(viewer)
    assert (shown["state"], shown["rule"]) == ("suppressed", None)
    assert shown["mismatches"] == ["rule 1 wants tier to be 'gold'; the alert has no such label"]


def test_a_refusal_is_what_would_happen_and_all_other_guards_answer_too(viewer: Caller, store: Store) -> None:
    store.write(stops.put, StopKind.FREEZE, person="anna", reason="an upgrade", cluster="production")
    shown = told(viewer)
    assert (shown["state"], shown["words"].startswith("nobody_is_at_work: anna is at work")) == ("suppressed", True)
    refused = [answer["guard"] for answer in shown["answers"] if answer["verdict"] == "refuse"]
    assert (refused, len(shown["answers"])) == (["nobody_is_at_work"], 16)
    assert shown["plan"]["summary"] == "do it all"


def test_a_lock_that_somebody_holds_is_waited_for(viewer: Caller, desk: Desk, store: Store) -> None:
    desk.policy.content.rules[0].__dict__["mode"] = Mode.AUTO
    hold(store, opened(store), "production/lock/control-plane")
    shown = told(viewer)
    assert (shown["state"], "then it waits: lock_is_free: " in shown["words"]) == ("queued", True)


def test_a_world_that_cannot_be_seen_may_be_seen_soon(viewer: Caller, desk: Desk) -> None:
    def dark() -> SeenWorld:
        raise Unavailable("http://etcd", "nobody answers")

    desk.runbook.seeing = dark
    shown = told(viewer)
    assert (shown["state"], shown["passing"], "nobody answers" in shown["words"]) == ("suppressed", True, True)


def test_nothing_to_do_is_an_answer(viewer: Caller, desk: Desk) -> None:
    desk.runbook.nothing_to_do = "there is room"
    shown = told(viewer)
    assert (shown["state"], shown["words"]) == ("cancelled", "nothing to do: there is room")


def preapproved(desk: Desk, store: Store, **changes: Any) -> Any:
    content = {
        "cluster": "production",
        "runbook": "recording",
        "runbook_digest": desk.engine.runbooks()["recording"],
        "targets": ("main",),
        "limits": {},
        "acknowledged": (),
        "person": "anna",
        "reason": "the night shift",
        "until": time.time() + 3600,
    }
    return store.write(decisions.preapprove, **{**content, **changes})


def test_a_pre_approval_that_fits_lets_it_pass(viewer: Caller, desk: Desk, store: Store) -> None:
    preapproved(desk, store)
    shown = told(viewer)
    assert (shown["state"], shown["words"]) == ("queued", "approved beforehand by anna (the night shift)")


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        ({"targets": ("events",)}, "it is for recording on events in production"),
        ({**QUIET, "limits": {"members_at_once": 0}}, "it allows members_at_once up to 0, and the plan has 1"),
        ({**QUIET, "limits": {"bytes": 5}}, "it allows bytes up to 5, and the plan has no such limit"),
        ({"runbook_digest": "other"}, "the source of recording has changed since"),
        ({}, "it does not accept the risk that it_is_quiet names"),
        (QUIET, "it covers this plan, and it takes 2 different people"),
        ({**QUIET, "person": "cleo"}, "the rule does not let cleo approve"),
    ],
)
def test_a_pre_approval_that_does_not_says_why(
    viewer: Caller, desk: Desk, risky: list[bool], *, change: dict[str, Any], gap: str
) -> None:
    risky[0] = True
    desk.policy.content.rules[0].__dict__.update(approvals=2, approvers=("anna", "ben"))
    given = preapproved(desk, desk.store, **change)
    assert told(viewer)["beforehand"] == [f"{given.id} of {given.person}: {gap}"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"7", "it is no webhook payload"),
        (b"[]", "it holds 0 alerts"),
        (json.dumps([one_alert()] * 11).encode(), "it holds 11 alerts; from 1 to 10"),
        (b'{"alerts": []}', "the payload has no version"),
        (b'{"labels": {}}', "it is no webhook payload, no alert of one"),
    ],
)
def test_what_holds_no_alert_is_refused_with_words(viewer: Caller, body: bytes, words: str) -> None:
    answer = viewer.post(EXPLAIN, data=body)
    assert (answer.status_code, words in answer.json["error"]) == (400, True), answer.json


def test_who_is_curious_takes_no_more_than_two_threads(viewer: Caller, desk: Desk) -> None:
    answers = []

    def twice_more() -> SeenWorld:
        desk.runbook.seeing = and_again
        answers.append(viewer.post(EXPLAIN, data=say()))
        return SeenWorld(1e18)

    def and_again() -> SeenWorld:
        answers.append(viewer.post(EXPLAIN, data=say()))
        return SeenWorld(1e18)

    desk.runbook.seeing = twice_more
    assert viewer.post(EXPLAIN, data=say()).status_code == 200
    assert sorted((each.status_code, each.headers.get("Retry-After")) for each in answers) == [(200, None), (503, "5")]
    desk.runbook.seeing = lambda: SeenWorld(1e18)
    assert told(viewer)["state"] == "awaiting_approval"


def test_what_was_seen_is_told_when_it_is_asked_for(viewer: Caller) -> None:
    assert viewer.post(EXPLAIN, data=say()).json["recordings"] is None
    (kept,) = viewer.post(f"{EXPLAIN}?record=true", data=say()).json["recordings"]
    assert (kept["target"]["name"], kept["evidence"]["question"], kept["world"]["population"]) == ("main", "ALERTS", 1)
    assert kept["runbooks"]["etcd-free-space"]["liveness_budget"] == 80.0
