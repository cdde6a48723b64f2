"""A process that shuts down begins nothing more, and the next one goes on where it left off."""

import time

from ballast_remediator.contract import RunState
from ballast_remediator.store import reading, runs
from tests.remediator.engine.desk import Desk, Recording, say
from tests.remediator.store.rows import put_into, step_of


def test_nothing_begins_after_the_stop_and_the_next_process_goes_on(desk: Desk) -> None:
    run, token = desk.claimed()
    desk.runbook.steps["a"].after = lambda _: desk.engine.stop(timeout=0.0)

    desk.engine._executor.execute(run, token)

    assert desk.runbook.done(run) == ["a"]
    left = desk.store.read(reading.run, run.id)
    assert left is not None
    assert left.state is RunState.RUNNING
    assert [step.done_at is not None for step in desk.store.read(reading.steps_of, run.id)] == [True, False, False]

    again = Desk(desk.store, Recording(effects=desk.runbook.effects))
    assert again.until(RunState.SUCCEEDED).id == run.id
    assert again.runbook.done(run) == ["a", "b", "c"]


def test_a_run_is_not_taken_over_by_a_runbook_that_nobody_reviewed(desk: Desk) -> None:
    run, token = desk.claimed()
    desk.store.write(runs.intend, run.id, token, step_of(desk.store, run.id))
    changed = Desk(desk.store, desk.runbook, reviewed={"recording": "0" * 64})

    for _ in range(2):
        changed.turn()

    left = changed.run()
    assert left.state is RunState.RUNNING
    assert left.reason.startswith("under way, and left as it is: the source of recording is not the one that was rev")
    assert desk.runbook.effects == []
    assert desk.events(run)[-2:] == ["step_started", "waiting"]
    assert changed.store.read(reading.due, replica=None, furthest=60.0, limit=9) == ()

    again = Desk(desk.store, desk.runbook)
    assert again.until(RunState.SUCCEEDED).id == run.id
    assert again.runbook.done(run) == ["a", "b", "c"]


def test_an_alert_that_no_run_answers_is_counted(desk: Desk) -> None:
    desk.receive(say(cluster="elsewhere"))
    desk.receive(say(cluster="elsewhere"))
    desk.file()

    assert desk.engine.ignored_alerts() == 2
    assert desk.runs() == ()


def test_a_clock_that_is_set_back_holds_up_nobody(desk: Desk) -> None:
    desk.receive()
    desk.file()
    run = desk.run()
    now = time.time()
    for ahead, moves in ((30.0, False), (3600.0, True)):
        put_into(desk.store, run, RunState.RECEIVED, due_at=now + ahead)
        assert bool(desk.store.read(reading.due, replica=None, furthest=60.0, limit=9)) is moves
