from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ballast_remediator.contract import Answer, Verdict
from ballast_remediator.guards.no_freeze_window import no_freeze_window
from ballast_remediator.periods import Period
from tests.remediator.guards.book import TERMS, Book, request

YEAR_END = Period("year-end", "0 0 20 12 *", 14 * 86400.0, "Europe/Berlin")
WEEKEND = Period("weekend", "0 18 * * FRI", 62 * 3600.0, "America/New_York")


def answer(at: str, *freezes: Period) -> Answer:
    """What the guard says at that time of Berlin."""
    now = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    return no_freeze_window(request(terms=replace(TERMS, freezes=freezes)), Book(now=now))


def test_none_goes_on() -> None:
    for said in (answer("2026-12-24T12:00"), answer("2026-12-19T23:59", YEAR_END)):
        assert (said.verdict, said.reason) == (Verdict.ALLOW, "no freeze of the policy goes on")


@pytest.mark.parametrize("at", ["2026-12-20T00:00", "2026-12-31T23:59", "2027-01-02T23:59"])
def test_one_goes_on_and_says_until_when_in_its_own_time_zone(at: str) -> None:
    said = answer(at, YEAR_END)
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == "the policy's freeze 'year-end' goes on until 2027-01-03 00:00 CET"


def test_it_ends_on_the_minute() -> None:
    assert answer("2027-01-03T00:00", YEAR_END).verdict is Verdict.ALLOW


def test_any_of_several_forbids() -> None:
    assert answer("2026-07-03T23:59", YEAR_END, WEEKEND).verdict is Verdict.ALLOW  # 17:59 in New York
    said = answer("2026-07-04T00:00", YEAR_END, WEEKEND)
    assert said.reason == "the policy's freeze 'weekend' goes on until 2026-07-06 08:00 EDT"
