"""Runs collectors and tells what they know. The only place that knows clocks, deadlines, isolation and self-metrics.

Each collector has a thread and a clock of its own, so that none waits for another and no scrape waits for any:

* a poll that fails takes its families away at once;
* a poll that hangs keeps its slot: it is never run a second time beside itself, the last snapshot leaves after
  three intervals, and what comes back later than an interval after its start is dropped;
* once a poll has been stuck for minutes ``stuck()`` names it, and ``/healthz`` fails.

This is the one place that catches every exception: whatever a collector raises costs that collector only.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ballast_exporter.contract import Deadline, Poll, RequestCounter, Snapshot, Stream
from ballast_exporter.exposition import PLAIN, Format, negotiate
from kube_ballast import __version__
from kube_ballast.clients.errors import ClientError

STALE_AFTER_INTERVALS = 3
STUCK_AFTER_SECONDS = 180.0
_STOP_SECONDS = 2.0

_log = structlog.get_logger("ballast_exporter.core")


class StreamEnded(Exception):
    """A stream's ``run`` came back or raised; its text says how."""


def describe(error: BaseException) -> str:
    """An error in words: a client's own text, anything else with its type."""
    return str(error) if isinstance(error, ClientError | StreamEnded) else f"{type(error).__name__}: {error}"


class Clock(Protocol):
    """Time as the core sees it."""

    def monotonic(self) -> float:
        """Seconds that never go backwards."""

    def time(self) -> float:
        """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Running:
    """A collector and how it is run; ``interval`` and ``deadline`` in seconds, ``deadline`` <= ``interval``."""

    name: str
    source: Poll | Stream
    interval: float
    deadline: float
    requests: RequestCounter


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a collector's polls. Times are the clock's monotonic seconds unless they say otherwise.

    ``started`` is set while a poll runs, ``attempted`` once one has ended or has overrun its interval. ``rendered`` is
    the snapshot by content type; a scrape may add to it.
    """

    attempted: bool = False
    started: float | None = None
    error: str | None = None
    duration_seconds: float | None = None
    snapshot: Snapshot | None = None
    rendered: dict[str, bytes] = field(default_factory=dict)
    taken: float | None = None
    last_success: float | None = None
    last_success_unix: float | None = None


class Slot:
    """One collector's place: what it is doing and what it said last. The newest ``State`` is read without a lock."""

    def __init__(self, running: Running, clock: Clock) -> None:
        self.name = running.name
        self.interval = running.interval
        self.requests = running.requests
        self._running = running
        self._clock = clock
        self._state = State()
        self._formats: dict[str, Format] = {PLAIN.content_type: PLAIN}
        self._busy = threading.Lock()
        self._stream_error: str | None = None

    # -- what scrapes and pages see ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """As of now: an overrun shows as an error, a snapshot older than three intervals is gone."""
        now, state = self._clock.monotonic(), self._state
        if state.started is not None and now - state.started > self.interval:
            error = f"has not come back for {now - state.started:.0f} s (it is run every {self.interval:g} s)"
            state = replace(state, attempted=True, error=error)
        if state.taken is not None and now - state.taken > STALE_AFTER_INTERVALS * self.interval:
            state = replace(state, snapshot=None)
        return state

    @property
    def stuck(self) -> bool:
        """The poll has run for minutes: this process needs a restart."""
        started = self._state.started
        limit = max(STUCK_AFTER_SECONDS, (STALE_AFTER_INTERVALS + 1) * self.interval)
        return started is not None and self._clock.monotonic() - started > limit

    def render(self, form: Format) -> bytes:
        """The snapshot's families in ``form``; nothing when there is none."""
        state = self.state
        if state.snapshot is None:
            return b""
        text = state.rendered.get(form.content_type)
        if text is None:  # asked for in this format for the first time
            self._formats = {**self._formats, form.content_type: form}
            text = state.rendered[form.content_type] = form.render(state.snapshot.families)
        return text

    # -- what the collector's thread does ------------------------------------------------------------------------

    def poll(self) -> None:
        """One look at the sources, unless one is still under way."""
        if not self._busy.acquire(blocking=False):
            return
        try:
            self._poll()
        finally:
            self._busy.release()

    def _poll(self) -> None:
        started = self._clock.monotonic()
        self._state = replace(self._state, started=started)
        snapshot: Snapshot | None = None
        rendered: dict[str, bytes] = {}
        try:
            snapshot = self._look(Deadline(started + self._running.deadline, self._clock.monotonic))
            # Rendered here, not in the scrape: a family that cannot be written is this collector's failure.
            rendered = {key: form.render(snapshot.families) for key, form in self._formats.items()}
            error = None
        except Exception as caught:  # noqa: BLE001 -- isolation: whatever it is, it costs this collector only
            error = describe(caught)
            self._log_failure(error, caught)
        duration = self._clock.monotonic() - started
        if error is None and duration > self.interval:
            error = f"took {duration:.1f} s, longer than its interval of {self.interval:g} s: the result was dropped"
            self._log_failure(error, None)
        self._record(None if error else snapshot, rendered, error, duration)

    def _look(self, deadline: Deadline) -> Snapshot:
        if not isinstance(self._running.source, Stream):
            return self._running.source.collect(deadline)
        if self._stream_error is not None:
            raise StreamEnded(self._stream_error)
        return self._running.source.snapshot()

    def _record(
        self, snapshot: Snapshot | None, rendered: dict[str, bytes], error: str | None, duration: float
    ) -> None:
        before, now = self._state, self._clock.monotonic()
        self._state = State(
            attempted=True,
            error=error,
            duration_seconds=duration,
            snapshot=snapshot,
            rendered=rendered,
            taken=None if snapshot is None else now,
            last_success=before.last_success if error else now,
            last_success_unix=before.last_success_unix if error else self._clock.time(),
        )
        notes = () if snapshot is None else snapshot.notes
        if error is None and before.error is not None:
            _log.info("collector recovered", collector=self.name)
        if notes != (() if before.snapshot is None else before.snapshot.notes):
            _log.info("sources changed", collector=self.name, trouble=list(notes) or "none")

    def _log_failure(self, error: str, caught: Exception | None) -> None:
        if error != self._state.error:  # said once, not at every poll
            unexpected = caught is not None and not isinstance(caught, ClientError | StreamEnded)
            _log.error("collector failed", collector=self.name, error=error, exc_info=caught if unexpected else None)

    def run_stream(self, stream: Stream, stop: threading.Event) -> None:
        """Keep a stream running until ``stop`` is set."""
        while not stop.is_set():
            try:
                stream.run(stop)
                self._stream_error = "the stream ended by itself"
            except Exception as caught:  # noqa: BLE001 -- isolation, as above
                self._stream_error = describe(caught)
            if stop.is_set():
                return
            self.poll()  # its families leave now, not at the next tick
            stop.wait(self.interval)
            self._stream_error = None


