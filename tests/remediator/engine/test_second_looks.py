"""What allowed a run may end before the run begins, or goes on: it is asked again, and what was forbidden stays so."""

import json
import time
from typing import Any

import pytest

from ballast_remediator.contract import FINAL, AlertEvidence, Mode, RunState, StepContext, StopKind
from ballast_remediator.guards import allow, ask, refuse
from ballast_remediator.store import decisions, reading, runs, stops
from ballast_remediator.store.database import Store
from tests.remediator.chain import payload
from tests.remediator.engine.desk import Desk, Recording, alert, say, settings
from tests.remediator.standing import policy
from tests.remediator.store.rows import step_of

S = RunState


def preapproved(store: Store, desk: Desk, *targets: str) -> str:
    return store.write(
        decisions.preapprove,
        cluster="here",
        runbook="recording",
        runbook_digest=desk.engine.runbooks()["recording"],
        targets=targets or ("main",),
        limits={},
        acknowledged=(),
        person="anna",
        reason="the weekend",
        until=time.time() + 3600,
    ).id


class TestAPreapprovalThatIsTakenBack:
    def test_while_something_passing_held_the_run_up(self, store: Store) -> None:
        answers = [allow("quiet", ""), refuse("quiet", "a backup runs", passing=True), allow("quiet", "")]
        book = Recording(guards=(lambda _: answers.pop(0) if len(answers) > 1 else answers[0],))
        desk = Desk(store, book, rules=policy(Mode.ASK), knobs=settings(planning_patience="1m"))
        given = preapproved(store, desk)
        desk.receive()
        desk.until(S.QUEUED)
        desk.advance(desk.run().id)
        assert desk.run().state is S.PLANNING
        store.write(decisions.revoke, given, person="anna", reason="no")
        assert desk.until(S.AWAITING_APPROVAL).approved_hash is None
        assert desk.runbook.effects == []

    def test_before_the_plan_that_it_covers_is_kept(self, store: Store) -> None:
        desk = Desk(store, rules=policy(Mode.ASK))
        given = preapproved(store, desk)
        find = desk.engine._planner._preapproved

        def revoked_meanwhile(ready: Any) -> Any:
            found = find(ready)
            if found:
                store.write(decisions.revoke, given, person="anna", reason="no")
            return found

        desk.engine._planner._preapproved = revoked_meanwhile
        desk.receive()
        assert desk.until(S.AWAITING_APPROVAL)
        assert desk.runbook.effects == []

    def test_by_somebody_who_may_not_approve_any_more(self, store: Store) -> None:
        desk = Desk(store, rules=policy(Mode.ASK))
        desk.engine._planner._may_decide = lambda name: name != "anna"
        preapproved(store, desk)
        desk.receive()
        assert desk.until(S.AWAITING_APPROVAL)

    def test_a_deadline_of_one_is_not_the_deadline_of_a_question(self, store: Store) -> None:
        answers = [allow("disk", "")]
        desk = Desk(store, Recording(guards=(lambda _: answers[0],)), rules=policy(Mode.ASK))
        preapproved(store, desk)
        desk.receive()
        desk.until(S.QUEUED)
        answers[0] = ask("disk", "unknown")
        run = desk.until(S.AWAITING_APPROVAL)
        assert run.expires_at is not None
        assert run.expires_at < time.time() + 2000


@pytest.mark.parametrize("kind", [StopKind.HOLD, StopKind.KILL_SWITCH, StopKind.BRAKE])
def test_a_run_whose_process_died_before_its_first_step_is_judged_anew(store: Store, kind: StopKind) -> None:
    desk = Desk(store)
    run, _ = desk.claimed()
    where = {"cluster": "here", "target": "main"} if kind is StopKind.HOLD else {}
    store.write(stops.put, kind, person="ben", reason="wait", **where)
    restarted = Desk(store, desk.runbook)
    ended = restarted.until(*FINAL)
    assert (ended.id, ended.state) == (run.id, S.SUPPRESSED)
    assert desk.runbook.effects == []
    assert restarted.witness.asked
    assert "planning: the process that claimed it is gone, and no step had begun" in desk.story(run)


