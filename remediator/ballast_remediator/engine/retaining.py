"""Decides what is old enough to be dropped, and drops it portion by portion."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from ballast_remediator.config import RetentionSettings
from ballast_remediator.engine.planning import Policies
from ballast_remediator.policy import Policy
from ballast_remediator.store import retention
from ballast_remediator.store.database import Store

EVERY: Final = 3600.0
"""Seconds between two looks for what is too old."""
LEAP: Final = 3600.0
"""Seconds by which a clock that was set forward makes retention wait."""
REST: Final = 86400.0
"""Seconds that it waits then: a person has time to set the clock right."""
_PORTIONS: Final[tuple[retention.Portion, ...]] = (
    retention.drop_runs,
    retention.drop_notifications,
    retention.drop_notices,
    retention.drop_stops,
    retention.drop_preapprovals,
)

log = structlog.get_logger()


class Retention:
    """What is kept for how long."""

    def __init__(
        self,
        store: Store,
        settings: RetentionSettings,
        policies: Policies,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._settings = settings
        self._policies = policies
        self._due = float("-inf")
        self._left: list[tuple[retention.Portion, float]] = []
        self._dropped = 0
        self._clocks: tuple[float, float] | None = None

    def turn(self) -> bool:
        """Drops one portion of what is due; whether there may be more of it. Raises `StoreUnavailable`."""
        if not self._left:
            if self._monotonic() < self._due:
                return False
            self._due = self._monotonic() + EVERY
            self._left = self._begun()
        if self._left:
            portion, before = self._left[0]
            dropped = self._store.write(portion, before)
            self._dropped += dropped
            if not dropped:
                self._left.pop(0)
            if not self._left and self._dropped:
                log.info("retention", dropped=self._dropped)
        return bool(self._left)

    def _begun(self) -> list[tuple[retention.Portion, float]]:
        now, leap = self._time()
        if leap > LEAP:
            log.warning("retention_waits", reason=f"the clock was set forward by {leap:.0f} s", seconds=REST)
            self._due = self._monotonic() + REST
            return []
        self._dropped = 0
        kept = max(self._settings.runs, looks_back(self._policies.current()))
        ledger = [(portion, now - kept) for portion in _PORTIONS]
        return [*ledger, (retention.trim_audit, now - max(self._settings.audit, kept))]

    def _time(self) -> tuple[float, float]:
        """The store's clock, and by how many seconds it was set forward since the last time."""
        before, self._clocks = self._clocks, (self._store.now(), self._monotonic())
        wall, monotonic = self._clocks
        return wall, 0.0 if before is None else (wall - before[0]) - (monotonic - before[1])


def looks_back(policy: Policy) -> float:
    """The seconds of history that a policy asks for: nothing younger may be dropped while it is in force."""
    content = policy.content
    rules = [span for rule in content.rules for span in (rule.budget.window, rule.cooldown)]
    return max([content.brake.window, *rules])
