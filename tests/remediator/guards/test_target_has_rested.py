from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Action, Answer, Jump, Verdict
from ballast_remediator.guards.target_has_rested import target_has_rested
from tests.remediator.guards.book import NOW, TERMS, Book, request

REQUEST = request(terms=replace(TERMS, cooldown=1800.0))


def answer(rested: float, words: str = "(etcd-free-space) ended as failed", jump: Jump | None = None) -> Answer:
    return target_has_rested(REQUEST, Book(last=Action("f00", words, NOW - rested), jump=jump))


def test_nothing_was_done_to_it_yet() -> None:
    said = target_has_rested(REQUEST, Book())
    assert (said.verdict, said.reason) == (Verdict.ALLOW, "nothing was done to this target yet")
    assert target_has_rested(REQUEST, Book(last=Action("me", "is running", None))).verdict is Verdict.ALLOW


@pytest.mark.parametrize("words", ["(etcd-free-space) ended as failed", "was rejected"])
def test_it_has_not_rested_yet(words: str) -> None:
    said = answer(720.0, words)
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == f"run f00 {words} 12 min ago; a target rests for 30 min (cooldown)"


def test_the_rest_is_over_when_it_is_reached() -> None:
    assert answer(1799.9).verdict is Verdict.REFUSE
    said = answer(1800.0)
    assert (said.verdict, said.reason) == (
        Verdict.ALLOW,
        "run f00 (etcd-free-space) ended as failed 30 min ago; a target rests for 30 min",
    )


def test_one_that_goes_on_is_waited_for_by_its_lock() -> None:
    said = target_has_rested(REQUEST, Book(last=Action("f00", "(etcd-free-space) is running", None)))
    assert (said.verdict, said.reason) == (
        Verdict.ALLOW,
        "run f00 (etcd-free-space) is running and goes on; its lock is waited for",
    )


def test_a_clock_that_was_set_forward_makes_no_rest_shorter() -> None:
    # It ended 22 minutes ago. The clock, set forward by ten minutes since, says 32.
    assert answer(1920.0, jump=Jump(600.0, 1200.0)).verdict is Verdict.REFUSE
    assert answer(2400.0, jump=Jump(600.0, 1200.0)).verdict is Verdict.ALLOW


def test_a_clock_that_was_set_back_makes_it_longer_at_most() -> None:
    said = answer(-300.0, jump=Jump(-600.0, 10.0))
    assert said.verdict is Verdict.REFUSE
    assert "0 ms ago" in said.reason
    assert answer(1800.0, jump=Jump(-600.0, 10.0)).verdict is Verdict.ALLOW


@given(st.floats(0, 7200), st.floats(0, 7200), st.floats(0, 1800))
def test_no_jump_lets_it_begin_before_its_time(rested: float, jumped_ago: float, forward: float) -> None:
    """``rested`` is the truth; the clock shows more when it was set forward since."""
    shown = rested + (forward if jumped_ago < rested else 0.0)
    said = answer(shown, jump=Jump(forward, jumped_ago))
    assert said.verdict is Verdict.REFUSE or rested >= 1800.0 - 1e-6
    assert said.verdict is Verdict.ALLOW or rested < 1800.0 + 1e-6
