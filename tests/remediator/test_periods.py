"""Times that come again: month ends, daylight saving, and what is no schedule."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.periods import Period, mistake_in_schedule, mistake_in_time_zone

HOUR = 3600.0
BERLIN = "Europe/Berlin"
"""On 2026-03-29 its 02:00 is 03:00; on 2026-10-25 its 03:00 is 02:00 again."""


def at(text: str, zone: str = BERLIN, *, second: bool = False) -> float:
    """Seconds since the epoch; ``second`` is the second pass of an hour that comes twice."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=int(second)).timestamp()


def goes_on(period: Period, text: str, *, second: bool = False) -> bool:
    return period.ends(at(text, period.time_zone, second=second)) is not None


def test_it_goes_on_from_its_first_second_until_its_last() -> None:
    night = Period("night", "0 1 * * *", 4 * HOUR, BERLIN)
    assert not goes_on(night, "2026-11-24T00:59:59.999")
    assert night.ends(at("2026-11-24T01:00")) == at("2026-11-24T05:00")
    assert night.ends(at("2026-11-24T04:59:59.999")) == at("2026-11-24T05:00")
    assert not goes_on(night, "2026-11-24T05:00")
    assert night.begins(at("2026-11-24T01:00")) == at("2026-11-25T01:00")
    assert night.begins(at("2026-11-24T00:59:59.999")) == at("2026-11-24T01:00")


def test_it_reaches_over_the_end_of_a_month_and_of_a_year() -> None:
    last_day = Period("closing", "0 20 L * *", 12 * HOUR, BERLIN)
    for end, after in (
        ("2026-02-28T20:00", "2026-03-01T07:59"),
        ("2028-02-29T20:00", "2028-03-01T07:59"),
        ("2026-12-31T20:00", "2027-01-01T07:59"),
    ):
        assert goes_on(last_day, end)
        assert goes_on(last_day, after)
    assert not goes_on(last_day, "2028-02-28T21:00")
    assert not goes_on(last_day, "2027-01-01T08:00")


def test_one_that_lasts_longer_than_the_time_between_two_never_ends() -> None:
    always = Period("always", "0 0 * * *", 25 * HOUR, "UTC")
    now = at("2026-11-24T00:30", "UTC")
    assert always.ends(now) == at("2026-11-25T01:00", "UTC")


def test_where_an_hour_is_left_out_it_begins_right_after() -> None:
    early = Period("early", "30 2 * * *", 2 * HOUR, BERLIN)
    assert early.begins(at("2026-03-29T01:59")) == at("2026-03-29T03:00")
    assert not goes_on(early, "2026-03-29T01:59")
    assert early.ends(at("2026-03-29T03:00")) == at("2026-03-29T05:00")
    assert early.ends(at("2026-03-29T03:31")) == at("2026-03-29T05:00")
    over = Period("over", "0 1 * * *", 2 * HOUR, BERLIN)
    assert over.ends(at("2026-03-29T01:30")) == at("2026-03-29T04:00"), "two hours are two hours"


def test_where_an_hour_comes_twice_it_begins_once_and_has_no_hole() -> None:
    early = Period("early", "30 2 * * *", 2 * HOUR, BERLIN)
    first = at("2026-10-25T02:30")
    assert not goes_on(early, "2026-10-25T02:29")
    for minutes in range(120):
        assert early.ends(first + 60 * minutes) == first + 2 * HOUR, f"{minutes} min after its beginning"
    assert not goes_on(early, "2026-10-25T03:30")
    for text in ("02:10", "02:31"):
        assert early.begins(at(f"2026-10-25T{text}", second=True)) == at("2026-10-26T02:30")


def test_an_hourly_one_begins_in_both_passes() -> None:
    hourly = Period("hourly", "15 * * * *", 600.0, BERLIN)
    assert goes_on(hourly, "2026-10-25T02:20")
    assert goes_on(hourly, "2026-10-25T02:20", second=True)
    assert not goes_on(hourly, "2026-10-25T02:26")
    assert hourly.begins(at("2026-10-25T02:20")) == at("2026-10-25T02:15", second=True)


SCHEDULES = st.sampled_from(
    ["0 1 * * *", "30 2 * * *", "*/20 * * * *", "0 20 L * *", "0 18 * * FRI", "15 2,3 * 3,10 *", "0 0 29 2 *"]
)
ZONES = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
DAYS = st.floats(at("2026-01-01T00:00"), at("2029-01-01T00:00"))


@given(SCHEDULES, ZONES, st.floats(60.0, 40 * 86400.0), DAYS)
def test_what_begins_goes_on_until_it_ends(schedule: str, zone: str, lasts: float, now: float) -> None:
    period = Period("any", schedule, lasts, zone)
    begins = period.begins(now)
    assert begins > now
    ends = period.ends(begins)
    assert ends == begins + lasts
    assert period.ends(begins + lasts / 2) is not None
    going_on = period.ends(now)
    if going_on is not None:
        assert now < going_on <= now + lasts
    elif begins - now > 120:
        assert period.ends(begins - 60) is None, "nothing goes on between now and the next beginning"


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("", "'' is no schedule of five fields as in crontab(5): it has 0"),
        ("@daily", "'@daily' is no schedule of five fields as in crontab(5): it has 1"),
        ("0 0 0 * * *", "'0 0 0 * * *' is no schedule of five fields as in crontab(5): it has 6"),
        ("60 0 * * *", "'60 0 * * *' is no schedule of five fields as in crontab(5): bad minute"),
        ("0 0 31 2 *", "'0 0 31 2 *' is no schedule of five fields as in crontab(5): bad day-of-month"),
        ("0 0 * * MOON", "'0 0 * * MOON' is no schedule of five fields as in crontab(5): bad day-of-week"),
        ("0 0 * 2 MON#5,TUE#9", None),
    ],
)
def test_what_is_no_schedule(schedule: str, words: str | None) -> None:
    found = mistake_in_schedule(schedule)
    assert found is not None
    assert words is None or found == words


@given(st.text("0123456789*/,-L#W MONFRI\t", max_size=20))
def test_whatever_is_written_is_a_schedule_or_a_mistake(schedule: str) -> None:
    if mistake_in_schedule(schedule) is None:
        assert Period("any", schedule, 60.0, BERLIN).begins(at("2026-01-01T00:00"))


@pytest.mark.parametrize("name", ["UTC", BERLIN, "Asia/Kathmandu"])
def test_a_time_zone(name: str) -> None:
    assert mistake_in_time_zone(name) is None


@pytest.mark.parametrize("name", ["", "Berlin", "Europe", "../etc/passwd", "/etc/localtime", "\0", "x" * 5000])
def test_what_is_no_time_zone(name: str) -> None:
    assert mistake_in_time_zone(name) == f"there is no time zone {name!r}: write for example UTC or Europe/Berlin"
