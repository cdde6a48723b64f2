"""Asks etcd for one census: from a member that may be read now, at the pace agreed on, from another when one fails."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from ballast_exporter.census_members import Members, Reader, Source
from ballast_exporter.census_terms import Cancelled, Pace, Postponed
from kube_ballast.analysis.ranges import FIRST
from kube_ballast.clients.errors import BadResponse, ClientError, Compacted, Denied
from kube_ballast.clients.etcd.types import Scan

TRIES = 6
_AGAIN_SECONDS = 0.2
_POLL_SECONDS = 1.0

AnswerT = TypeVar("AnswerT")


class Asker:
    """One census's requests. Thread safe; a request under way is not interrupted, the next is not sent."""

    def __init__(
        self,
        members: Members,
        *,
        count: Callable[[str], None],
        cancel: threading.Event,
        waiting: Callable[[str], None],
        pace: Pace | None,
        timeout: float,
        look_every: float,
        patience: float,
    ) -> None:
        self._members = members
        self._count = count
        self._cancel = cancel
        self._waiting = waiting
        self._pace = pace
        self._timeout = timeout
        self._look_every = look_every
        self._patience = patience
        self._lock = threading.Lock()
        self._looked: float | None = None
        self._due = 0.0
        self._stopped = False
        self.revision = 0
        self.requests = 0

    def stop(self) -> None:
        """Another thread of this census has failed: no further request is sent."""
        self._stopped = True

    def pin(self) -> int:
        """From now on everything is as of one revision: the member's newest, which this returns."""
        answer = self._ask(
            lambda reader: reader.range(FIRST, count_only=True, serializable=True, timeout=self._timeout)
        )
        self.revision = answer.revision
        return self.revision

    def oldest_revision(self, known: int) -> int:
        """The oldest revision that is still to be had, ``known`` (or 1) or later: where the last compaction went to."""
        low, high = known - 1, self.revision
        while high - low > 1:
            middle = (low + high) // 2
            if self._is_to_be_had(middle):
                high = middle
            else:
                low = middle
        return high

    def _is_to_be_had(self, revision: int) -> bool:
        try:
            self._ask(
                lambda reader: reader.range(
                    FIRST, revision=revision, count_only=True, serializable=True, timeout=self._timeout
                )
            )
        except Compacted:
            return False
        return True

    def scan(self, start: bytes, end: bytes, limit: int, *, sizes: bool, seen: int | None) -> Scan | None:
        """One answer; None when it is the one that was ``seen``. Raises Compacted."""
        return self._ask(
            lambda reader: reader.scan(
                start, end, limit=limit, sizes=sizes, revision=self.revision, seen=seen, timeout=self._timeout
            )
        )

    def stored_sizes(self, keys: Sequence[bytes]) -> tuple[int | None, ...]:
        """The sizes of a few keys, 128 at most. Raises Compacted."""
        if not keys:
            return ()
        return self._ask(lambda reader: reader.stored_sizes(keys, revision=self.revision, timeout=self._timeout))

    def keys_in(self, start: bytes, end: bytes) -> int:
        """How many keys there are now, from the index."""
        return self._ask(
            lambda reader: reader.range(start, end, count_only=True, serializable=True, timeout=self._timeout)
        ).count

    # -- when and whom -------------------------------------------------------------------------------------------

    def _ask(self, request: Callable[[Reader], AnswerT]) -> AnswerT:
        """An answer from a member that may be read; another is tried when one fails, ``TRIES`` times at most."""
        for left in reversed(range(TRIES)):
            source = self._source()
            self._count(source.endpoint)
            try:
                return request(source.reader)
            except (BadResponse, Compacted, Denied):
                raise
            except ClientError:
                if not left:
                    raise
                with self._lock:
                    self._members.avoid(source.endpoint)
                    self._looked = None
                self._cancel.wait(_AGAIN_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _source(self) -> Source:
        with self._lock:
            self._check_cancelled()
            now = time.monotonic()
            if self._looked is None or now - self._looked >= self._look_every:
                self._look()
                self._looked = time.monotonic()
            self.requests += 1
            assert self._members.chosen is not None
            return self._members.chosen

    def _look(self) -> None:
        """Wait until members may be read, holding every other thread of this census up. Raises Postponed."""
        gives_up = time.monotonic() + self._patience
        while (reason := self._members.look()) is not None:
            if time.monotonic() >= gives_up:
                raise Postponed(f"{reason}, and still did after {self._patience:g} s; no census was made")
            self._waiting(reason)
            self._cancel.wait(_POLL_SECONDS)
            self._check_cancelled()

    def pause(self, keys: int, stored: int) -> None:
        """Wait as the pace asks for after an answer of so many keys and bytes."""
        if self._pace is None:
            return
        with self._lock:
            now = time.monotonic()
            self._due = max(now, self._due) + max(keys / self._pace.keys, stored / self._pace.stored)
            seconds = self._due - now
        self._cancel.wait(seconds)

    def _check_cancelled(self) -> None:
        if self._cancel.is_set() or self._stopped:
            raise Cancelled("the census was told to stop")
