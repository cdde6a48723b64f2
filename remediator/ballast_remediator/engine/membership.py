"""This process among those that share the store: its sign of life, and whose it misses.

A lease is counted by what a replica has seen itself, on its own monotonic clock, and never by comparing times of day:
no clock that is set, the database's included, makes a living replica look dead. It counts only while the store
answers, so that an outage of the database, through which nobody can beat, buries nobody.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from ballast_remediator.store import replicas
from ballast_remediator.store.database import Store
from ballast_remediator.store.runs import Fenced
from ballast_remediator.store.writer import StoreUnavailable

BEATS: Final = 6
"""Per lease."""
GAP: Final = 0.5
"""Of a lease: who has not looked for longer has seen nothing, and begins to count again."""

log = structlog.get_logger()


def boottime() -> float:
    """Seconds since boot: unlike `time.monotonic`, they go on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The count of another replica, and since when it has not changed."""

    beat: int
    since: float


class Membership:
    """Beats in a thread of its own. Thread safe."""

    def __init__(self, store: Store, *, lease: float, now: Callable[[], float] = boottime) -> None:
        self._store = store
        self._lease = lease
        self._now = now
        self._stopping = threading.Event()
        self._seen: dict[str, _Seen] = {}
        self._looked_at = float("-inf")
        self._assured_until = float("-inf")
        self._id: str | None = None
        self._thread = threading.Thread(target=self._beat_on, name="membership", daemon=True)

    @property
    def id(self) -> str | None:
        """This replica's, by which it owns runs; None before it has joined. It changes when it was buried."""
        return self._id

    def start(self) -> None:
        """Joins, as soon as the store can be written to."""
        self._thread.start()

    def stop(self, within: float) -> None:
        """Beats no more, and leaves: others go on at once with what was here. Takes ``within`` seconds at most.

        Where the store does not take that in time, they go on when the lease has lapsed.
        """
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(within)
            if self._thread.is_alive():
                log.warning("left_without_a_word", reason=f"the store did not take it within {within:.1f} s")

    def assurance(self) -> Callable[[], bool]:
        """Tells whether nobody can have taken this replica, as it is now, for dead yet.

        Nobody can where nobody shares the store. One that was buried and has joined anew is another one.
        """
        joined = self._id
        return lambda: self._store.exclusive or (self._id == joined and self._now() < self._assured_until)

    def has_duty(self, duty: str) -> bool:
        """Whether this replica is the one to do it; takes it when nobody has it. Raises `StoreUnavailable`."""
        if self._id is None:
            return False
        owner = self._store.look(replicas.on_duty, duty)
        if owner is None:
            try:
                return self._store.write(replicas.take_duty, duty, self._id)
            except Fenced:
                return False
        return owner == self._id

    def _beat_on(self) -> None:
        while not self._stopping.is_set():
            try:
                self.beat()
            except StoreUnavailable as error:
                log.warning("replica_cannot_beat", replica=self._id, reason=str(error))
            except Exception:
                # Whoever stops beating is buried: the next beat may succeed.
                log.exception("membership_fault")
            self._stopping.wait(self._lease / BEATS)
        self._leave()

    def _leave(self) -> None:
        left, self._id = self._id, None  # first: whoever still acts here is told that it may not
        if left is not None:
            try:
                self._store.write(replicas.leave, left)
            except StoreUnavailable as error:
                log.warning("left_without_a_word", replica=left, reason=str(error))

    def beat(self) -> None:
        """One sign of life, and one look at the others'. Raises `StoreUnavailable`."""
        sent = self._now()  # before: whoever sees it counts from later on
        if self._id is None:
            words = f"{socket.gethostname()}, process {os.getpid()}"
            self._id = self._store.write(replicas.join, words, alone=self._store.exclusive)
        try:
            beats = self._store.write(replicas.beat, self._id)
        except Fenced as error:
            log.warning("replica_was_buried", replica=self._id, reason=str(error))
            self._id = None  # what it worked on is fenced; it joins anew
            return
        self._assured_until = sent + self._lease
        self._look(beats)

    def _look(self, beats: Mapping[str, int]) -> None:
        now = self._now()
        if now - self._looked_at > self._lease * GAP:
            self._seen = {}
        self._looked_at = now
        others = {other: beat for other, beat in beats.items() if other != self._id}
        self._seen = {
            other: seen if (seen := self._seen.get(other)) is not None and seen.beat == beat else _Seen(beat, now)
            for other, beat in others.items()
        }
        for other, seen in self._seen.items():
            silent = now - seen.since
            if silent >= self._lease and self._store.write(
                replicas.bury, other, last_beat=seen.beat, by=f"{self._id}, after {silent:.1f} s,"
            ):
                log.warning("replica_buried", replica=other, silent_seconds=round(silent, 1))
