r"""Who asks the apiservers for what, from their audit events.

Gives (HELP and TYPE lines left out)::

    ballast_apiserver_clients_requests_total{client="nodes",code="2xx",namespace="default",resource="configmaps",
        user_agent="kubelet",verb="get"} 4711.0
    ballast_apiserver_clients_remainder_requests_total 250.0
    ballast_apiserver_clients_retired_requests_total 39.0
    ballast_apiserver_clients_events_total 5000.0
    ballast_apiserver_clients_error_bound_requests 4.0
    ballast_apiserver_clients_replayed_events_total 0.0
    ballast_apiserver_clients_shed_events_total{reason="overload"} 0.0
    ballast_apiserver_clients_last_event_timestamp_seconds 1.8e+09

* A request is counted when it ends, a watch too: as the apiserver's own counters do, so that shares agree with them.
  What is open now is in ``ballast_apiserver_requests_longrunning``.
* ``client`` is the authenticated user; the users of nodes are ``nodes``, or ``nodes:GROUP`` with the setting
  ``node_group``. ``user_agent`` is the product alone. ``resource`` is ``deployments.apps`` or
  ``deployments/scale.apps``, empty where a request names none. ``code`` is a class, ``other`` where there is none.
* Only ``top`` series are told, each from 0 on. ``requests`` summed and ``remainder`` and ``retired`` are ``events`` at
  each scrape: ``remainder`` came while it had no series, ``retired`` is what the series had counted that are gone.
* ``error_bound``: no client, user agent, resource, verb, namespace and code that has no series had more requests in the
  current ten minutes, at most half of those in the ten before, and so on, taken together.
* What was sent a second time is in ``replayed`` alone. The last 131,072 requests are known again for certain.
* ``shed`` counts what was lost: ``overload`` (the queue was full), ``credential``, ``too_large``, ``encoding``,
  ``incomplete``, ``malformed``, ``version``. A body whose events cannot be counted counts as one. While some are lost
  the exporter's page says why, and its log when that begins and ends.
* ``last_event_timestamp`` is when the apiserver says that the last counted request ended; absent before the first.

Cost: no request to anybody; ``top`` series and about 15. The apiservers' cost: see docs/apiserver-clients.md.

Reads: audit events of level Metadata, as a webhook backend or from a log file (``audit`` in the configuration).
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ballast_exporter.audit_sink import REASONS, AuditSink, Bodies, Shed, tls_context
from ballast_exporter.config import AuditConfig, Config
from ballast_exporter.contract import RequestCounter, Snapshot
from kube_ballast.analysis.audit_clients import Key, Namer, Once
from kube_ballast.analysis.heavy_keys import HeavyKeys
from kube_ballast.clients.audit import Event, WrongVersion, decode_line, decode_list, events_in
from kube_ballast.clients.audit_log import AuditLog
from kube_ballast.clients.errors import BadResponse, Unavailable
from kube_ballast.config import split_address

NAME = "apiserver_clients"
HALVED_EVERY_SECONDS: Final = 600.0
_LOOK_SECONDS: Final = 0.5
_BATCH: Final = 400
_log = structlog.get_logger("ballast_exporter.apiserver_clients")


class Tally:
    """Counts events; what it says of a moment is consistent. Thread safe."""

    def __init__(self, top: int, namer: Namer, clock: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.Lock()
        self._namer = namer
        self._once = Once()
        self._keys: HeavyKeys[Key] = HeavyKeys(top)
        self._last = ""
        self._clock = clock
        self._halve_at = clock() + HALVED_EVERY_SECONDS

    def take(self, events: Iterable[Event]) -> None:
        """Count those that end a request."""
        ends, key, add = self._once.ends, self._namer.key, self._keys.add
        with self._lock:
            for event in events:
                if ends(event):
                    add(key(event))
                    self._last = event.at

    def families(self) -> tuple[Metric, ...]:
        """What is known; decides which keys are told from now on."""
        with self._lock:
            if self._clock() >= self._halve_at:
                self._halve_at = self._clock() + HALVED_EVERY_SECONDS
                self._keys.halve()
            self._keys.choose()
            return tuple(self._told())

    def _told(self) -> Iterable[Metric]:
        keys = self._keys
        requests = CounterMetricFamily(
            f"ballast_{NAME}_requests", "Requests that ended, of the busiest clients.", labels=Key._fields
        )
        for key, count in sorted(keys.told.items()):
            requests.add_metric(key, count)
        yield requests
        for name, text, value in (
            ("remainder_requests", "Requests that ended and are counted under no series.", keys.remainder),
            ("retired_requests", "Requests that were counted by series which are gone.", keys.retired),
            ("events", "Audit events that were counted, one a request.", keys.events),
            ("replayed_events", "Audit events that came a second time and were not counted.", self._once.replays),
        ):
            yield CounterMetricFamily(f"ballast_{NAME}_{name}", text, value)
        bound = "Recent requests that may have come at most under a key that has no series."
        yield GaugeMetricFamily(f"ballast_{NAME}_error_bound_requests", bound, keys.error_bound())
        last = GaugeMetricFamily(
            f"ballast_{NAME}_last_event_timestamp_seconds", "When the last counted request ended, in Unix seconds."
        )
        if (ended := _unix(self._last)) is not None:
            last.add_metric([], ended)
        yield last


class Source(Protocol):
    """Where events come from."""

    def run(self, take: Callable[[Iterable[Event]], None], stop: threading.Event) -> None:
        """Hand over events until ``stop`` is set. Raises ClientError when there can be none."""


class Unreadable:
    """Counts what cannot be understood, and says so once, not at every body."""

    def __init__(self, shed: Shed) -> None:
        self._shed = shed
        self._said = ""

    def unreadable(self, error: BadResponse, events: int) -> None:
        """Events that ``error`` cost."""
        self._shed.count("version" if isinstance(error, WrongVersion) else "malformed", events)
        if str(error) != self._said:
            _log.error("audit events were lost", error=str(error))
        self._said = str(error)


class Webhook:
    """Events that apiservers send."""

    def __init__(self, config: AuditConfig, shed: Shed) -> None:
        self._config = config
        self._shed = shed
        self._lost = Unreadable(shed)

    def run(self, take: Callable[[Iterable[Event]], None], stop: threading.Event) -> None:
        """Listen, and decode what comes. Raises Unavailable when the address cannot be had."""
        bodies = Bodies()
        with self._listening(bodies).serving():
            while not stop.is_set():
                body = bodies.get(_LOOK_SECONDS)
                if body is not None:
                    self._decode(body, take)
                    bodies.release(len(body))

    def _listening(self, bodies: Bodies) -> AuditSink:
        tls, listen = self._config.tls, self._config.listen
        assert tls is not None, "the configuration has both or neither"
        assert listen is not None, "the configuration has both or neither"
        try:
            context = tls_context(tls.cert, tls.key, tls.client_ca)
            return AuditSink(split_address(listen), context, bodies, self._shed, self._token)
        except OSError as error:
            raise Unavailable(listen, f"cannot take audit events there: {error.strerror or error}") from error

    def _token(self) -> str | None:
        file = self._config.token_file
        try:
            return None if file is None else file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            _log.error("nobody is let in: the token cannot be read", file=str(file), error=str(error))
            return ""

    def _decode(self, body: bytes, take: Callable[[Iterable[Event]], None]) -> None:
        try:
            take(decode_list(body, "an apiserver's audit webhook"))
        except BadResponse as error:
            self._lost.unreadable(error, events_in(body))


class Log:
    """Events that an apiserver writes to a file."""

    def __init__(self, path: Path, shed: Shed) -> None:
        self._path = path
        self._shed = shed
        self._lost = Unreadable(shed)

    def run(self, take: Callable[[Iterable[Event]], None], stop: threading.Event) -> None:
        """Follow the file from its end. Raises LocalDisk when it cannot be read."""
        with contextlib.closing(AuditLog(self._path, lambda: self._shed.count("too_large"))) as log:
            while not stop.wait(_LOOK_SECONDS):
                events = iter(self._decoded(log))
                while batch := list(islice(events, _BATCH)):
                    take(batch)

    def _decoded(self, log: AuditLog) -> Iterable[Event]:
        for line in log.lines():
            try:
                yield decode_line(line, str(self._path))
            except BadResponse as error:
                self._lost.unreadable(error, 1)


class ApiserverClients:
    """The collector; see the module's text for what it gives."""

    def __init__(self, source: Source, tally: Tally, shed: Shed) -> None:
        self._source = source
        self._tally = tally
        self._shed = shed
        self._lost = shed.totals()

    def run(self, stop: threading.Event) -> None:
        """Take events until ``stop`` is set. Raises ClientError when there can be none."""
        self._source.run(self._tally.take, stop)

    def snapshot(self) -> Snapshot:
        """What was counted."""
        shed = CounterMetricFamily(f"ballast_{NAME}_shed_events", "Audit events that were lost.", labels=["reason"])
        before, self._lost = self._lost, self._shed.totals()
        for reason, count in self._lost.items():
            shed.add_metric([reason], count)
        losing = [reason for reason, count in self._lost.items() if count > before[reason]]
        notes = tuple(f"audit events are lost ({reason}): {REASONS[reason]}" for reason in losing)
        return Snapshot((*self._tally.families(), shed), notes)

    def close(self) -> None:
        """Nothing is held open outside of ``run``."""


def build(config: Config, _requests: RequestCounter) -> ApiserverClients:
    """The collector for the audit events that are configured."""
    settings = config.collectors.apiserver_clients
    assert config.audit is not None, "without audit events this collector is not enabled"
    pattern = None if settings.node_group is None else re.compile(settings.node_group)
    shed = Shed()
    source = Webhook(config.audit, shed) if config.audit.log is None else Log(config.audit.log, shed)
    return ApiserverClients(source, Tally(settings.top, Namer(pattern)), shed)


def _unix(at: str) -> float | None:
    try:
        return datetime.fromisoformat(at).timestamp()
    except ValueError:
        return None