def test_without_a_reason_against_it_such_a_run_goes_on(store: Store) -> None:
    desk = Desk(store)
    run, token = desk.claimed()
    restarted = Desk(store, desk.runbook)
    assert restarted.until(*FINAL).state is S.SUCCEEDED
    assert desk.runbook.done(run) == ["a", "b", "c"]
    with pytest.raises(runs.Fenced):
        store.write(runs.note, run.id, token, "late")


def test_a_kill_switch_that_is_set_while_a_step_waits_ends_it_before_its_effect(store: Store) -> None:
    desk = Desk(store)

    def waits(context: StepContext) -> None:
        store.write(stops.put, StopKind.KILL_SWITCH, person="ben", reason="stop it")
        context.go_on()

    desk.runbook.steps["b"].before = waits
    run = desk.answer()
    assert run.state is S.FAILED
    assert run.reason.startswith("ben stopped everything (stop it): ended before the next effect")
    assert desk.runbook.done(run) == ["a"]


def test_a_run_that_nobody_reviewed_any_more_can_be_ended_by_the_kill_switch(store: Store) -> None:
    desk = Desk(store)
    run, token = desk.claimed()
    store.write(runs.intend, run.id, token, step_of(store, run.id))
    store.write(stops.put, StopKind.KILL_SWITCH, person="ben", reason="stop it")
    ended = Desk(store, desk.runbook, reviewed={"recording": "0" * 64}).until(*FINAL)
    assert ended.state is S.OUTCOME_UNKNOWN


def test_what_a_person_said_last_is_not_overwritten(store: Store) -> None:
    desk = Desk(store, rules=policy(Mode.ASK))
    desk.receive()
    run = desk.until(S.AWAITING_APPROVAL)
    store.write(decisions.reject, run.id, person="anna", reason="do not touch")
    with pytest.raises(runs.NotPossible, match="rejected by anna: do not touch"):
        store.write(runs.postpone, run.id, seconds=1.0, words="a backup runs")
    assert desk.run().reason == "rejected by anna: do not touch"
    assert desk.events(run)[-1] == "cancelled"


class TestSeveralAlerts:
    def test_a_run_is_about_what_still_fires(self, store: Store) -> None:
        desk = Desk(store, rules=policy(Mode.ASK))
        desk.receive(say(member="m1"))
        desk.until(S.AWAITING_APPROVAL)
        desk.receive(say(member="m2"))
        desk.receive(say(member="m1", firing=False))
        run = desk.until(S.AWAITING_APPROVAL)
        assert run.alert.labels["member"] == "m2"

    def test_a_fingerprint_that_two_share_swallows_neither(self, store: Store) -> None:
        desk = Desk(store)
        stranger, ours = alert("same", "main"), alert("same", "main")
        del stranger["labels"]["ballast_runbook"]
        desk.receive(payload(alerts=[stranger, ours]))
        desk.file()
        assert [run.target.name for run in desk.runs()] == ["main"]

    def test_two_that_may_be_meant_and_have_different_rules_are_not_chosen_from(self, store: Store) -> None:
        desk = Desk(store, rules=policy(match={"env": "test"}))
        labels = json.loads(say())["alerts"][0]["labels"]
        test, production = {**labels, "env": "test"}, {**labels, "env": "production"}
        desk.witness.saying = AlertEvidence("ALERTS", test, others=(production,), age=1.0)
        run = desk.answer()
        assert run.state is S.SUPPRESSED
        assert run.reason.startswith("several alerts may be meant")
        desk.witness.saying = AlertEvidence("ALERTS", test, others=(test,), age=1.0)
        assert desk.answer().state is S.SUCCEEDED


def test_a_target_that_is_not_configured_opens_nothing_and_counts_for_nothing(store: Store) -> None:
    desk = Desk(store, Recording(unknown="invented"))
    desk.receive(say("invented"))
    desk.turn()
    assert desk.runs() == ()
    assert desk.engine.ignored_alerts() == 1
    assert desk.store.read(reading.backlog) == 0


def test_an_alert_that_prometheus_does_not_show_yet_is_asked_for_again(store: Store) -> None:
    desk = Desk(store, knobs=settings(planning_patience="1m"))
    desk.witness.saying = AlertEvidence("ALERTS", None)
    desk.receive()
    desk.turn()
    assert desk.run().state is S.PLANNING
    desk.witness.saying = None
    assert desk.until(*FINAL).state is S.SUCCEEDED
