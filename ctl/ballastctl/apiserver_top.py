"""Reads an exporter again and again; each pair of its counts gives a report."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from ballastctl.apiserver_mix import DEFAULT_BY, Mix, Restarted, mix
from ballastctl.apiserver_reading import LABELS, METRICS, REQUESTS, Reading, Source, reading
from kube_ballast.clients.errors import Timeout
from kube_ballast.clients.exporter import Exporter

READ_SECONDS: Final = 10.0
OLDEST_SECONDS: Final = 180.0
"""Without a new count for so long, there will be none soon."""
_EXPECTED: Final[dict[Source, float]] = {"apiserver_clients": 10.0, "apiserver_requests": 60.0}
_LOOK_SECONDS: Final = 2.0


class Stopped(Exception):
    """Somebody does not want to wait any longer."""


class Exhausted(Exception):
    """What was asked for is nothing that this exporter knows; the text says what is missing."""


class Top:
    """Reports on one exporter, ``every`` so many seconds where it counts as often."""

    def __init__(
        self,
        exporter: Exporter,
        every: float,
        by: Sequence[str] | None,
        cancel: threading.Event,
        waits: Callable[[Source, float], None],
    ) -> None:
        self.every = every
        self._exporter = exporter
        self._by = by
        self._cancel = cancel
        self._waits = waits
        self._before: Reading | None = None

    def next(self) -> Mix:
        """What was asked since the report before, or since the first reading.

        Raises:
            Stopped: it was cancelled.
            Exhausted: ``by`` names what is not known here.
            ClientError: the exporter does not tell; the next report begins at the last reading that succeeded.
        """
        before = self._before or self._first()
        while True:
            after = self._newer(before)
            self._before = after
            try:
                return mix(before, after, self._labels(after.source))
            except Restarted:
                before = after

    def _first(self) -> Reading:
        self._before = first = self._read()
        self._labels(first.source)
        self._waits(first.source, max(self.every, _EXPECTED[first.source]))
        return first

    def _newer(self, before: Reading) -> Reading:
        """The exporter counts on a clock of its own: asked sooner, it says the same once more."""
        ends = time.monotonic() + self.every + OLDEST_SECONDS
        pause = self.every
        while True:
            if self._cancel.wait(pause):
                raise Stopped
            after = self._read()
            if after.at != before.at or after.source != before.source:
                return after
            if time.monotonic() >= ends:
                message = f"{before.source} has counted nothing new for {OLDEST_SECONDS:g} s: its status page says why"
                raise Timeout(self._exporter.url, message)
            pause = min(self.every, _LOOK_SECONDS)

    def _read(self) -> Reading:
        if self._cancel.is_set():
            raise Stopped
        return reading(self._exporter.url, self._exporter.read(METRICS, timeout=READ_SECONDS))

    def _labels(self, source: Source) -> Sequence[str]:
        by = self._by or DEFAULT_BY[source]
        unknown = [each for each in by if each not in LABELS[source]]
        if not unknown:
            return by
        what = ", ".join(unknown)
        if source == REQUESTS:
            raise Exhausted(
                f"{what} is not known here: the exporter takes no audit events (docs/apiserver-clients.md). "
                f"Choose --by among {', '.join(LABELS[source])}"
            )
        raise Exhausted(f"{what} is not in audit events: choose --by among {', '.join(LABELS[source])}")
