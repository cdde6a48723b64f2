"""What the probes of a stall have answered, and what of it is evidence now."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from kube_ballast.analysis.stall import DEAD, FAILURES, STUCK, Answer, Measured, alike

VALID_SECONDS: Final = 20.0
"""After that an answer says nothing of now: a probe has its turn in half that time, also when all of them hang."""
LATELY_SECONDS: Final = 10.0
REDIAL_SECONDS, LONGEST_REDIAL_SECONDS = 10.0, 150.0
"""gRPC waits longer and longer between two dials: about as long as in all before, 120 s and a fifth at most."""
_ANSWERED: Final = (Answer.OK, Answer.SLOW)


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell of a probe.

    ``seconds`` is how long its last answer took, None where that was none or is too old; ``answers`` are all by kind;
    ``succeeded_at`` is in Unix seconds.
    """

    seconds: float | None
    answers: Mapping[Answer, int]
    succeeded_at: float | None


@dataclass(slots=True)
class _Kept:
    """Of one probe; ``measured.lately`` is not kept but counted when it is asked for."""

    began: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    measured: Measured | None = None
    streak_began: float = 0.0
    gone: tuple[float, float] | None = None
    """From when to when it last failed for certain."""
    failed_at: deque[float] = field(default_factory=lambda: deque(maxlen=8))
    answers: Counter[Answer] = field(default_factory=Counter)
    succeeded_at: float | None = None


class History:
    """The answers of all probes by subject and name. Thread safe; times are the clock's seconds."""

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Kept] = {}

    def add(self, subject: str, probe: str, began: float, answer: Answer, seconds: float | None = None) -> None:
        """The probe began at ``began`` and has just ended so; ``seconds`` where it took another time than that."""
        now = self._clock()
        with self._lock:
            kept = self._kept.setdefault((subject, probe), _Kept())
            failures = 0
            if answer is Answer.OK:
                kept.succeeded_at = self._wall()
                kept.streak_began = began
            else:
                before = kept.measured.failures if kept.measured and alike(kept.measured.answer, answer) else 0
                failures = 1 + before
                kept.streak_began = kept.streak_began if before else began
            if failures >= FAILURES and answer in DEAD:
                kept.gone = kept.streak_began, now
            if answer in STUCK:
                kept.failed_at.append(now)
            kept.answers[answer] += 1
            kept.began, kept.ended, kept.measured = began, now, Measured(answer, failures)
            kept.seconds = now - began if seconds is None else seconds

    def measured(self, subject: str, probe: str, since: float | None = None) -> Measured | None:
        """What the probe says now; a success is none when it began before ``since``, since when something fails."""
        now = self._clock()
        with self._lock:
            kept = self._kept.get((subject, probe))
            if kept is None or kept.measured is None or now - kept.ended > VALID_SECONDS:
                return None
            if since is not None and kept.measured.well and kept.began < since:
                return None
            lately = sum(now - at <= LATELY_SECONDS for at in kept.failed_at)
            return Measured(kept.measured.answer, kept.measured.failures, lately)

    def failing_since(self, subject: str, probe: str) -> float | None:
        """When the first of the failures in a row began, that are timeouts or errors; None while there are none."""
        with self._lock:
            kept = self._kept.get((subject, probe))
            if kept is None or kept.measured is None or kept.measured.answer not in STUCK:
                return None
            return kept.streak_began

    def back(self, subject: str, probe: str) -> bool:
        """Whether it failed for certain, and so lately that those who lost it may not have dialled it again."""
        with self._lock:
            kept = self._kept.get((subject, probe))
            if kept is None or kept.gone is None:
                return False
            since, until = kept.gone
            return self._clock() <= until + min(until - since + REDIAL_SECONDS, LONGEST_REDIAL_SECONDS)

    def told(self, subject: str, probe: str) -> Told:
        """What is to be told of the probe; of one that was never made, nothing."""
        now = self._clock()
        with self._lock:
            kept = self._kept.get((subject, probe), _Kept())
            answered = kept.measured is not None and kept.measured.answer in _ANSWERED
            fresh = answered and now - kept.ended <= VALID_SECONDS
            return Told(kept.seconds if fresh else None, dict(kept.answers), kept.succeeded_at)
