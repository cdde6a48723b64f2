"""What the probes of a stall have answered, and what of it is evidence now."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from kube_ballast.analysis.stall import STUCK, Answer, Measured

VALID_SECONDS: Final = 20.0
"""After that an answer says nothing of now: a probe has its turn in half that time, also when all of them hang."""
LATELY_SECONDS: Final = 10.0


@dataclass(slots=True)
class _Kept:
    began: float
    ended: float
    measured: Measured
    streak_began: float
    failed_at: deque[float] = field(default_factory=lambda: deque(maxlen=8))


class History:
    """The answers of all probes by subject and name. Thread safe; times are the clock's seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Kept] = {}

    def add(self, subject: str, probe: str, began: float, answer: Answer) -> None:
        """The probe began at ``began`` and has just ended so."""
        now = self._clock()
        with self._lock:
            before = self._kept.get((subject, probe))
            failed_at = before.failed_at if before else deque(maxlen=8)
            failures, streak_began = 0, began
            if answer is not Answer.OK:
                failures = 1 + (before.measured.failures if before else 0)
                streak_began = before.streak_began if before and before.measured.failures else began
            if answer in STUCK:
                failed_at.append(now)
            self._kept[subject, probe] = _Kept(began, now, Measured(answer, failures), streak_began, failed_at)

    def measured(self, subject: str, probe: str, since: float | None = None) -> Measured | None:
        """What the probe says now; a success is none when it began before ``since``, since when something fails."""
        now = self._clock()
        with self._lock:
            kept = self._kept.get((subject, probe))
            if kept is None or now - kept.ended > VALID_SECONDS:
                return None
            if since is not None and kept.measured.well and kept.began < since:
                return None
            lately = sum(now - at <= LATELY_SECONDS for at in kept.failed_at)
            return Measured(kept.measured.answer, kept.measured.failures, lately)

    def failing_since(self, subject: str, probe: str) -> float | None:
        """When the first of the failures in a row began, that are timeouts or errors; None while there are none."""
        with self._lock:
            kept = self._kept.get((subject, probe))
            return kept.streak_began if kept is not None and kept.measured.answer in STUCK else None
