"""What an apiserver's own page of metrics says of its way to etcd: calls that do not end, resources that get nowhere.

It is asked for in the background and may be a quarter of a minute old, so it explains a verdict and never makes one.
Pure. Sources: go-grpc-prometheus, client_metrics.go (``grpc_client_started_total`` when a call begins,
``grpc_client_handled_total`` when it has ended); kubernetes v1.30 to v1.37,
apiserver/pkg/storage/etcd3/metrics/metrics.go (``etcd_requests_total`` and ``etcd_request_errors_total``, both when a
request has ended: the label ``type`` up to 1.33, ``group`` and ``resource`` since 1.34; the storage's size is asked of
etcd while the page is written, and is left out where etcd does not say).
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kube_ballast.analysis.apiserver_requests import Tally
from kube_ballast.clients.exposition import Sample

_STARTED, _HANDLED = "grpc_client_started_total", "grpc_client_handled_total"
_REQUESTS, _ERRORS = "etcd_requests_total", "etcd_request_errors_total"
_SIZE: Final = "apiserver_storage_size_bytes"
_WHO: Final = ("process_start_time_seconds", "apiserver_request_total")
"""By which it is told which apiserver the page is of."""
METRICS: Final = (_STARTED, _HANDLED, _REQUESTS, _ERRORS, _SIZE, *_WHO)
"""What a page is filtered for."""
_SERVICE: Final = "etcdserverpb."
"""gRPC to others, such as plugins that encrypt, is none of this."""


def _zeros() -> defaultdict[str, float]:
    return defaultdict(float)


@dataclass(slots=True)
class Page:
    """Takes a page's samples. Only unary calls are counted: a watch is meant to stay open.

    ``began`` and ``ended`` are when it was asked for and there, in the caller's seconds; its counts are of some moments
    between. ``started`` and ``handled`` are calls by gRPC method, ``codes`` those that ended by status code;
    ``requests`` and ``errors`` are by resource, such as ``leases.coordination.k8s.io``. ``who`` is for `Identities`.
    """

    began: float
    ended: float = math.inf
    started: defaultdict[str, float] = field(default_factory=_zeros)
    handled: defaultdict[str, float] = field(default_factory=_zeros)
    codes: defaultdict[str, float] = field(default_factory=_zeros)
    requests: defaultdict[str, float] = field(default_factory=_zeros)
    errors: defaultdict[str, float] = field(default_factory=_zeros)
    size_known: bool = False
    who: Tally = field(default_factory=Tally)

    def take(self, sample: Sample) -> None:
        """One sample, of a metric in ``METRICS``."""
        name, labels, value = sample.name, sample.labels, sample.value
        if name in _WHO:
            self.who.take(sample)
        elif name == _SIZE:
            self.size_known = True
        elif name in {_REQUESTS, _ERRORS}:
            (self.requests if name == _REQUESTS else self.errors)[_resource(labels)] += value
        elif labels.get("grpc_type") == "unary" and labels.get("grpc_service", "").startswith(_SERVICE):
            method = labels.get("grpc_method", "")
            (self.started if name == _STARTED else self.handled)[method] += value
            if name == _HANDLED:
                self.codes[labels.get("grpc_code", "")] += value

    def open_calls(self) -> Mapping[str, int]:
        """Calls that began and have not ended, by method. The page is no snapshot: a count below 0 is 0."""
        return {method: max(0, int(count - self.handled[method])) for method, count in sorted(self.started.items())}

    def succeeded(self) -> Mapping[str, float]:
        """Requests that ended without an error, by resource."""
        return {name: max(0.0, count - self.errors[name]) for name, count in sorted(self.requests.items())}


def _resource(labels: Mapping[str, str]) -> str:
    if "type" in labels:
        return labels["type"]
    return ".".join(part for part in (labels.get("resource", ""), labels.get("group", "")) if part)


def same_process(one: Page, other: Page) -> bool:
    """Whether the counts go on."""
    return one.who.started == other.who.started


def oldest_call(pages: Sequence[Page]) -> float:
    """Seconds that the oldest open call is open at least; 0 when none is known to be. ``pages`` are in order of time.

    If fewer calls have ended by the last page than had begun by an earlier one, one of those that had begun by then is
    open still. Where many calls come and go beside one that hangs, this says less than there is.
    """
    last = pages[-1]
    for page in pages[:-1]:
        if any(begun > last.handled[method] for method, begun in page.started.items()):
            return max(0.0, last.began - page.ended)
    return 0.0


def failing_resources(before: Page, after: Page) -> tuple[str, ...]:
    """The resources whose requests to etcd have ended between the two pages in errors and in nothing else."""
    old, new = before.succeeded(), after.succeeded()
    return tuple(
        sorted(
            name
            for name, count in after.errors.items()
            if count > before.errors[name] and new.get(name, 0.0) <= old.get(name, 0.0)
        )
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """What the newest page says, with those before it."""

    open_calls: Mapping[str, int]
    oldest_seconds: float
    codes: Mapping[str, float]
    succeeded: Mapping[str, float]
    failing: tuple[str, ...]
    size_known: bool

    def words(self) -> tuple[str, ...]:
        """What of it speaks of trouble; nothing where there is none."""
        said = []
        calls = ", ".join(f"{count} {method}" for method, count in self.open_calls.items() if count)
        if self.oldest_seconds:
            said.append(f"calls to etcd do not end ({calls}; the oldest for {self.oldest_seconds:.0f} s or longer)")
        if self.failing:
            said.append(f"requests to etcd end in errors only for {', '.join(self.failing)}")
        if not self.size_known:
            said.append("it cannot say how large etcd is")
        return (f"by its own metrics: {'; '.join(said)}",) if said else ()


def progress(pages: Sequence[Page]) -> Progress:
    """What ``pages`` of one process say, in order of time; at least one."""
    last = pages[-1]
    return Progress(
        open_calls=last.open_calls(),
        oldest_seconds=oldest_call(pages),
        codes=dict(sorted(last.codes.items())),
        succeeded=last.succeeded(),
        failing=failing_resources(pages[-2], last) if len(pages) > 1 else (),
        size_known=last.size_known,
    )
