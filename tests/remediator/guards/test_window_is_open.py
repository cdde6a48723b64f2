from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from ballast_remediator.contract import Answer, Verdict
from ballast_remediator.guards.window_is_open import window_is_open
from ballast_remediator.periods import Period
from tests.remediator.guards.book import TERMS, Book, request

NIGHT = Period("night", "0 1 * * *", 4 * 3600.0, "Europe/Berlin")
SUNDAY = Period("sunday", "0 6 * * SUN", 3600.0, "UTC")
ONCE = Period("leap day", "0 0 29 2 *", 3600.0, "UTC")


def answer(at: str, *windows: Period) -> Answer:
    """What the guard says at that time of Berlin."""
    now = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    return window_is_open(request(terms=replace(TERMS, windows=windows)), Book(now=now))


def test_a_rule_without_windows() -> None:
    said = answer("2026-11-24T12:00")
    assert (said.verdict, said.reason) == (Verdict.ALLOW, "the rule names no windows")


def test_one_is_open() -> None:
    said = answer("2026-11-24T01:00", SUNDAY, NIGHT)
    assert (said.verdict, said.reason) == (Verdict.ALLOW, "the window 'night' is open until 2026-11-24 05:00 CET")


def test_none_is_and_the_next_one_is_named() -> None:
    said = answer("2026-11-24T05:00", SUNDAY, NIGHT)
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == "none of the rule's windows is open; 'night' opens 2026-11-25 01:00 CET"
    # Saturday evening: which comes first is asked of the time, not of the order.
    assert "'night' opens" in answer("2026-11-28T20:00", SUNDAY, NIGHT).reason
    assert "'sunday' opens 2026-11-29 06:00 UTC" in answer("2026-11-29T05:30", SUNDAY, NIGHT).reason


def test_one_that_does_not_come_for_years() -> None:
    assert answer("2026-11-24T05:00", ONCE).reason == (
        "none of the rule's windows is open; 'leap day' opens 2028-02-29 00:00 UTC"
    )


def test_it_may_begin_in_the_last_second() -> None:
    assert answer("2026-11-24T04:59:59", NIGHT).verdict is Verdict.ALLOW
