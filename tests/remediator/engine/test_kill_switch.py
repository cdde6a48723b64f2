"""The kill switch, by file and by the store: nothing begins, what runs ends before its next step, and stays ended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.contract import FINAL, Mode, RunState, StopKind
from ballast_remediator.engine import execution
from ballast_remediator.store import reading, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run
from ballast_remediator.store.schema import locks
from ballast_remediator.store.writer import StoreUnavailable, Undecided
from kube_ballast.clients.errors import Timeout
from tests.remediator.engine.desk import Desk, Recording, settings
from tests.remediator.incidents.incident import let_it_run
from tests.remediator.standing import policy

Switch = Callable[[], Callable[[], object]]
"""Sets it; what it gives lifts it."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "STOP"


def stopped_desk(store: Any, file: Path, runbook: Recording | None = None, mode: Mode = Mode.AUTO) -> Desk:
    return Desk(store, runbook, rules=policy(mode), knobs=settings(kill_switch_file=file, planning_patience="1ms"))


@pytest.fixture
def desk(store: Store, file: Path) -> Desk:
    return stopped_desk(store, file)


@pytest.fixture(params=["file", "everything", "cluster", "runbook", "target"])
def switch(request: pytest.FixtureRequest, store: Store, file: Path) -> Switch:
    scopes = {
        "everything": {},
        "cluster": {"cluster": "here"},
        "runbook": {"runbook": "recording"},
        "target": {"cluster": "here", "target": "main"},
    }

    def by_file() -> Callable[[], object]:
        file.touch()
        return file.unlink

    def by_store() -> Callable[[], object]:
        one = put(store, **scopes[request.param])
        return lambda: store.write(stops.lift, one.id, person="anna", reason="it is over")

    return by_file if request.param == "file" else by_store


def put(store: Store, **scope: str) -> Any:
    return store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="stop it", **scope)


def again(desk: Desk, run: Run) -> Run:
    found = desk.store.read(reading.run, run.id)
    assert found is not None
    return found


def held(store: Store) -> int:
    return len(store.read(lambda connection: connection.execute(locks.select()).all()))


def test_nothing_begins_and_after_the_lift_a_new_alert_does(desk: Desk, switch: Switch) -> None:
    lift = switch()
    refused = desk.answer()
    assert refused.state is RunState.SUPPRESSED
    assert refused.reason.startswith("kill_switch_is_off: ")
    lift()
    let_it_run(desk)
    assert desk.runbook.effects == []
    assert desk.answer().state is RunState.SUCCEEDED


def test_what_is_queued_is_not_let_loose_by_the_lift(desk: Desk, switch: Switch) -> None:
    desk.receive()
    run = desk.until(RunState.QUEUED)
    lift = switch()
    for _ in range(3):
        desk.turn()
    lift()
    let_it_run(desk)
    assert again(desk, run).state is RunState.SUPPRESSED
    assert desk.runbook.effects == []


def test_a_run_under_way_ends_before_its_next_step_and_stays_ended(desk: Desk, switch: Switch) -> None:
    lifts = []
    desk.runbook.steps["a"].after = lambda _: lifts.append(switch())
    run = desk.answer()
    assert run.state is RunState.FAILED
    assert "ended before step 2 (do b), with nothing half-done" in run.reason
    assert desk.runbook.done(run) == ["a"]
    assert [step.attempts for step in desk.store.read(reading.steps_of, run.id)] == [1, 0, 0]
    assert desk.events(run)[-2:] == ["step_done", "failed"]
    assert held(desk.store) == 0

    (lift,) = lifts
    lift()
    let_it_run(desk)
    assert desk.runbook.done(run) == ["a"]
    desk.runbook.steps["a"].after = lambda _: None
    following = desk.answer()
    assert following.id != run.id
    assert desk.runbook.done(following) == ["a", "b", "c"]


def test_a_switch_for_something_else_ends_nothing(desk: Desk) -> None:
    def elsewhere(_: object) -> None:
        for scope in ({"cluster": "there"}, {"runbook": "another"}, {"cluster": "here", "target": "events"}):
            put(desk.store, **scope)

    desk.runbook.steps["a"].after = elsewhere
    assert desk.answer().state is RunState.SUCCEEDED


def test_a_freeze_ends_no_run_under_way(desk: Desk) -> None:
    def freeze(_: object) -> None:
        desk.store.write(stops.put, StopKind.FREEZE, cluster="here", person="anna", reason="work")

    desk.runbook.steps["a"].after = freeze
    assert desk.answer().state is RunState.SUCCEEDED


def test_what_is_done_is_still_verified(desk: Desk, switch: Switch) -> None:
    desk.runbook.steps["c"].after = lambda _: switch()
    run = desk.answer()
    assert run.state is RunState.SUCCEEDED
    assert desk.runbook.done(run) == ["a", "b", "c"]


