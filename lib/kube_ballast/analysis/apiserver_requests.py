"""What one apiserver's page of metrics says of the requests it serves, the same for Kubernetes 1.30 to 1.37. Pure.

Sources: kubernetes v1.30 to v1.37, apiserver/pkg/endpoints/metrics/metrics.go (requests, open ones, response sizes),
apiserver/pkg/util/flowcontrol/metrics/metrics.go, apiserver/pkg/storage/etcd3/metrics/metrics.go (objects: one label
``resource`` up to 1.33, ``group`` and ``resource`` under a new name since 1.34; estimates of sizes since 1.34),
apiserver/pkg/audit/metrics.go (events made, and those that a plugin of the audit lost).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kube_ballast.analysis.keyspace import Resource
from kube_ballast.clients.exposition import Sample

OTHER: Final = Resource("", "(other)")
"""All resources that are not told by name."""

_REASONS: Final = ("queue-full", "concurrency-limit", "time-out")
_PLUGINS: Final = ("buffered", "webhook")
"""Of the audit: what waits for a backend, and the one that sends. Others come with the first event that they lose."""
_SINCE_134, _UP_TO_133 = "apiserver_resource_objects", "apiserver_storage_objects"

ByVerb = tuple[Resource, str]
"""A resource and the verb, as the apiserver reports it: GET, LIST, WATCH, CONNECT, POST, PUT, PATCH, APPLY, ..."""


def _zeros() -> defaultdict[Any, float]:
    return defaultdict(float)


@dataclass(slots=True)
class Tally:
    """Takes a page's samples and sums them over every label that is not kept. A value that is not finite is unknown.

    ``started`` is the process's start in Unix seconds; None on a page that does not say. ``requests`` has the class of
    the status code behind resource and verb: ``2xx``. ``rejected`` is by priority level and reason; it and ``queued``
    (requests waiting, by priority level) have an entry for each level there is: upstream's begin with the first event.
    ``audit_events`` is how many were made, None on a page that does not say; ``audit_lost`` those that a plugin lost.
    """

    started: float | None = None
    requests: defaultdict[tuple[Resource, str, str], float] = field(default_factory=_zeros)
    longrunning: defaultdict[ByVerb, float] = field(default_factory=_zeros)
    response_bytes: defaultdict[ByVerb, float] = field(default_factory=_zeros)
    rejected: defaultdict[tuple[str, str], float] = field(default_factory=_zeros)
    queued: defaultdict[str, float] = field(default_factory=_zeros)
    objects: dict[Resource, float] = field(default_factory=dict)
    objects_bytes: dict[Resource, float] = field(default_factory=dict)
    audit_events: float | None = None
    audit_lost: defaultdict[str, float] = field(default_factory=_zeros)

    @property
    def is_an_apiservers(self) -> bool:
        """Whether the page was an apiserver's at all; each has its start time, and requests of its own."""
        return self.started is not None and bool(self.requests)

    def take(self, sample: Sample) -> None:
        """One sample, of a metric in ``METRICS``."""
        _TAKERS[sample.name](self, sample.labels, sample.value)


def _resource(labels: Mapping[str, str]) -> Resource:
    return Resource(labels.get("group", ""), labels.get("resource", ""))


def _by_verb(labels: Mapping[str, str]) -> ByVerb:
    return _resource(labels), labels.get("verb", "")


def _code_class(code: str) -> str:
    return f"{code[0]}xx" if len(code) == len("200") and code.isdigit() else "other"


def _start(tally: Tally, _: Mapping[str, str], value: float) -> None:
    tally.started = value


def _request(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    tally.requests[*_by_verb(labels), _code_class(labels.get("code", ""))] += value


def _longrunning(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    tally.longrunning[_by_verb(labels)] += value


def _response_bytes(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    tally.response_bytes[_by_verb(labels)] += value


def _level(tally: Tally, labels: Mapping[str, str], _: float) -> None:
    level = labels.get("priority_level", "")
    tally.queued[level] += 0
    for reason in _REASONS:
        tally.rejected[level, reason] += 0


def _rejected(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    tally.rejected[labels.get("priority_level", ""), labels.get("reason", "")] += value


def _queued(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    tally.queued[labels.get("priority_level", "")] += value


def _objects(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    if value >= 0:  # -1 is upstream's "could not be counted"
        tally.objects[_resource(labels)] = value


def _objects_up_to_133(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    resource, _, group = labels.get("resource", "").partition(".")
    _objects(tally, {"group": group, "resource": resource}, value)


def _objects_bytes(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    if value >= 0:
        tally.objects_bytes[_resource(labels)] = value


def _audit_events(tally: Tally, _: Mapping[str, str], value: float) -> None:
    tally.audit_events = value
    for plugin in _PLUGINS:
        tally.audit_lost[plugin] += 0


def _audit_lost(tally: Tally, labels: Mapping[str, str], value: float) -> None:
    tally.audit_lost[labels.get("plugin", "")] += value


_TAKERS: Final = {
    "process_start_time_seconds": _start,
    "apiserver_request_total": _request,
    "apiserver_longrunning_requests": _longrunning,
    "apiserver_response_sizes_sum": _response_bytes,
    "apiserver_flowcontrol_nominal_limit_seats": _level,
    "apiserver_flowcontrol_rejected_requests_total": _rejected,
    "apiserver_flowcontrol_current_inqueue_requests": _queued,
    _SINCE_134: _objects,
    _UP_TO_133: _objects_up_to_133,
    "apiserver_resource_size_estimate_bytes": _objects_bytes,
    "apiserver_audit_event_total": _audit_events,
    "apiserver_audit_error_total": _audit_lost,
}
METRICS: Final = tuple(_TAKERS)
"""What a page is filtered for."""


class Names:
    """Which resources are told by name: the busiest of the first look, then each as it comes, while there is room.

    A name that was given stays, and what once was counted as other does so for ever: no counter ever goes down.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._told: set[Resource] = set()
        self._other: set[Resource] = set()

    @property
    def left_out(self) -> int:
        """How many resources are counted together."""
        return len(self._other)

    def learn(self, tallies: Iterable[Tally]) -> None:
        """Give names to the resources that are new, in the order of their requests."""
        requests: dict[Resource, float] = defaultdict(float)
        for tally in tallies:
            for (resource, _, _), count in tally.requests.items():
                requests[resource] += count
            for resource in (*(key[0] for key in tally.longrunning), *tally.objects, *tally.objects_bytes):
                requests[resource] += 0
        for resource, _ in sorted(requests.items(), key=lambda item: (-item[1], item[0])):
            if resource not in self._told and resource not in self._other:
                (self._told if len(self._told) < self._limit else self._other).add(resource)

    def name(self, resource: Resource) -> Resource:
        """As it is told."""
        return resource if resource in self._told else OTHER
