"""Times that come again, as cron writes them: freeze windows, and windows in which a run may begin."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS: Final = 5
"""CronSim takes a sixth for seconds, which crontab(5) does not have."""
AMBIGUOUS: Final = 10800.0
"""Seconds by which no time zone puts its clock back at once. CronSim counts on the wall clock, which does not tell the
two passes of an hour apart that comes twice; so it is asked from well outside of that hour."""


@dataclass(frozen=True, slots=True)
class Period:
    """It begins whenever ``schedule`` (five fields, as crontab(5)) says so in ``time_zone``, and ``lasts`` seconds.

    Over a change of daylight saving time the beginning follows the wall clock, as Debian's cron does, and the length
    stays what it is.
    """

    name: str
    schedule: str
    lasts: float
    time_zone: str

    def ends(self, now: float) -> float | None:
        """When the one that is going on at ``now`` ends; None when none is. Both seconds since the epoch."""
        begun = _latest(self.schedule, self.time_zone, int(now // 60))
        if begun is None or now >= begun + self.lasts:
            return None
        return begun + self.lasts

    def begins(self, now: float) -> float:
        """When the next one begins, in seconds since the epoch.

        Raises:
            StopIteration: there is none in the next 50 years; the policy refuses such a schedule.
        """
        after = datetime.fromtimestamp(now - AMBIGUOUS, ZoneInfo(self.time_zone))
        following = (begins.timestamp() for begins in CronSim(self.schedule, after))
        return next(begins for begins in following if begins > now)


@lru_cache(maxsize=256)
def _latest(schedule: str, time_zone: str, minute: int) -> float | None:
    """The last beginning that is not after the end of ``minute``, counted since the epoch."""
    end = (minute + 1) * 60  # CronSim gives only what lies before its start
    before = datetime.fromtimestamp(end + AMBIGUOUS, UTC).astimezone(ZoneInfo(time_zone))
    earlier = (begun.timestamp() for begun in CronSim(schedule, before, reverse=True))
    return next((begun for begun in earlier if begun < end), None)


def mistake_in_time_zone(name: str) -> str | None:
    """What is wrong with the name, in words; None when nothing is."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return f"there is no time zone {name!r}: write for example UTC or Europe/Berlin"
    return None


def mistake_in_schedule(schedule: str) -> str | None:
    """What is wrong with the schedule, in words; None when nothing is."""
    words = f"{schedule!r} is no schedule of five fields as in crontab(5)"
    if len(schedule.split()) != FIELDS:
        return f"{words}: it has {len(schedule.split())}"
    try:
        begins = next(CronSim(schedule, datetime.now(UTC)), None)
    except CronSimError as error:
        return f"{words}: {str(error).lower()}"
    return None if begins is not None else f"{schedule!r} never comes"