def test_a_step_that_failed_is_not_tried_again(desk: Desk, switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PAUSE", 0.001)

    def interrupted(_: object) -> None:
        switch()
        raise Timeout("etcd", "no answer")

    desk.runbook.steps["b"].before = interrupted
    run = desk.answer()
    assert run.state is RunState.FAILED
    assert "ended before step 2 (do b)" in run.reason
    assert desk.runbook.done(run) == ["a"]


@pytest.mark.parametrize("seen", [True, False], ids=["the step took effect", "it did not"])
def test_it_is_set_while_the_process_is_down(store: Store, file: Path, switch: Switch, seen: object) -> None:
    dead = stopped_desk(store, file)
    run, token = dead.claimed()
    dead.runbook.steps["b"].before = lambda _: dead.engine.stop(timeout=0.0)
    dead.runbook.steps["a"].after = lambda _: dead.engine.stop(timeout=0.0)
    dead.engine._executor.execute(run, token)
    assert again(dead, run).state is RunState.RUNNING
    if seen:
        dead.runbook.effects.append(("b", run.id))

    switch()
    following = stopped_desk(store, file, Recording(effects=dead.runbook.effects))
    ended = following.until(*FINAL)
    assert (ended.id, ended.state) == (run.id, RunState.FAILED)
    left = "step 3 (do c)" if seen else "step 2 (do b)"
    assert f"ended before {left}, with nothing half-done" in ended.reason
    assert following.runbook.done(run) == (["a", "b"] if seen else ["a"])


def test_a_person_may_approve_meanwhile_and_nothing_begins(store: Store, file: Path, switch: Switch) -> None:
    desk = stopped_desk(store, file, mode=Mode.ASK)
    desk.receive()
    run = desk.until(RunState.AWAITING_APPROVAL)
    lift = switch()
    desk.approve(run)
    for _ in range(3):
        desk.turn()
    lift()
    let_it_run(desk)
    assert again(desk, run).state is RunState.SUPPRESSED
    assert desk.runbook.effects == []


class Outage:
    """A store that, from the operation ``at`` on, refuses some calls; at the first one something happens."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.at: str | None = None
        self.meanwhile: Callable[[], object] = lambda: None
        self.refused = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._perhaps_refuse(operation)
        return self._store.read(operation, *args, **kwargs)

    def look(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._perhaps_refuse(operation)
        return self._store.look(operation, *args, **kwargs)

    def write(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._perhaps_refuse(operation)
        return self._store.write(operation, *args, **kwargs)

    def _perhaps_refuse(self, operation: Callable[..., Any]) -> None:
        if self.refused == 0 and operation.__name__ != self.at:
            return
        if self.refused == 0:
            self.meanwhile()
        if self.refused < 5:
            self.refused += 1
            raise StoreUnavailable("the disk is full")


@pytest.mark.parametrize("at", ["checkpoint", "steps_of", "intend"])
def test_the_file_works_while_the_store_does_not(
    store: Store, file: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "PAUSE", 0.001)
    outage = Outage(store)
    desk = stopped_desk(outage, file)
    run, token = desk.claimed()
    acted = []

    def begins(_: object) -> None:
        outage.at = at

    outage.meanwhile = lambda: (acted.extend(desk.runbook.effects), file.touch())
    desk.runbook.steps["b"].looking = begins
    if at == "steps_of":
        begins(None)
    desk.engine._executor.execute(run, token)
    assert outage.refused == 5
    expected = [] if at == "steps_of" else ["a", "b"] if at == "checkpoint" else ["a"]
    assert desk.runbook.done(run) == [kind for kind, _ in acted] == expected
    assert again(desk, run).state is RunState.FAILED
    assert f"the kill switch's file {file} is there: ended before step" in again(desk, run).reason


class InDoubt:
    """A store whose answer to the first intention gets lost; meanwhile another replica is told to stop everything."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        written = self._store.write(operation, *args, **kwargs)
        if operation is stops.intend and not self._lost:
            self._lost = True
            put(self._store)
            raise Undecided("no commit within 5 s, though it may still come", lambda: written)
        return written


def test_a_stop_that_was_answered_while_the_intention_was_in_doubt_counts(
    store: Store, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "PAUSE", 0.001)
    desk = stopped_desk(InDoubt(store), file)
    run, token = desk.claimed()
    desk.engine._executor.execute(run, token)
    assert desk.runbook.done(run) == []
    assert again(desk, run).state is RunState.FAILED
    assert again(desk, run).reason.startswith("anna stopped everything (stop it): ended before step 1")


def test_everybody_who_stopped_it_is_named(desk: Desk, file: Path) -> None:
    def stop(_: object) -> None:
        file.touch()
        put(desk.store)

    desk.runbook.steps["a"].after = stop
    words = f"anna stopped everything (stop it); the kill switch's file {file} is there: ended before step 2"
    assert desk.answer().reason.startswith(words)


def test_the_files_word_counts_before_the_stores(desk: Desk, file: Path) -> None:
    file.mkdir()
    put(desk.store)
    desk.receive()
    words = let_it_run(desk).words
    assert f"kill_switch_is_off: the kill switch's file {file} is there" in words
    assert "nothing runs until somebody removes it" in words
