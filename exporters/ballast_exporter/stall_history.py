"""What the probes of a stall have answered, and what of it is evidence now."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from kube_ballast.analysis.stall import ANSWERED, DEAD, FAILURES, STUCK, Answer, Measured, alike

VALID_SECONDS: Final = 20.0
"""After that an answer says nothing of now: a probe has its turn in half that time, also when all of them hang."""
LATELY_SECONDS: Final = 10.0
REDIAL_SECONDS, LONGEST_REDIAL_SECONDS = 10.0, 150.0
"""gRPC waits longer and longer between two dials: about as long as in all before, 120 s and a fifth at most."""
STOOD_SECONDS: Final = 1.0
"""Without a sign of life of our own for so long, what failed meanwhile may be our own doing."""
FORGET_SECONDS: Final = 5.0
"""After that the world may be another."""
LATE_BEFORE_SECONDS: Final = 1.5
"""Who was late no longer than that before something failed may be why."""
_REMEMBERED: Final = 64


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to tell of a probe.

    ``seconds`` is how long its last answer took, None where that was none or is too old; ``answers`` are all by kind;
    ``succeeded_at`` is in Unix seconds; ``last`` is what came of it last, None where that is too old.
    """

    seconds: float | None
    answers: Mapping[Answer, int]
    succeeded_at: float | None
    last: Measured | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Failures in a row: when the first began, and of the last ones that came after it, when each began and ended."""

    first: float
    later: tuple[tuple[float, float], ...]


@dataclass(slots=True)
class _Kept:
    """Of one probe; ``failed`` are the failures and late answers of the last time, by when they began and ended."""

    began: float = 0.0
    ended: float = 0.0
    seconds: float = 0.0
    measured: Measured | None = None
    row: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """When the failures in a row began and ended, all of one kind, that have no success after them."""
    row_began: float = 0.0
    lost: int = 0
    """Failures of any kind since the last success; a refusal of any probe is as good as two of them."""
    gone: tuple[float, float, float] | None = None
    """When it last failed for certain: the first and the last failure's begin, and its end."""
    failed: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    well: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """When the last right answers, that were not late, began and ended."""
    up_since: float | None = None
    answers: Counter[Answer] = field(default_factory=Counter)
    succeeded_at: float | None = None


