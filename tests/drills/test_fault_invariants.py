"""The judge of the fault script has to see what it judges: each invariant, on a made-up history that violates it."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from ballast_remediator.contract import RunState
from drills.faults.effects import What
from drills.faults.history import History, StepEnd
from drills.faults.invariants import INVARIANTS, in_the_window, violations
from tests.drills.histories import edited, end, good


def lost() -> History:
    return good().history(accepted=frozenset({"a", "never-seen"}))


def not_filed() -> History:
    return good().history(accepted=frozenset({"a", "waits"}), waiting=frozenset({"waits"}))


def run_again() -> History:
    teller = good()
    teller.says("one", "step_started", ordinal=1, token=1, kind="slow")
    return teller.history()


def unintended() -> History:
    teller = good()
    teller.does("three", step=1)
    return teller.history()


def twice() -> History:
    teller = good()
    teller.says("two", "step_started", ordinal=1, token=2, kind="slow")
    teller.does("two", token=2)
    return teller.history()


def without_effect() -> History:
    history = good().history()
    return replace(history, effects=history.effects[:-1])


def unwritten() -> History:
    return good().history(steps=(StepEnd("one", 1, "slow", done=False),))


def overlapping() -> History:
    teller = good()
    teller.says("one", "step_started", ordinal=2, token=1, kind="slow")
    teller.does("one", step=2)
    return teller.history()


def fenced() -> History:
    teller = good()
    teller.does("two", What.BEAT, token=2, replica="1")
    teller.does("two", What.BEAT, token=1, replica="0")
    return teller.history()


def open_still() -> History:
    return good().history(end("one"), end("two", RunState.RUNNING))


def forbidden() -> History:
    teller = good()
    teller.says("two", RunState.RUNNING)
    return teller.history()


def broken() -> History:
    return edited(good().history())


def lifted() -> History:
    teller = good()
    teller.says("two", "step_started", ordinal=3, token=1, kind="defragment")
    teller.says("two", "note")
    history = teller.history()
    *before, note = history.audit
    return replace(history, audit=(*before, replace(note, words="lifted NOSPACE of member 1")))


CASES: list[tuple[str, Callable[[], History]]] = [
    ("accepted alerts lost", lost),
    ("accepted alerts not filed in the end", not_filed),
    ("completed steps re-run", run_again),
    ("effects without an intention", unintended),
    ("effects caused twice", twice),
    ("steps done without their effect", without_effect),
    ("steps done without their effect", unwritten),
    ("overlaps on a target or a lock", overlapping),
    ("actions by a fenced replica", fenced),
    ("runs neither final nor quarantined", open_still),
    ("transitions that the table forbids", forbidden),
    ("breaks of the audit's chain", broken),
    ("etcd: NOSPACE lifted too early", lifted),
]


def test_a_history_as_it_should_be_violates_nothing() -> None:
    assert violations(good().history()) == dict.fromkeys(INVARIANTS, ())


def test_each_invariant_has_a_case() -> None:
    assert {name for name, _ in CASES} == set(INVARIANTS)


@pytest.mark.parametrize(("name", "history"), CASES, ids=[each.__name__ for _, each in CASES])
def test_what_violates_it_is_told(name: str, history: Callable[[], History]) -> None:
    assert len(violations(history())[name]) == 1


def test_a_store_that_cannot_be_read_lost_everything() -> None:
    assert violations(History(problem="malformed"))["accepted alerts lost"] == ("malformed",)


def test_what_waits_to_be_filed_is_not_lost() -> None:
    assert violations(not_filed())["accepted alerts lost"] == ()


def test_a_quarantined_run_has_ended() -> None:
    history = good().history(end("one"), end("two", RunState.OUTCOME_UNKNOWN))
    assert violations(history)["runs neither final nor quarantined"] == ()


def test_who_stood_still_between_the_look_and_the_effect_is_counted_and_not_blamed() -> None:
    teller = good()
    teller.does("two", What.BEAT, token=2, replica="1")
    before = teller.effects[-1].at - 0.5
    teller.does("two", What.BEAT, token=1, replica="0", looked=before)

    assert violations(teller.history())["actions by a fenced replica"] == ()
    assert in_the_window(teller.history()) == 1


def test_what_a_zombie_ends_late_does_not_make_its_successor_s_act_a_repetition() -> None:
    teller = good()
    teller.says("two", "step_started", ordinal=2, token=1, kind="slow")
    teller.does("two", step=2, token=1, replica="0")
    teller.says("two", "step_started", ordinal=2, token=2, kind="slow")
    teller.does("two", What.ENDED, step=2, token=1, replica="0")
    teller.does("two", step=2, token=2, replica="1")

    assert violations(teller.history())["effects caused twice"] == ()


def test_a_run_that_is_judged_anew_has_steps_of_its_own() -> None:
    teller = good()
    teller.says("three", "step_done", ordinal=1, token=1, kind="slow")
    teller.says("three", RunState.PLANNING)
    teller.says("three", "step_started", ordinal=1, token=2, kind="slow")

    assert violations(teller.history())["completed steps re-run"] == ()
