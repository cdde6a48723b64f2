import pytest

from ballast_remediator.contract import Jump, Verdict
from ballast_remediator.guards.clock_is_steady import clock_is_steady
from tests.remediator.guards.book import Book, request


@pytest.mark.parametrize("jump", [None, Jump(30.0, 0.0), Jump(-30.0, 0.0)])
def test_a_clock_that_goes_evenly(jump: Jump | None) -> None:
    answer = clock_is_steady(request(), Book(jump=jump))
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "the clock goes evenly")


@pytest.mark.parametrize(("seconds", "way"), [(600.0, "forward"), (-600.0, "back")])
def test_a_clock_that_was_set_by_ten_minutes_is_not_believed_for_as_long(seconds: float, way: str) -> None:
    answer = clock_is_steady(request(), Book(jump=Jump(seconds, 60.0)))
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert answer.reason == (
        f"the clock of this host was set {way} by 10 min, 1 min ago; it is believed again in 9 min if it is left alone"
    )
    assert clock_is_steady(request(), Book(jump=Jump(seconds, 599.9))).verdict is Verdict.REFUSE
    later = clock_is_steady(request(), Book(jump=Jump(seconds, 600.0)))
    assert (later.verdict, later.reason) == (
        Verdict.ALLOW,
        f"the clock of this host was set {way} by 10 min, 10 min ago",
    )


@pytest.mark.parametrize("years", [56, -56])
def test_a_clock_that_was_years_off_stops_nothing_for_years(years: int) -> None:
    jump = years * 365 * 86400.0
    assert clock_is_steady(request(), Book(jump=Jump(jump, 1799.0))).verdict is Verdict.REFUSE
    assert clock_is_steady(request(), Book(jump=Jump(jump, 1800.0))).verdict is Verdict.ALLOW