class Core:
    """All collectors of this process."""

    def __init__(self, collectors: Sequence[Running], clock: Clock = time) -> None:
        self.slots = tuple(Slot(each, clock) for each in collectors)
        self._sources = tuple(each.source for each in collectors)
        self._clock = clock
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start each collector's threads; returns at once."""
        for slot, source in zip(self.slots, self._sources, strict=True):
            # Daemons: a hung collector must not keep the process from ending.
            if isinstance(source, Stream):
                self._spawn(f"{slot.name}-stream", slot.run_stream, source, self._stop)
            self._spawn(slot.name, self._tick, slot)
        _log.info("collectors started", collectors=[slot.name for slot in self.slots])

    def stop(self) -> None:
        """Stop collecting, wait at most two seconds for polls under way, close connections."""
        self._stop.set()
        end = time.monotonic() + _STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        for slot, source in zip(self.slots, self._sources, strict=True):
            try:
                source.close()
            except Exception as caught:  # noqa: BLE001 -- isolation, as above
                _log.warning("collector did not close", collector=slot.name, error=describe(caught))

    def ready(self) -> bool:
        """Each collector has tried once."""
        return all(slot.state.attempted for slot in self.slots)

    def stuck(self) -> tuple[str, ...]:
        """The collectors that have been hanging for minutes."""
        return tuple(slot.name for slot in self.slots if slot.stuck)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """``/metrics`` and its content type. Renders what is known and asks nobody."""
        form = negotiate(accept)
        parts = [slot.render(form) for slot in self.slots]
        return form.join([*parts, form.render(tuple(self._self_metrics()))]), form.content_type

    def _spawn(self, name: str, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _tick(self, slot: Slot) -> None:
        due = self._clock.monotonic()
        while not self._stop.is_set():
            slot.poll()
            due += slot.interval
            behind = self._clock.monotonic() - due
            if behind > 0:  # ticks that an overrun missed are not made up for
                due += slot.interval * (behind // slot.interval + 1)
            self._stop.wait(due - self._clock.monotonic())

    def _self_metrics(self) -> Iterable[Metric]:
        success = GaugeMetricFamily(
            "ballast_collector_success",
            "Whether the collector's last poll succeeded; when it did not, its families are absent.",
            labels=["collector"],
        )
        duration = GaugeMetricFamily(
            "ballast_collector_duration_seconds", "How long the last finished poll took.", labels=["collector"]
        )
        last = GaugeMetricFamily(
            "ballast_collector_last_success_timestamp_seconds",
            "When the collector's last successful poll ended, in Unix seconds.",
            labels=["collector"],
        )
        requests = CounterMetricFamily(
            "ballast_source_requests", "Requests sent to those we ask.", labels=["collector", "kind", "target"]
        )
        for slot in self.slots:
            state = slot.state
            if state.attempted:
                success.add_metric([slot.name], float(state.error is None))
            if state.duration_seconds is not None:
                duration.add_metric([slot.name], state.duration_seconds)
            if state.last_success_unix is not None:
                last.add_metric([slot.name], state.last_success_unix)
            for (kind, target), count in sorted(slot.requests.totals().items()):
                requests.add_metric([slot.name, kind, target], count)
        build = GaugeMetricFamily("ballast_exporter_build_info", "Which version runs.", labels=["version"])
        build.add_metric([__version__], 1)
        return (success, duration, last, requests, build)
