"""An approval is for one plan and one time: what merely holds the run up on its way does not void it before."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast_remediator.contract import FINAL, Answer, Mode, RunState
from ballast_remediator.guards import allow, ask, refuse
from ballast_remediator.store import ledger, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from tests.remediator.engine.desk import FAR, Desk, Recording, SeenWorld, settings
from tests.remediator.guards import book
from tests.remediator.standing import policy
from tests.remediator.store.rows import hold, opened, put_into


@pytest.fixture
def busy() -> list[bool]:
    """Whether the guard refuses, for now."""
    return [False]


@pytest.fixture
def asked(tmp_path: Path, busy: list[bool]) -> Iterator[Desk]:
    def guard(_: SeenWorld) -> Answer:
        return refuse("it_is_quiet", "a backup runs", passing=True) if busy[0] else allow("it_is_quiet", "quiet")

    with Store(tmp_path / "store.db") as store:
        yield Desk(
            store,
            Recording(guards=(guard,)),
            rules=policy(Mode.ASK),
            knobs=settings(planning_patience="1m"),
        )


def test_an_obstacle_that_passes_needs_no_second_approval(asked: Desk, busy: list[bool]) -> None:
    asked.receive()
    waiting = asked.until(RunState.AWAITING_APPROVAL)
    asked.approve(waiting)
    busy[0] = True
    assert asked.until(RunState.PLANNING).reason.endswith("a backup runs")

    busy[0] = False

    assert asked.until(RunState.SUCCEEDED).id == waiting.id
    assert asked.events(waiting).count("awaiting_approval") == 1


def test_another_plan_does(asked: Desk) -> None:
    asked.receive()
    waiting = asked.until(RunState.AWAITING_APPROVAL)
    asked.approve(waiting)
    asked.runbook.limits["members_at_once"] = 2

    again = asked.until(RunState.AWAITING_APPROVAL)

    assert again.plan_hash != waiting.plan_hash
    words = "what would be done changed since it was approved (members_at_once was none and is 2; plan hash "
    assert words in asked.story(again)
    assert asked.runbook.done(again) == []


def lapsed(desk: Desk, *acknowledged: str) -> Run:
    """A run that was approved, waits for another one's lock, and whose deadline is over."""
    desk.receive()
    run = desk.until(RunState.AWAITING_APPROVAL)
    desk.approve(run, *acknowledged)
    hold(desk.store, opened(desk.store), "here/lock/control-plane")
    desk.advance(run.id)
    put_into(desk.store, run, RunState.QUEUED, expires_at=time.time() - 1.0)
    return run


def again(desk: Desk, run: Run) -> Run:
    return next(one for one in desk.runs() if one.id == run.id)


def test_an_approval_lapses_while_the_run_waits_in_the_queue(asked: Desk) -> None:
    run = lapsed(asked)
    asked.advance(run.id)
    after = again(asked, run)
    assert after.state is RunState.EXPIRED
    assert after.reason.startswith("approved, but it could not begin in time; at last: lock_is_free: run ")
    assert asked.runbook.done(run) == []


def test_an_accepted_risk_lapses_too_where_the_policy_would_run_without_asking(store: Store) -> None:
    desk = Desk(store, Recording(guards=(lambda _: ask("disk", "unknown"),)))
    run = lapsed(desk, "disk")
    desk.advance(run.id)
    assert again(desk, run).state is RunState.EXPIRED


def test_what_lapses_while_it_is_claimed_is_not_claimed(asked: Desk) -> None:
    run = lapsed(asked)
    assert run.plan_hash is not None
    request = book.request(run_id=run.id, target=run.target, plan_hash=run.plan_hash, locks=(), domains=())
    plan = asked.runbook.plan(SeenWorld(FAR))
    with pytest.raises(runs.NotPossible, match="has lapsed"):
        asked.store.write_together(ledger.claim, ledger.Claim(request, plan, (), ledger.Host()))
    assert again(asked, run).state is RunState.QUEUED


def test_what_the_policy_runs_by_itself_has_no_deadline(store: Store) -> None:
    desk = Desk(store, knobs=settings(approval_expires="1ms"))
    desk.receive()
    assert desk.until(RunState.QUEUED).expires_at is None
    assert desk.until(*FINAL).state is RunState.SUCCEEDED


def test_an_accepted_risk_is_asked_about_anew_with_another_plan(store: Store) -> None:
    desk = Desk(store, Recording(guards=(lambda _: ask("disk", "unknown"),)))
    desk.receive()
    desk.approve(desk.until(RunState.AWAITING_APPROVAL), "disk")
    desk.runbook.limits["members_at_once"] = 2
    assert desk.until(RunState.AWAITING_APPROVAL).acknowledged == frozenset()


def test_an_accepted_risk_stays_accepted_with_the_same_plan(store: Store) -> None:
    answers = [ask("disk", "unknown"), refuse("quiet", "a backup runs", passing=True), ask("disk", "unknown")]
    desk = Desk(
        store,
        Recording(guards=(lambda _: answers.pop(0) if len(answers) > 1 else answers[0],)),
        knobs=settings(planning_patience="1m"),
    )
    desk.receive()
    run = desk.until(RunState.AWAITING_APPROVAL)
    desk.approve(run, "disk")
    ended = desk.until(*FINAL)
    assert (ended.id, ended.state, ended.acknowledged) == (run.id, RunState.SUCCEEDED, {"disk"})
