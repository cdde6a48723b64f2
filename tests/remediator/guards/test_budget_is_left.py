from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Answer, Budget, Jump, Verdict
from ballast_remediator.guards.budget_is_left import allowance, budget_is_left
from tests.remediator.guards.book import NOW, TERMS, Book, request

DAY = 86400.0


def answer(budget: Budget, *began: float, population: int = 10, jump: Jump | None = None) -> Answer:
    """What the guard says when runs began so many seconds ago."""
    asked = request(terms=replace(TERMS, budget=budget), population=population)
    return budget_is_left(asked, Book(began=[NOW - ago for ago in began], jump=jump))


def test_some_is_left() -> None:
    said = answer(Budget(3, None, DAY), 10.0, 20.0)
    assert (said.verdict, said.reason) == (
        Verdict.ALLOW,
        "2 of 3 runs of etcd-free-space began in here within 1 d (the policy allows 3 runs)",
    )


def test_it_is_used_up() -> None:
    said = answer(Budget(2, None, DAY), 10.0, 20.0)
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == (
        "2 of 2 runs of etcd-free-space began in here within 1 d (the policy allows 2 runs): the budget is used up. "
        "Find out why it takes so many before you raise it"
    )


def test_of_two_limits_the_smaller_holds() -> None:
    said = answer(Budget(5, 25, DAY), 10.0, 20.0, population=10)
    assert said.verdict is Verdict.REFUSE
    assert "2 of 2 runs" in said.reason
    assert "(the policy allows 5 runs, and 25 % of 10 targets)" in said.reason
    assert answer(Budget(5, 25, DAY), 10.0, 20.0, population=12).verdict is Verdict.ALLOW
    assert answer(Budget(1, 100, DAY), 10.0, population=1000).verdict is Verdict.REFUSE


@pytest.mark.parametrize(
    ("budget", "population", "words"),
    [
        (Budget(0, None, DAY), 10, "the policy allows 0 runs"),
        (Budget(3, 0.0, DAY), 10, "the policy allows 3 runs, and 0 % of 10 targets"),
        # A share of few targets, or of none that anybody knows of, is less than one run.
        (Budget(None, 10, DAY), 9, "the policy allows 10 % of 9 targets"),
        (Budget(None, 10, DAY), 0, "the policy allows 10 % of 0 targets"),
    ],
)
def test_a_budget_that_comes_to_nothing_says_why(budget: Budget, population: int, words: str) -> None:
    said = answer(budget, population=population)
    assert said.verdict is Verdict.REFUSE
    assert said.reason == (
        f"0 of 0 runs of etcd-free-space began in here within 1 d ({words}): the budget allows none, whatever "
        "happens. Is it meant to?"
    )


def test_a_run_counts_until_the_window_is_over() -> None:
    assert answer(Budget(1, None, 3600.0), 3599.9).verdict is Verdict.REFUSE
    assert answer(Budget(1, None, 3600.0), 3600.0).verdict is Verdict.ALLOW


def test_a_clock_that_was_set_forward_makes_no_budget_larger() -> None:
    budget = Budget(1, None, 3600.0)
    # It began 55 minutes ago. The clock, set forward by ten minutes since, says 65.
    assert answer(budget, 3900.0, jump=Jump(600.0, 1200.0)).verdict is Verdict.REFUSE
    assert answer(budget, 4200.0, jump=Jump(600.0, 1200.0)).verdict is Verdict.ALLOW
    assert answer(budget, 3900.0, jump=Jump(600.0, 3600.0)).verdict is Verdict.ALLOW
    assert answer(budget, 3900.0, jump=Jump(-600.0, 1200.0)).verdict is Verdict.ALLOW


def test_a_budget_without_any_limit_allows_nothing() -> None:
    assert allowance(Budget(None, None, DAY), 1000) == 0


@given(
    st.none() | st.integers(0, 20),
    st.none() | st.floats(0, 100),
    st.integers(-1, 10_000),
    st.lists(st.floats(0, 7200), max_size=30),
)
def test_never_more_than_any_limit(runs: int | None, share: float | None, population: int, began: list[float]) -> None:
    said = answer(Budget(runs, share, 3600.0), *began, population=population)
    counted = sum(ago < 3600.0 for ago in began)
    if said.verdict is Verdict.ALLOW:
        assert runs is not None or share is not None
        assert runs is None or counted + 1 <= runs
        assert share is None or counted + 1 <= population * share / 100
