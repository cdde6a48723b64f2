"""Before the first effect: what the policy, the review, the guards and a person say, and that it is asked again."""

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select

from ballast_remediator.contract import FINAL, Answer, Mode, NotConfigured, NothingToDo, RunState, Verdict
from ballast_remediator.engine import judging, planning
from ballast_remediator.store import decisions, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import locks
from kube_ballast.clients.errors import Unavailable
from tests.remediator.engine.desk import FAR, Desk, Recording, SeenWorld, say, settings
from tests.remediator.standing import policy
from tests.waiting import eventually

S = RunState


def raising(error: Exception) -> Any:
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def test_no_rule_of_the_policy(store: Store) -> None:
    desk = Desk(store, rules=policy(match={"cluster": "production"}))
    run = desk.answer()
    assert run.state is S.SUPPRESSED
    assert run.reason == "no rule of the policy enables recording for this alert's labels in Prometheus"
    assert desk.runbook.seen == 0


def test_a_rule_may_name_the_only_cluster_where_alerts_do_not(store: Store) -> None:
    desk = Desk(store, rules=policy(match={"cluster": "here"}))
    assert desk.answer(say(cluster=None)).state is S.SUCCEEDED


def test_shadow_does_nothing(store: Store) -> None:
    desk = Desk(store, rules=policy(Mode.SHADOW))
    run = desk.answer()
    assert (run.state, run.mode, run.policy_digest) == (S.SHADOWED, Mode.SHADOW, desk.policy.digest)
    assert run.plan is not None
    assert desk.runbook.effects == []


def test_a_runbook_that_was_not_reviewed(store: Store) -> None:
    for reviewed in ({"recording": "0" * 64}, {}):
        desk = Desk(store, reviewed=reviewed)
        run = desk.answer()
        assert run.state is S.SUPPRESSED
        assert run.reason == (
            "the source of recording is not the one that was reviewed (runbooks.lock): review it, then "
            "`make approve-runbooks`"
        )
        assert desk.runbook.seen == 0


def test_a_guard_that_raises_forbids(store: Store) -> None:
    desk = Desk(store, Recording(guards=(raising(KeyError("quorum")),)))
    run = desk.answer()
    assert run.state is S.SUPPRESSED
    assert run.reason == "guard_failed: a guard could not answer: KeyError('quorum')"
    assert desk.runbook.effects == []


def test_nothing_to_do(store: Store) -> None:
    run = Desk(store, Recording(nothing_to_do="all is well")).answer()
    assert (run.state, run.reason) == (S.CANCELLED, "nothing to do: all is well")


def test_a_target_that_is_not_configured(store: Store) -> None:
    run = Desk(store, Recording(seeing=raising(NotConfigured("clusters.here.etcd has no etcd named 'x'")))).answer()
    assert (run.state, run.reason) == (S.SUPPRESSED, "clusters.here.etcd has no etcd named 'x'")


def test_a_world_that_cannot_be_seen_is_looked_at_until_patience_ends(store: Store) -> None:
    desk = Desk(store, Recording(seeing=raising(Unavailable("http://m1", "refused"))))
    run = desk.answer()
    assert (run.state, run.reason) == (S.SUPPRESSED, "the world cannot be seen: http://m1: refused")
    assert desk.events(run) == ["received", "planning", "waiting", "suppressed"]


def test_a_refusal_that_passes_in_time(store: Store) -> None:
    refusing = Answer("quiet", Verdict.REFUSE, "a backup runs", passing=True)
    allowing = Answer("quiet", Verdict.ALLOW, "nothing runs")
    answers = [refusing, refusing, allowing]
    desk = Desk(store, Recording(guards=(lambda _: answers.pop(0) if len(answers) > 1 else answers[0],)), knobs=PATIENT)
    run = desk.answer()
    assert run.state is S.SUCCEEDED
    # The same reason twice is one entry.
    assert desk.events(run).count("waiting") == 1
    assert "\nwaiting: quiet: a backup runs" in desk.story(run)


def test_a_refusal_that_does_not_pass_is_final_at_once(store: Store) -> None:
    desk = Desk(store, Recording(guards=(lambda _: Answer("never", Verdict.REFUSE, "no"),)), knobs=PATIENT)
    run = desk.answer()
    assert (run.state, run.reason) == (S.SUPPRESSED, "never: no")
    assert desk.runbook.seen == 1


PATIENT = settings(planning_patience="1h")