class History:
    """The answers of all probes by subject and name. Thread safe; times are the clock's seconds.

    A process that stands still (SIGSTOP, a machine that swaps) lets its own deadlines pass. What was under way then is
    no answer, neither way; after a long standstill nothing that was known before is known any more.
    """

    def __init__(self, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._ended: dict[str, float] = {}
        self._alive = clock()
        self._stood_until = float("-inf")
        self._stood = 0.0
        """How many seconds the last long standstill lasted."""

    def add(
        self, subject: str, probe: str, began: float, answer: Answer, said: str = "", *, seconds: float | None = None
    ) -> int | None:
        """The probe began at ``began`` and has just ended so; ``seconds`` where it took another time than that.

        Gives how often in a row it has failed so, None where that was no answer.
        """
        with self._lock:
            now = self._tick()
            if began < self._stood_until:
                return None
            kept = self._kept.setdefault((subject, probe), _Kept())
            kept.answers[answer] += 1
            if answer is Answer.OK:
                kept.up_since = began if kept.lost >= FAILURES else kept.up_since
                kept.lost = 0
                kept.succeeded_at = self._wall()
                kept.well.append((began, now))
            elif answer is Answer.REFUSED:
                self._end(subject, now)
            elif answer is not Answer.SLOW:
                kept.lost += 1
            old = now - kept.ended > VALID_SECONDS
            if answer is Answer.OK or old or not (kept.measured and alike(kept.measured.answer, answer)):
                kept.row.clear()  # failures of different kinds confirm nothing of each other
                kept.row_began, before = began, 0
            else:
                before = kept.measured.failures
            failures = 0 if answer is Answer.OK else before + 1
            if failures:
                kept.row.append((began, now))
            if failures >= FAILURES and answer in DEAD:
                kept.gone = kept.row_began, began, now
            if answer in (*DEAD, Answer.SLOW):
                kept.failed.append((began, now))
            kept.began, kept.ended, kept.measured = began, now, Measured(answer, failures, said=said)
            kept.seconds = now - began if seconds is None else seconds
            return failures

    def count(self, subject: str, probe: str, answer: Answer) -> None:
        """It ended so, and tells nothing of what it asks about."""
        with self._lock:
            self._kept.setdefault((subject, probe), _Kept()).answers[answer] += 1

    def ended(self, subject: str) -> None:
        """What we had there broke off: whoever answers next may be another."""
        with self._lock:
            self._end(subject, self._tick())

    def _end(self, subject: str, now: float) -> None:
        self._ended[subject] = now
        for (other, _), kept in self._kept.items():
            kept.lost = FAILURES if other == subject else kept.lost  # whatever was asked

    def tick(self) -> None:
        """We are alive; to be called several times a second."""
        with self._lock:
            self._tick()

    def measured(
        self, subject: str, probe: str, since: float | None = None, up: float | None = None
    ) -> Measured | None:
        """What the probe says now.

        A success is none when it began before ``since``, since when something fails, and what was late long before that
        was not late. A failure is none when it began before ``up``, since when the server answers at all.
        """
        with self._lock:
            now = self._tick()
            kept = self._kept.get((subject, probe))
            if kept is None or kept.measured is None or now - kept.ended > VALID_SECONDS:
                return None
            measured = kept.measured
            if measured.well and since is not None and kept.began < since:
                return None
            failures = measured.failures
            if up is not None and not measured.well and kept.row_began < up:
                failures = sum(began >= up for began, _ in kept.row)
                if not failures:
                    return None
            oldest = max(now - LATELY_SECONDS, float("-inf") if since is None else since - LATE_BEFORE_SECONDS)
            lately = sum(at >= oldest and (up is None or began >= up) for began, at in kept.failed)
            return replace(measured, failures=failures, lately=lately)

    def up_since(self, subject: str, probe: str) -> float | None:
        """When it first answered again after it had not, None when it never failed twice or was refused."""
        with self._lock:
            kept = self._kept.get((subject, probe))
            return kept.up_since if kept is not None else None

    def ended_at(self, subject: str) -> float | None:
        """When a connection to it was refused, or broke off, last; None for never."""
        with self._lock:
            return self._ended.get(subject)

    def failing(self, subject: str, probe: str, up: float | None = None) -> Row | None:
        """Its failures in a row that are timeouts or errors; None while there are fewer than two.

        Those that began before ``up`` do not count.
        """
        with self._lock:
            kept = self._kept.get((subject, probe))
            if kept is None or kept.measured is None or kept.measured.answer not in STUCK:
                return None
            row = [each for each in kept.row if up is None or each[0] >= up]
            if len(row) < FAILURES:
                return None
            (first, _), *later = row
            return Row(first if up is not None and kept.row_began < up else kept.row_began, tuple(later))

    def gone(self, subject: str, probe: str) -> tuple[float, float] | None:
        """From when to when it is known to have failed, from one failure's begin to another's; None for never.

        The last one may have been under way for a while when it was well again.
        """
        with self._lock:
            kept = self._kept.get((subject, probe))
            return kept.gone[:2] if kept is not None and kept.gone is not None else None

    def well_between(self, subject: str, probe: str, begin: float, end: float) -> bool:
        """Whether it was asked no sooner than ``begin`` and answered well by ``end``."""
        with self._lock:
            kept = self._kept.get((subject, probe))
            return kept is not None and any(began >= begin and ended <= end for began, ended in kept.well)

    def back(self, subject: str, probe: str) -> bool:
        """Whether it failed for certain, and so lately that those who lost it may not have dialled it again."""
        with self._lock:
            kept = self._kept.get((subject, probe))
            if kept is None or kept.gone is None:
                return False
            since, _, until = kept.gone
            return self._tick() <= until + min(until - since + REDIAL_SECONDS, LONGEST_REDIAL_SECONDS)

    def told(self, subject: str, probe: str) -> Told:
        """What is to be told of the probe; of one that was never made, nothing."""
        with self._lock:
            now = self._tick()
            kept = self._kept.get((subject, probe), _Kept())
            last = kept.measured if now - kept.ended <= VALID_SECONDS else None
            seconds = kept.seconds if last is not None and last.answer in ANSWERED else None
            return Told(seconds, dict(kept.answers), kept.succeeded_at, last)

    def notes(self) -> tuple[str, ...]:
        """That we ourselves were in the way, as long as that explains what is not known."""
        with self._lock:
            if not self._stood or self._tick() - self._stood_until > VALID_SECONDS:
                return ()
            return (f"this process itself stood still for {self._stood:.0f} s: what it knew before is forgotten",)

    def forget(self, subject: str) -> None:
        """Nobody asks it any more."""
        with self._lock:
            self._ended.pop(subject, None)
            for key in [key for key in self._kept if key[0] == subject]:
                del self._kept[key]

    def _tick(self) -> float:
        now = self._clock()
        stood = now - self._alive
        if stood > STOOD_SECONDS or stood < 0:  # a clock that goes back is none to count by
            self._stood_until = now
        if stood > FORGET_SECONDS or stood < 0:
            self._stood = abs(stood)
            for kept in self._kept.values():
                kept.measured = None
                kept.row.clear()
                kept.failed.clear()
                kept.well.clear()
                kept.lost = FAILURES  # who answers next may have been started meanwhile
        self._alive = now
        return now
