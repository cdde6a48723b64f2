"""What a collector gives and gets. ``core.py`` runs it; a collector knows neither clocks nor threads of the exporter.

Two kinds of collector:

``Poll``
    asks its sources once per call. ``core`` calls it on the collector's own clock.
``Stream``
    holds something open (a watch, a sink) and says at any moment what it knows.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    # ballastctl stands on this module too, and is installed without the exporter's dependencies.
    from prometheus_client.core import Metric


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time by which an answer is wanted; ``at`` is in seconds of ``clock``."""

    at: float
    clock: Callable[[], float] = time.monotonic

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - self.clock())


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict as `/evidence` tells it, such as ``grpc_stall`` on an apiserver; times are Unix seconds."""

    kind: str
    subject: str
    verdict: str
    reasons: tuple[str, ...]
    observed_at: float
    valid_until: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one look at the sources gave.

    ``families`` are whole metric families: what is unknown is absent from them, never 0. ``notes`` say in words which
    source gave nothing and why; they are for people (the status page and the log), no metric is made of them.
    ``evidence`` is for the remediator.
    """

    families: tuple["Metric", ...]
    notes: tuple[str, ...] = ()
    evidence: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class KubernetesRule:
    """What a collector asks of an apiserver, as RBAC puts it; ``make generate`` makes deploy/kubernetes/rbac.yaml.

    Either ``resources`` of one API ``group``, in one ``namespace`` or in all, or ``urls`` that are no resources. With
    ``names`` no other object may be read.
    """

    verbs: tuple[str, ...]
    resources: tuple[str, ...] = ()
    group: str = ""
    namespace: str | None = None
    urls: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Poll(Protocol):
    """Asked again and again; never by two callers at once."""

    def collect(self, deadline: Deadline) -> Snapshot:
        """One look at the sources, finished by ``deadline``.

        A source that is down is data. Raises whatever makes the whole look worthless: then nothing is reported.
        """

    def close(self) -> None:
        """Let go of connections. May be called while a hung ``collect`` still runs."""


@runtime_checkable
class Stream(Protocol):
    """Runs until told to stop."""

    def run(self, stop: threading.Event) -> None:
        """Hold the sources open until ``stop`` is set. Raises when that fails; it is run again an interval later."""

    def snapshot(self) -> Snapshot:
        """What is known now, without waiting for any source. Raises when that is too old to be told."""

    def close(self) -> None:
        """Let go of connections. May be called while a hung ``run`` has not come back."""


Kind = Literal["apiserver", "etcd"]
"""What a target is: Ballast's share of the apiservers' requests is made of those that went to apiservers."""


class RequestCounter:
    """Counts what a collector costs those it asks, by kind of target and target. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[Kind, str]] = Counter()

    def count(self, kind: Kind, target: str) -> None:
        """One request to ``target`` is about to be sent."""
        with self._lock:
            self._counts[kind, target] += 1

    def totals(self) -> Mapping[tuple[Kind, str], int]:
        """Requests so far by kind and target."""
        with self._lock:
            return dict(self._counts)
