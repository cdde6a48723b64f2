"""What a ballast-exporter has counted of the apiservers' requests up to one moment, and which counts those are."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from kube_ballast.clients.errors import Unavailable
from kube_ballast.clients.exporter import SUCCESS
from kube_ballast.clients.exposition import Sample

Source = Literal["apiserver_clients", "apiserver_requests"]
Key = tuple[str, ...]
"""Values of the labels of a series, in the order of `LABELS`."""

CLIENTS: Final[Source] = "apiserver_clients"
REQUESTS: Final[Source] = "apiserver_requests"
LABELS: Final[Mapping[Source, tuple[str, ...]]] = {
    CLIENTS: ("client", "user_agent", "resource", "verb", "namespace", "code"),
    REQUESTS: ("apiserver", "resource", "verb", "code"),
}

_WHEN: Final = "ballast_collector_last_success_timestamp_seconds"
_COUNTED: Final = {f"ballast_{source}_requests_total": source for source in (CLIENTS,)} | {
    f"ballast_{REQUESTS}_total": REQUESTS
}
_EVENTS: Final = "ballast_apiserver_clients_events_total"
_BOUND: Final = "ballast_apiserver_clients_error_bound_requests"
_SHED: Final = "ballast_apiserver_clients_shed_events_total"
_OPEN: Final = "ballast_apiserver_requests_longrunning"
_READABLE: Final = "ballast_apiserver_requests_readable"
METRICS: Final = (*_COUNTED, _WHEN, _EVENTS, _BOUND, _SHED, _OPEN, _READABLE)
"""What a page is filtered for."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The counts of one source; ``at`` (Unix seconds) is when the exporter took them, not when it was asked.

    ``all`` has each whole that the series belong to: all audit events, or the requests of each apiserver. ``open`` are
    long-running requests by resource and verb, None where nobody counts them.
    """

    source: Source
    at: float
    series: Mapping[Key, float]
    all: Mapping[str, float]
    error_bound: float | None
    shed: Mapping[str, float]
    open: Mapping[tuple[str, str], float] | None
    unreadable: tuple[str, ...]
    failing: tuple[str, ...]


@dataclass(slots=True)
class _Page:
    """A page's samples, sorted."""

    collectors: dict[str, bool] = field(default_factory=dict)
    when: dict[str, float] = field(default_factory=dict)
    series: dict[Source, dict[Key, float]] = field(default_factory=lambda: {CLIENTS: {}, REQUESTS: {}})
    single: dict[str, float] = field(default_factory=dict)
    shed: dict[str, float] = field(default_factory=dict)
    open: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    unreadable: list[str] = field(default_factory=list)

    def take(self, sample: Sample) -> None:
        labels, value = sample.labels, sample.value
        if not math.isfinite(value):
            return
        if source := _COUNTED.get(sample.name):
            named = {**labels, "resource": _resource(labels), "verb": labels.get("verb", "").lower()}
            key = tuple(named.get(label, "") for label in LABELS[source])
            self.series[source][key] = self.series[source].get(key, 0.0) + value
        elif sample.name == SUCCESS:
            self.collectors[labels.get("collector", "")] = value == 1
        elif sample.name == _WHEN:
            self.when[labels.get("collector", "")] = value
        elif sample.name == _SHED:
            self.shed[labels.get("reason", "")] = value
        elif sample.name == _OPEN:
            self.open[_resource(labels), labels.get("verb", "").lower()] += value
        elif sample.name == _READABLE:
            self.unreadable += [labels.get("apiserver", "")] if value == 0 else []
        else:
            self.single[sample.name] = value


def _resource(labels: Mapping[str, str]) -> str:
    """As audit events have it: `deployments.apps`; audit events come with the group in the name already."""
    name, group = labels.get("resource", ""), labels.get("group", "")
    return f"{name}.{group}" if group else name


def reading(url: str, samples: Iterable[Sample]) -> Reading:
    """Of audit events where the exporter takes them, else of the apiservers' own metrics.

    Raises Unavailable when it counts neither at present, with the reason.
    """
    page = _Page()
    for sample in samples:
        page.take(sample)
    works = [each for each in (CLIENTS, REQUESTS) if page.collectors.get(each) and each in page.when]
    failing = tuple(each for each in (CLIENTS, REQUESTS) if page.collectors.get(each) is False)
    if CLIENTS in works and _EVENTS not in page.single:
        works.remove(CLIENTS)
    if not works:
        raise Unavailable(url, _why_nothing(url, page, failing))
    source = works[0]
    return Reading(
        source=source,
        at=page.when[source],
        series=page.series[source],
        all=_wholes(source, page),
        error_bound=page.single.get(_BOUND) if source == CLIENTS else None,
        shed=page.shed if source == CLIENTS else {},
        open=page.open if REQUESTS in works else None,
        unreadable=tuple(sorted(page.unreadable)),
        failing=failing,
    )


def _wholes(source: Source, page: _Page) -> Mapping[str, float]:
    if source == CLIENTS:
        return {"": page.single[_EVENTS]}
    sums: dict[str, float] = {}
    for key, count in page.series[source].items():
        sums[key[0]] = sums.get(key[0], 0.0) + count
    return sums


def _why_nothing(url: str, page: _Page, failing: tuple[str, ...]) -> str:
    if failing:
        return f"the exporter's {' and '.join(failing)} cannot count at present; {url}/ says why"
    if any(each in page.collectors for each in (CLIENTS, REQUESTS)):
        return "the exporter has just begun to count; ask again in a minute"
    return (
        "the exporter counts no requests: configure `apiservers` for what is asked, and `audit` for who asks "
        "(docs/configuration.md, docs/apiserver-clients.md)"
    )
