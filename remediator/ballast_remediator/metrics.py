"""What the remediator says of itself. No label holds anything of an alert, so it is shown without credentials."""

import os
from collections import Counter as Counts
from collections.abc import Callable, Collection, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ballast_remediator.contract import StopKind
from ballast_remediator.metrics_watched import OfRuns, OfWatched, Watched
from ballast_remediator.store import reading, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable
from kube_ballast import __version__

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_REFUSALS: Final = ("400", "401", "403", "413", "503")


class Metrics:
    """The registry and what is counted as it happens."""

    def __init__(
        self,
        store: Store,
        *,
        engine_problem: Callable[[], str | None],
        ignored_alerts: Callable[[], int],
        set_aside: Callable[[], int],
        tokens_problem: Callable[[], str | None],
        policy_problem: Callable[[], str | None],
        policy_digest: Callable[[], str],
        kill_switch_file: Callable[[], str | None],
        runbooks: Callable[[], Collection[str]],
        watched: Watched,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # each is a series nobody asks for
        self.registry = CollectorRegistry()
        Gauge(
            "ballast_remediator_build_info", "1, labelled with the version.", ["version"], registry=self.registry
        ).labels(__version__).set(1)
        self.accepted = Counter(
            "ballast_remediator_notifications_accepted_total",
            "Notifications that were on disk before they were answered 202.",
            registry=self.registry,
        )
        self._refused = Counter(
            "ballast_remediator_notifications_refused_total",
            "Notifications that were refused, by HTTP status code; Alertmanager repeats only after a 5xx.",
            ["code"],
            registry=self.registry,
        )
        for code in _REFUSALS:
            self._refused.labels(code)
        self.ingest_seconds = Histogram(
            "ballast_remediator_ingest_duration_seconds",
            "From a notification's arrival, read whole, to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.registry.register(_OnScrape(store, engine_problem, ignored_alerts, set_aside, tokens_problem))
        self.registry.register(_OfPolicy(policy_problem, policy_digest))
        self.registry.register(_OfStops(store, kill_switch_file))
        self.registry.register(OfRuns(store, runbooks))
        self.registry.register(OfWatched(store, watched))
        writes = Histogram(
            "ballast_remediator_store_write_duration_seconds",
            "From asking for a write to its commit being on disk, or to its failure.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        store.observe_writes(writes.observe)

    def refused(self, code: int) -> None:
        """One notification was answered with ``code``."""
        self._refused.labels(str(code)).inc()


class _OnScrape(Collector):
    """What is looked up when it is asked for; a store that cannot be read leaves its families out."""

    def __init__(
        self,
        store: Store,
        engine_problem: Callable[[], str | None],
        ignored_alerts: Callable[[], int],
        set_aside: Callable[[], int],
        tokens_problem: Callable[[], str | None],
    ) -> None:
        self._store = store
        self._engine_problem = engine_problem
        self._ignored_alerts = ignored_alerts
        self._set_aside = set_aside
        self._tokens_problem = tokens_problem

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ballast_remediator_engine_working",
            "1 while runs are planned and carried out; /readyz says why not.",
            value=float(self._engine_problem() is None),
        )
        yield CounterMetricFamily(
            "ballast_remediator_alerts_ignored",
            "Alerts that no run answers, such as one of a cluster that is not configured; the log says why.",
            value=self._ignored_alerts(),
        )
        yield CounterMetricFamily(
            "ballast_remediator_notifications_set_aside",
            "Accepted notifications that could not be filed for a fault of the program; the audit says why.",
            value=self._set_aside(),
        )
        yield GaugeMetricFamily(
            "ballast_remediator_tokens_file_in_force",
            "1 while the tokens file is in force as it is; 0: it cannot be used and the last good one is.",
            value=float(self._tokens_problem() is None),
        )
        try:
            backlog = self._store.read(reading.backlog)
        except StoreUnavailable:
            yield _up(value=False)
            return
        yield _up(value=self._store.problem() is None)
        yield GaugeMetricFamily(
            "ballast_remediator_notifications_unfiled", "Accepted notifications that became no run yet.", value=backlog
        )


class _OfPolicy(Collector):
    """Which policy is in force, and whether it is the one that was written last."""

    def __init__(self, problem: Callable[[], str | None], digest: Callable[[], str]) -> None:
        self._problem = problem
        self._digest = digest

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ballast_remediator_policy_problem",
            "1 while the policy file cannot be used as it is and the last good one is in force; the log says why.",
            value=float(self._problem() is not None),
        )
        info = GaugeMetricFamily(
            "ballast_remediator_policy_info", "1, labelled with the digest of the policy in force.", labels=["digest"]
        )
        info.add_metric([self._digest()], 1.0)
        yield info


class _OfStops(Collector):
    """What keeps runs from beginning; unknown, and left out, while the store cannot be read."""

    def __init__(self, store: Store, kill_switch_file: Callable[[], str | None]) -> None:
        self._store = store
        self._kill_switch_file = kill_switch_file

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            in_force = self._store.read(stops.in_force)
        except StoreUnavailable:
            return
        file = self._kill_switch_file()
        found = Counts(stop.kind for stop in in_force)
        found[StopKind.KILL_SWITCH] += file is not None
        family = GaugeMetricFamily(
            "ballast_remediator_stops",
            "Stops in force, by kind; the kill switch's file counts as one.",
            labels=["kind"],
        )
        for kind in StopKind:
            family.add_metric([kind], found[kind])
        yield family
        since = GaugeMetricFamily(
            "ballast_remediator_stops_endless_since_timestamp_seconds",
            "When the oldest stop without an end was set, by kind, in seconds since the epoch.",
            labels=["kind"],
        )
        endless = {stop.kind: stop.set_at for stop in reversed(in_force) if stop.until is None}
        if file is not None and (made := _made(file)) is not None:
            endless[StopKind.KILL_SWITCH] = min(made, endless.get(StopKind.KILL_SWITCH, made))
        for kind, at in endless.items():
            since.add_metric([kind], at)
        yield since


def _made(file: str) -> float | None:
    try:
        return os.lstat(file).st_mtime
    except OSError:
        return None


def _up(*, value: bool) -> Metric:
    words = "1 while the store can be read and its last write succeeded; /readyz says why not."
    return GaugeMetricFamily("ballast_remediator_store_up", words, value=float(value))
