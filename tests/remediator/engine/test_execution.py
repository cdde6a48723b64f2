"""Once a run is claimed: steps in order, looked at before they act, and what becomes of every kind of failure."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.contract import (
    FINAL,
    Observed,
    OutcomeUnknown,
    Progress,
    RunState,
    StepContext,
    StepFailed,
)
from ballast_remediator.engine import execution, scheduler
from ballast_remediator.store import decisions, reading, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import locks
from ballast_remediator.store.writer import StoreUnavailable
from kube_ballast.clients.errors import Timeout
from tests.remediator.engine.desk import Desk, Recording, SeenWorld, say
from tests.remediator.store.rows import step_of
from tests.waiting import eventually

S = RunState


def raising(error: Exception, times: int = 1_000_000) -> Callable[[StepContext], None]:
    left = [times]

    def raise_it(_: StepContext) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error

    return raise_it


class Flaky(Store):
    """A store that refuses what a test says, as long as it says so."""

    refuse: Callable[[str], bool] = staticmethod(lambda _: False)

    def write(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.refuse(operation.__name__):
            raise StoreUnavailable("disk full")
        return super().write(operation, *args, **kwargs)

    def read(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.refuse(getattr(operation, "__name__", "")):
            raise StoreUnavailable("disk full")
        return super().read(operation, *args, **kwargs)

    def look(self, operation: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.refuse(getattr(operation, "__name__", "")):
            raise StoreUnavailable("disk full")
        return super().look(operation, *args, **kwargs)


@contextmanager
def flaky(folder: Path) -> Iterator[Flaky]:
    with Flaky(folder / "flaky.db") as store:
        yield store


def test_steps_in_order_each_intended_done_and_written_down(desk: Desk) -> None:
    run = desk.answer()
    assert (run.state, run.reason) == (S.SUCCEEDED, "it is well")
    assert desk.runbook.done(run) == ["a", "b", "c"]
    assert desk.events(run) == [
        "received",
        "planning",
        "queued",
        "running",
        *["step_started", "step_done"] * 3,
        "verifying",
        "succeeded",
    ]
    steps = desk.store.read(reading.steps_of, run.id)
    assert [(step.ordinal, step.spec.kind, step.attempts, step.result) for step in steps] == [
        (1, "a", 1, "did a"),
        (2, "b", 1, "did b"),
        (3, "c", 1, "did c"),
    ]
    assert desk.store.read(lambda c: c.execute(select(locks)).all()) == []


def test_what_is_done_already_is_not_done_again(desk: Desk) -> None:
    run, token = desk.claimed()
    desk.runbook.effects.append(("b", run.id))
    desk.engine._executor.execute(run, token)
    assert desk.runbook.done(run) == ["b", "a", "c"]
    assert desk.store.read(reading.steps_of, run.id)[1].attempts == 0


def test_facts_of_a_step_are_there_for_later_ones(desk: Desk) -> None:
    seen: list[object] = []
    desk.runbook.steps["c"].before = lambda context: seen.append((context.facts("a"), context.facts("c")))
    desk.answer()
    assert seen == [({"by": "a"}, {})]


def test_a_failed_step_ends_the_run_and_frees_the_locks(desk: Desk) -> None:
    desk.runbook.steps["b"].before = raising(StepFailed("it is jammed: loosen it"))
    run = desk.answer()
    assert (run.state, run.reason) == (S.FAILED, "it is jammed: loosen it")
    assert desk.runbook.done(run) == ["a"]
    assert desk.store.read(lambda c: c.execute(select(locks)).all()) == []


def test_a_fault_in_a_step_ends_the_run_and_not_the_engine(desk: Desk) -> None:
    desk.runbook.steps["b"].before = raising(ZeroDivisionError("oops"))
    run = desk.answer()
    # It had begun, and nobody can tell how far it came.
    assert run.state is S.OUTCOME_UNKNOWN
    assert run.reason == (
        "step 2 (do b) had begun; a fault in the runbook itself: ZeroDivisionError('oops'). Please report it"
    )
    desk.runbook.steps["b"].before = lambda _: None
    desk.store.write(decisions.resolve, run.id, person="anna", reason="looked")
    assert desk.answer(say("events")).state is S.SUCCEEDED


def test_a_fault_before_a_step_has_begun_leaves_nothing_in_the_dark(desk: Desk) -> None:
    desk.runbook.steps["a"].looking = raising(ZeroDivisionError("oops"))
    run = desk.answer()
    assert run.state is S.FAILED
    assert run.reason == "a fault in the runbook itself: ZeroDivisionError('oops'). Please report it"


def test_a_timeout_is_looked_at_before_anything_else(desk: Desk) -> None:
    desk.runbook.steps["b"].after = raising(Timeout("http://m1", "no answer"))
    run = desk.answer()
    assert run.state is S.SUCCEEDED
    assert desk.runbook.done(run) == ["a", "b", "c"]
    assert "note: b was interrupted (http://m1: no answer); looking before anything else" in desk.story(run)
    assert "step_done: b is there" in desk.story(run)


def test_a_client_error_that_did_nothing_is_tried_again_but_not_for_ever(desk: Desk) -> None:
    desk.runbook.steps["b"].before = raising(Timeout("http://m1", "no answer"), times=2)
    assert desk.runbook.done(desk.answer()) == ["a", "b", "c"]
    desk.runbook.steps["b"].before = raising(Timeout("http://m1", "no answer"))
    run = desk.answer()
    assert run.state is S.FAILED
    assert run.reason == "step 2 (do b) failed 3 times; at last: http://m1: no answer"


def test_a_step_that_cannot_be_told_is_waited_for(desk: Desk) -> None:
    answers = [Progress.UNKNOWN, Progress.UNKNOWN, Progress.DONE]
    desk.runbook.steps["b"].observe = lambda *_: Observed(answers.pop(0), "hm")
    run = desk.answer()
    assert run.state is S.SUCCEEDED
    assert desk.runbook.done(run) == ["a", "c"]


def test_a_step_that_cannot_even_be_looked_at_is_waited_for(desk: Desk) -> None:
    desk.runbook.steps["b"].looking = raising(Timeout("http://m1", "no answer"), times=2)
    assert desk.runbook.done(desk.answer()) == ["a", "b", "c"]


def unknown(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(execution, "UNKNOWN_FOR", 0.0)
    desk.runbook.steps["b"].observe = lambda *_: Observed(Progress.UNKNOWN, "hm")
    return desk.answer()


def test_an_unknown_outcome_quarantines_its_target_until_a_person_has_looked(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = unknown(desk, monkeypatch)
    assert run.state is S.OUTCOME_UNKNOWN
    assert run.reason == "step 2 (do b): 0 ms of looking did not tell whether it is done: hm"
    del desk.runbook.steps["b"].observe
    desk.receive()
    desk.until(S.QUEUED)
    desk.turn()
    barred = desk.run()
    assert barred.state is S.QUEUED
    assert f"target_is_not_quarantined: the outcome of run {run.id} is unknown" in barred.reason
    assert desk.runbook.done(barred) == []

    with pytest.raises(runs.NotPossible, match="has no unknown outcome"):
        desk.store.write(decisions.resolve, barred.id, person="anna", reason="looked")
    desk.store.write(decisions.resolve, run.id, person="anna", reason="looked")
    with pytest.raises(runs.NotPossible, match="has no unknown outcome"):
        desk.store.write(decisions.resolve, run.id, person="anna", reason="looked twice")
    assert desk.until(*FINAL).state is S.SUCCEEDED
    assert "resolved: looked at by anna: looked" in desk.story(run)


def test_a_step_that_says_itself_that_nobody_can_tell(desk: Desk) -> None:
    desk.runbook.steps["b"].before = raising(OutcomeUnknown("the disk is gone"))
    run = desk.answer()
    assert (run.state, run.reason) == (S.OUTCOME_UNKNOWN, "the disk is gone")


def test_a_verification_that_fails(desk: Desk) -> None:
    desk.runbook.verifying = raising(StepFailed("the alarm is back"))
    run = desk.answer()
    assert (run.state, run.reason) == (S.FAILED, "the alarm is back")
    assert desk.events(run)[-2:] == ["verifying", "failed"]


@pytest.mark.parametrize("operation", ["checkpoint", "intend", "advance", "steps_of", "note"])
def test_a_store_that_fails_during_a_run_is_waited_for_and_nothing_is_done_twice(
    tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "PAUSE", 0.001)
    with flaky(tmp_path) as store:
        desk = Desk(store)
        for step in desk.runbook.steps.values():
            step.visible = False
        desk.runbook.steps["a"].after = lambda context: context.note("a happened")
        desk.runbook.steps["c"].before = lambda context: context.facts("a")
        run, token = desk.claimed()
        refused = [0]

        def refuse(name: str) -> bool:
            refused[0] += name == operation
            return name == operation and refused[0] % 4 != 0

        store.refuse = refuse
        desk.engine._executor.execute(run, token)
        assert desk.run().state is S.SUCCEEDED
        assert refused[0] >= 4
        assert desk.runbook.done(run) == ["a", "b", "c"]


def test_a_store_that_fails_while_planning_is_tried_again(tmp_path: Path) -> None:
    with flaky(tmp_path) as store:
        desk = Desk(store)
        desk.receive()
        desk.file()
        store.refuse = lambda name: name in {"transition", "keep_plan", "give_up", "postpone"}
        desk.advance(desk.run().id)
        assert desk.run().state is S.RECEIVED
        store.refuse = lambda _: False
        assert desk.until(*FINAL).state is S.SUCCEEDED


def test_who_lost_the_run_may_not_write_any_more(desk: Desk) -> None:
    run, token = desk.claimed()
    taken: list[int] = []

    def lose(_: StepContext) -> None:
        if not taken:
            taken.append(desk.store.write(runs.take_over, run.id))

    desk.runbook.steps["b"].after = lose
    desk.engine._executor.execute(run, token)
    left = desk.run()
    assert left.state is S.RUNNING
    assert [step.done_at is not None for step in desk.store.read(reading.steps_of, run.id)] == [True, False, False]
    second = step_of(desk.store, run.id, 2)
    for operation, arguments in (
        (runs.intend, (second,)),
        (runs.checkpoint, (second, execution.Done("a lie"))),
        (runs.note, ("a lie",)),
        (runs.advance, (S.FAILED, "a lie")),
    ):
        with pytest.raises(runs.Fenced, match="was taken over"):
            desk.store.write(operation, run.id, token, *arguments)
    desk.engine._executor.execute(left, taken[0])
    assert desk.run().state is S.SUCCEEDED
    assert "a lie" not in desk.story(run)
    assert desk.runbook.done(run) == ["a", "b", "c"]


def test_a_runbook_that_is_gone_after_a_restart(store: Store) -> None:
    run, token = Desk(store).claimed()
    store.write(runs.intend, run.id, token, step_of(store, run.id))
    other = Desk(store, Recording(name="other"))
    other.turn()
    ended = other.run()
    assert ended.id == run.id
    assert ended.state is S.OUTCOME_UNKNOWN
    assert ended.reason.startswith("recording was under way and is not approved any more: see which steps are done")


def test_a_started_engine_works_and_stops_where_a_step_pauses(store: Store) -> None:
    desk = Desk(store)
    waiting: list[bool] = []

    def wait(context: StepContext) -> None:
        waiting.append(True)
        context.wait(3600.0)

    desk.runbook.steps["b"].before = wait
    desk.engine.start()
    desk.receive()
    desk.engine.wake()
    eventually(lambda: waiting)
    assert desk.engine.problem() is None
    desk.engine.stop(timeout=10.0)
    run = desk.run()
    assert run.state is S.RUNNING
    assert desk.runbook.done(run) == ["a"]
    assert not desk.engine._working

    again = Desk(store, desk.runbook)
    desk.runbook.steps["b"].before = lambda _: None
    again.engine.start()
    ended = eventually(lambda: next((one for one in again.runs() if one.final), None))
    again.engine.stop(timeout=10.0)
    assert ended.state is S.SUCCEEDED
    assert desk.runbook.done(ended) == ["a", "b", "c"]
    assert "taken_over: the process that ran it is gone; what it began is looked at first" in again.story(ended)


def test_an_engine_that_cannot_work_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "SILENT_AFTER", 0.0)
    with flaky(tmp_path) as store:
        desk = Desk(store)
        store.refuse = lambda name: name == "unfiled"
        desk.engine.start()
        eventually(lambda: desk.engine.problem() == "disk full")
        desk.engine.stop(timeout=10.0)


def test_a_store_that_refuses_writes_is_not_asked_in_a_busy_loop(tmp_path: Path) -> None:
    """After a failure the next look is a tick away; after a move it is due at once."""
    with flaky(tmp_path) as store:
        desk = Desk(store)
        desk.receive()
        desk.file()
        run = desk.run()
        for error in (StoreUnavailable("disk full"), ZeroDivisionError("oops")):
            desk.runbook.seeing = raising_world(error)
            desk.advance(run.id)
            assert not desk.engine._due.is_set()
        other = Desk(store)
        other.receive(say("events"))
        other.file()
        other.advance(other.run().id)
        assert other.engine._due.is_set()


def test_an_engine_finds_out_that_the_store_takes_writes_again(store: Store) -> None:
    def refuse(_: object) -> None:
        raise SQLAlchemyError("the disk is full")

    desk = Desk(store)
    event.listen(store._engine, "commit", refuse)
    with pytest.raises(StoreUnavailable):
        desk.receive()
    event.remove(store._engine, "commit", refuse)
    assert store.problem() == "the store refuses to write: the disk is full"
    desk.engine.start()
    try:
        eventually(lambda: store.problem() is None)
    finally:
        desk.engine.stop(timeout=10.0)


def raising_world(error: Exception) -> Callable[[], SeenWorld]:
    def see() -> SeenWorld:
        raise error

    return see
