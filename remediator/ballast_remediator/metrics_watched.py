"""What the remediator says of its work: what waits, what ended, what is late, and what is not as it should be."""

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ballast_remediator.contract import FINAL
from ballast_remediator.store import figures, heartbeats, notices
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable

_RUN_SECONDS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0)


class Verified(Protocol):
    """What is known of the audit's chain."""

    @property
    def problem(self) -> str | None:
        """What is wrong, in words."""

    @property
    def verified_at(self) -> float | None:
        """When all of it held last, in seconds since the epoch; None while nobody has looked here."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What else is looked at. ``expiring_within`` are seconds; ``lease_held`` is None where nobody shares the store."""

    clusters: Collection[str]
    expiring_within: float
    notices: bool
    audit: Verified | None = None
    lease_held: Callable[[], bool] | None = None


class OfRuns(Collector):
    """What ended since the start, as the audit tells it: each replica counts what all of them did."""

    def __init__(self, store: Store, runbooks: Callable[[], Collection[str]]) -> None:
        self._store = store
        self._runbooks = runbooks
        self._lock = threading.Lock()
        self._seen: int | None = None
        self._ended = Counter(
            "ballast_remediator_runs_ended_total",
            "Runs that ended, by runbook and state. Every replica counts those of all: take the max, not the sum.",
            ["runbook", "state"],
            registry=None,
        )
        self._seconds = Histogram(
            "ballast_remediator_run_duration_seconds",
            "From a run's first step to its end, by runbook. Every replica counts the runs of all.",
            ["runbook"],
            buckets=_RUN_SECONDS,
            registry=None,
        )

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            try:
                self._follow()
            except StoreUnavailable:
                return  # what was counted before is told when it can be read again, with what came meanwhile
            yield from self._ended.collect()
            yield from self._seconds.collect()

    def _follow(self) -> None:
        if self._seen is None:
            self._seen = self._store.read(figures.head)
        for runbook in self._runbooks():  # from 0 on, so that the first one is seen as an increase
            self._seconds.labels(runbook)
            for state in FINAL:
                self._ended.labels(runbook, state)
        self._seen, ended = self._store.read(figures.ended, after=self._seen)
        for run in ended:
            self._ended.labels(run.runbook, run.state).inc()
            if run.seconds is not None:
                self._seconds.labels(run.runbook).observe(run.seconds)


class OfWatched(Collector):
    """What waits, what is late and what is not as it should be; unknown, and left out, while the store is."""

    def __init__(self, store: Store, watched: Watched) -> None:
        self._store = store
        self._watched = watched

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from self._of_this_process()
        try:
            found = self._store.read(figures.standing, expiring_within=self._watched.expiring_within)
            beats = self._store.read(heartbeats.told, self._watched.clusters)
            outbox = self._store.read(notices.outbox) if self._watched.notices else None
        except StoreUnavailable:
            return
        yield from _of_standing(found)
        yield from _of_heartbeats(beats)
        if outbox is not None:
            yield from _of_outbox(outbox)

    def _of_this_process(self) -> Iterator[Metric]:
        held = self._watched.lease_held
        if held is not None:
            yield GaugeMetricFamily(
                "ballast_remediator_lease_held",
                "1 while no other replica can have taken this one for dead; 0: it begins nothing.",
                value=float(held()),
            )
        audit = self._watched.audit
        if audit is None:
            return
        yield GaugeMetricFamily(
            "ballast_remediator_audit_problem",
            "1 while the audit is known not to be as it was written; the log says which entry.",
            value=float(audit.problem is not None),
        )
        if audit.verified_at is not None:
            yield GaugeMetricFamily(
                "ballast_remediator_audit_verified_timestamp_seconds",
                "When all of the audit held last, in seconds since the epoch. One replica looks.",
                value=audit.verified_at,
            )


def _of_standing(found: figures.Standing) -> Iterator[Metric]:
    runs = GaugeMetricFamily(
        "ballast_remediator_runs",
        "Runs that are open, or whose unknown outcome nobody has resolved yet, by runbook and state.",
        labels=["runbook", "state"],
    )
    for (runbook, state), count in sorted(found.runs.items()):
        runs.add_metric([runbook, state], count)
    yield runs
    oldest = GaugeMetricFamily(
        "ballast_remediator_oldest_open_run_age_seconds",
        "Since the oldest open run was opened, or has begun its steps, by state.",
        labels=["state"],
    )
    for state, age in sorted(found.oldest.items()):
        oldest.add_metric([state], age)
    yield oldest
    yield GaugeMetricFamily(
        "ballast_remediator_approvals_expiring",
        "Runs that wait for a person and have less than a third of their time left.",
        value=found.expiring,
    )
    yield GaugeMetricFamily(
        "ballast_remediator_replicas", "Replicas that share the store and are not taken for dead.", value=found.replicas
    )
    yield GaugeMetricFamily(
        "ballast_remediator_audit_entries", "Entries of the audit that are kept.", value=found.audit_entries
    )
    if found.oldest_ended is not None:
        yield GaugeMetricFamily(
            "ballast_remediator_oldest_ended_run_age_seconds",
            "Since the oldest run ended that is still kept; retention bounds it.",
            value=found.oldest_ended,
        )


def _of_heartbeats(beats: Collection[heartbeats.Heartbeat]) -> Iterator[Metric]:
    missing = GaugeMetricFamily(
        "ballast_remediator_heartbeat_missing",
        "1 for a cluster of the configuration whose heartbeat has not come for too long, or never did.",
        labels=["watched_cluster"],
    )
    age = GaugeMetricFamily(
        "ballast_remediator_heartbeat_age_seconds",
        "Since a cluster's heartbeat came last; absent where it never did.",
        labels=["watched_cluster"],
    )
    for beat in beats:
        missing.add_metric([beat.cluster], float(beat.missing))
        if beat.age is not None:
            age.add_metric([beat.cluster], beat.age)
    yield missing
    yield age


def _of_outbox(outbox: notices.Outbox) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "ballast_remediator_notices_waiting", "Notices to people that were not taken yet.", value=outbox.waiting
    )
    yield GaugeMetricFamily(
        "ballast_remediator_notices_oldest_age_seconds", "Since the oldest of them was written.", value=outbox.oldest
    )
    yield GaugeMetricFamily(
        "ballast_remediator_notices_given_up", "Notices of the last day that were given up.", value=outbox.given_up
    )