@pytest.mark.parametrize("part", ["observe", "plan"])
def test_a_runbook_that_raises_fails_and_the_engine_lives(store: Store, part: str) -> None:
    desk = Desk(store)
    setattr(desk.runbook, part, raising(ZeroDivisionError("oops")))
    run = desk.answer()
    assert run.state is S.FAILED
    assert run.reason == (
        "a fault of the runbook or a guard: ZeroDivisionError('oops'). Nothing was done. Please report it"
    )
    delattr(desk.runbook, part)
    eventually(lambda: desk.answer(say("events")).state is S.SUCCEEDED)


def test_a_ledger_guard_that_raises_forbids(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "LEDGER_GUARDS", (raising(KeyError("ledger")),))
    run = desk.answer()
    assert run.state is S.SUPPRESSED
    assert run.reason == "guard_failed: a guard could not answer: KeyError('ledger')"
    assert desk.runbook.effects == []


@pytest.mark.parametrize(("guards", "state"), [("STANDING_GUARDS", S.PLANNING), ("LOCK_GUARDS", S.QUEUED)])
def test_a_ledger_guard_that_raises_in_the_claim_forbids(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, guards: str, state: RunState
) -> None:
    monkeypatch.setattr(planning, guards, (raising(KeyError("ledger")),))
    desk.receive()
    desk.until(S.QUEUED)
    desk.turn()
    assert (desk.run().state, desk.run().reason) == (
        state,
        "guard_failed: a guard could not answer: KeyError('ledger')",
    )
    assert desk.runbook.effects == []


def test_a_claim_keeps_what_the_ledgers_guards_answered(desk: Desk) -> None:
    plan = desk.answer().plan
    assert plan is not None
    told = [answer["guard"] for answer in plan["answers"]]
    assert {"alert_is_true_now", "kill_switch_is_off", "evidence_is_fresh", "lock_is_free"} <= set(told)
    assert len(told) == len(set(told)), "each is asked once where its answer holds"


def test_a_risk_turns_auto_into_ask(store: Store) -> None:
    desk = Desk(store, Recording(guards=(lambda _: Answer("disk", Verdict.ASK, "unknown"),)))
    desk.receive()
    run = desk.until(S.AWAITING_APPROVAL)
    assert run.reason == "waits for a person to approve it; the risk has to be accepted by name: disk"
    with pytest.raises(runs.NotPossible, match="accepted by name: disk"):
        desk.approve(run)
    desk.approve(run, "disk", "and-more")
    run = desk.until(*FINAL)
    assert run.state is S.SUCCEEDED
    assert run.acknowledged == {"disk"}


def asking(store: Store, **knobs: object) -> Desk:
    return Desk(store, rules=policy(Mode.ASK), knobs=settings(**knobs))


def test_ask_waits_for_a_person(store: Store) -> None:
    desk = asking(store)
    desk.receive()
    run = desk.until(S.AWAITING_APPROVAL)
    desk.turn()
    assert desk.runbook.effects == []
    desk.approve(run)
    run = desk.until(*FINAL)
    assert run.state is S.SUCCEEDED
    assert run.approved_hash == run.plan_hash
    assert "queued: approved by anna: looks right" in desk.story(run)


def test_nobody_approves_in_time(store: Store) -> None:
    desk = asking(store, approval_expires="1ms")
    desk.receive()
    run = eventually(lambda: desk.turn() or next((r for r in desk.runs() if r.final), None))
    assert (run.state, run.reason) == (S.EXPIRED, "nobody approved it in time")


def test_an_expired_plan_is_not_approved_even_before_the_engine_noticed(store: Store) -> None:
    desk = asking(store, approval_expires="1ms")
    desk.receive()
    desk.turn()
    run = desk.run()
    eventually(lambda: run.expires_at is not None and run.expires_at < time.time())
    with pytest.raises(runs.NotPossible, match=f"run {run.id} expired"):
        desk.approve(run)


def test_an_old_hash_approves_nothing(store: Store) -> None:
    desk = asking(store)
    desk.receive()
    run = desk.until(S.AWAITING_APPROVAL)
    with pytest.raises(runs.NotPossible, match=r"is another one now .*read it again"):
        desk.approve(run, plan_hash="0" * 64)
    desk.approve(run)
    with pytest.raises(runs.NotPossible, match="is queued, not waiting for approval"):
        desk.approve(run)


def test_a_rejected_plan_does_not_run(store: Store) -> None:
    desk = asking(store)
    desk.receive()
    run = desk.until(S.AWAITING_APPROVAL)
    store.write(decisions.reject, run.id, person="anna", reason="not now")
    desk.turn()
    assert (desk.run().state, desk.run().reason) == (S.CANCELLED, "rejected by anna: not now")
    assert desk.runbook.effects == []


def test_a_plan_that_changed_since_its_approval_is_asked_about_anew(store: Store) -> None:
    desk = asking(store)
    desk.receive()
    run = desk.until(S.AWAITING_APPROVAL)
    desk.approve(run)
    desk.runbook.limits["members_at_once"] = 3
    again = desk.until(S.AWAITING_APPROVAL)
    assert again.plan_hash != run.plan_hash
    assert again.approved_hash is None
    # Nobody has seen this plan yet, so its time starts now.
    assert again.expires_at is not None
    assert run.expires_at is not None
    assert again.expires_at > run.expires_at
    words = "planning: what would be done changed since it was approved (members_at_once was none and is 3; plan hash "
    assert words in desk.story(run)
    assert desk.runbook.effects == []


def test_the_fault_is_gone_when_the_approved_run_is_claimed(store: Store) -> None:
    desk = asking(store)
    desk.receive()
    desk.approve(desk.until(S.AWAITING_APPROVAL))
    desk.runbook.nothing_to_do = "all is well"
    assert desk.until(*FINAL).state is S.CANCELLED
    assert desk.runbook.effects == []


def test_evidence_that_grew_old_is_not_acted_on(desk: Desk) -> None:
    desk.receive()
    desk.until(S.QUEUED)
    desk.runbook.seeing = lambda: SeenWorld(time.monotonic() - 0.001)
    desk.turn()
    assert desk.run().reason.startswith("evidence_is_fresh: what was seen of the world is too old to act on")
    assert desk.runbook.effects == []
    assert desk.store.read(lambda c: c.execute(select(func.count()).select_from(locks)).scalar_one()) == 0
    desk.runbook.seeing = lambda: SeenWorld(FAR)
    assert desk.until(*FINAL).state is S.SUCCEEDED


def test_one_control_plane_lock_for_all_targets_of_a_cluster(desk: Desk) -> None:
    first, token = desk.claimed(say("main"))
    desk.receive(say("events"))
    # Only the second is moved on here: to the engine the first looks abandoned.
    desk.file()
    second = desk.run()
    desk.advance(second.id)
    desk.advance(second.id)
    waiting = desk.run()
    assert waiting.state is S.QUEUED
    assert waiting.reason.startswith(f"lock_is_free: run {first.id} holds the lock here/lock/control-plane")
    assert desk.runbook.done(waiting) == []

    desk.engine._executor.execute(first, token)
    assert desk.until(*FINAL).id == second.id
    assert [run.state for run in desk.runs()] == [S.SUCCEEDED, S.SUCCEEDED]


def test_a_target_may_be_named_like_a_lock(desk: Desk) -> None:
    assert desk.answer(say("control-plane")).state is S.SUCCEEDED


def test_another_cluster_does_not_wait(store: Store) -> None:
    desk = Desk(store, clusters={"here": "http://127.0.0.1:9", "there": "http://127.0.0.1:9"})
    desk.claimed(say("main", cluster="here"))
    desk.receive(say("main", cluster="there"))
    desk.file()
    other = desk.run()
    for _ in range(2):
        desk.advance(other.id)
    assert desk.run().state is S.SUCCEEDED


def test_the_plan_hash_covers_what_is_done_and_not_what_was_measured(store: Store) -> None:
    desk = asking(store)
    plan = desk.runbook.plan(SeenWorld(0))
    assert not isinstance(plan, NothingToDo)
    rule: dict[str, object] = {"mode": "ask"}
    target = say_target(desk)
    base = plan.hash(target=target, runbook_digest="d", policy_rule=rule)
    measured = replace(plan, because=("other numbers",), summary="other words")
    assert measured.hash(target=target, runbook_digest="d", policy_rule=rule) == base
    turned = replace(plan, steps=plan.steps[::-1])
    limited = replace(plan, limits={"members_at_once": 2})
    risky = replace(plan, answers=(Answer("disk", Verdict.ASK, ""),))
    for other in (turned, limited, risky):
        assert other.hash(target=target, runbook_digest="d", policy_rule=rule) != base
    assert plan.hash(target=target, runbook_digest="e", policy_rule=rule) != base
    assert plan.hash(target=target, runbook_digest="d", policy_rule={"mode": "auto"}) != base


def say_target(desk: Desk) -> Any:
    desk.receive()
    desk.turn()
    return desk.run().target
