"""The metric families of the collector ``etcd_keyspace``; its text says what they mean."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from ballast_exporter.census import CensusError, Progress
from kube_ballast.analysis.census import REST, Census, Usage, together
from kube_ballast.analysis.keyspace import Resource, readable
from kube_ballast.analysis.space import Split
from kube_ballast.clients.errors import ClientError

MOST_STRANGERS = 10
MOST_OBJECTS = 20


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one etcd.

    ``seconds`` lie between the last census and the one before, None before the second; ``error`` is why the newest
    attempt came to nothing, ``progress`` how far the one under way is.
    """

    census: Census | None = None
    seconds: float | None = None
    split: Split | None = None
    error: CensusError | ClientError | None = None
    progress: Progress | None = None


class _Gauge:
    """One family, and its samples for what is known."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.family = GaugeMetricFamily(f"ballast_etcd_keyspace_{name}", text, labels=["etcd_cluster", *labels])

    def add(self, cluster: str, value: float | None, *labels: str) -> None:
        """One sample; none when the value is unknown."""
        if value is not None:
            self.family.add_metric([cluster, *labels], value)


def families(known: Mapping[str, Known], top: int, *, object_names: bool) -> Iterator[Metric]:
    """All of them, of each etcd by its name; ``top`` resources are told one by one."""
    counted = {name: each for name, each in known.items() if each.census is not None}
    yield from _resources(counted, top)
    yield from _whole(counted)
    yield from _foreign(counted)
    yield from _space(counted)
    success = _Gauge("census_success", "Whether the last attempt at a census ended well.")
    for name, each in known.items():
        if each.census is not None or each.error is not None:
            success.add(name, each.error is None)
    yield success.family
    if object_names:
        yield from _objects(counted)


def _resources(known: Mapping[str, Known], top: int) -> Iterator[Metric]:
    parts = {name: _top(each.census, top) for name, each in known.items() if each.census is not None}
    for metric, text, value in _PER_RESOURCE:
        gauge = _Gauge(metric, text, "group", "resource")
        for name, usages in parts.items():
            for resource, usage in usages:
                gauge.add(name, value(usage), resource.group, resource.resource)
        yield gauge.family
    rate = _Gauge(
        "writes_per_second",
        "Writes between the last two censuses, of keys that are still there.",
        "group",
        "resource",
    )
    for name, usages in parts.items():
        for resource, usage in usages:
            rate.add(name, _rate(usage.writes, known[name].seconds), resource.group, resource.resource)
    yield rate.family


_PER_RESOURCE: tuple[tuple[str, str, Callable[[Usage], float | None]], ...] = (
    ("keys", "Keys as of the last whole census.", lambda usage: usage.keys),
    ("live_bytes", "What etcd stores for these keys, without superseded revisions.", lambda usage: usage.stored),
    (
        "sampling_error_bytes",
        "With 95 % confidence the live bytes are right within this; 0 when all sizes were read.",
        lambda usage: usage.error,
    ),
    (
        "largest_bytes",
        "What the largest object takes, of those whose size was read.",
        lambda usage: usage.largest[0].size if usage.largest else None,
    ),
)


def _top(census: Census, most: int) -> list[tuple[Resource, Usage]]:
    """The resources with the largest share of anything, and the rest as one."""
    stored, writes = census.stored or 0.0, census.writes or 0

    def share(usage: Usage) -> float:
        parts = ((usage.stored or 0.0, stored), (usage.keys, census.keys), (usage.writes or 0, writes))
        return max(part / whole if whole else 0.0 for part, whole in parts)

    apart = census.usage.keys() - {Resource("", REST)}
    ordered = sorted(apart, key=lambda resource: (-share(census.usage[resource]), resource))
    told = sorted(ordered[:most])
    rest = together(census.usage[resource] for resource in census.usage.keys() - set(told))
    return [(each, census.usage[each]) for each in told] + ([] if rest is None else [(Resource("", REST), rest)])


def _rate(count: int | None, seconds: float | None) -> float | None:
    return None if count is None or not seconds else count / seconds


def _whole(known: Mapping[str, Known]) -> Iterator[Metric]:
    rate = _Gauge(
        "unattributed_writes_per_second",
        "Revisions between the last two censuses of keys that are gone or were made anew meanwhile.",
    )
    for name, each in known.items():
        rate.add(name, None if each.census is None else _rate(each.census.unattributed, each.seconds))
    yield rate.family
    for metric, text, value in _PER_CENSUS:
        gauge = _Gauge(metric, text)
        for name, each in known.items():
            gauge.add(name, None if each.census is None else value(each.census))
        yield gauge.family


_PER_CENSUS: tuple[tuple[str, str, Callable[[Census], float | None]], ...] = (
    ("census_timestamp_seconds", "When the last whole census ended, in Unix seconds.", lambda census: census.ended),
    ("census_duration_seconds", "How long it took, pauses included.", lambda census: census.ended - census.began),
    ("census_revision", "The revision at which all keys were read.", lambda census: census.revision),
    ("census_exact", "Whether every size was read; if not, live bytes are an estimate.", lambda census: census.exact),
    (
        "census_restarts",
        "How often it began anew because its revision was compacted away.",
        lambda census: census.restarts,
    ),
)


def _foreign(known: Mapping[str, Known]) -> Iterator[Metric]:
    keys = _Gauge("foreign_keys", "Keys of which no configured apiserver is the owner.", "owner")
    stored = _Gauge(
        "foreign_bytes", "What etcd stores for keys of which no configured apiserver is the owner.", "owner"
    )
    for name, each in known.items():
        for owner, usage in _strangers(each.census.foreign if each.census else {}):
            keys.add(name, usage.keys, owner)
            stored.add(name, usage.stored, owner)
    yield keys.family
    yield stored.family


def _strangers(foreign: Mapping[str, Usage]) -> list[tuple[str, Usage]]:
    ordered = sorted(foreign.keys() - {REST}, key=lambda owner: (-(foreign[owner].stored or 0.0), -foreign[owner].keys))
    told = sorted(ordered[:MOST_STRANGERS])
    rest = together(foreign[owner] for owner in foreign.keys() - set(told))
    return [(owner, foreign[owner]) for owner in told] + ([] if rest is None else [(REST, rest)])


def _space(known: Mapping[str, Known]) -> Iterator[Metric]:
    gauge = _Gauge(
        "space_bytes",
        "The four parts of the database file: live data, room in half empty pages, history, free pages.",
        "part",
    )
    for name, each in known.items():
        split = each.split
        if split is not None:
            gauge.add(name, split.live, "live")
            gauge.add(name, split.half_empty, "half_empty")
            gauge.add(name, split.history, "history")
            gauge.add(name, split.free, "free")
    yield gauge.family


def _objects(known: Mapping[str, Known]) -> Iterable[Metric]:
    gauge = _Gauge("object_bytes", "The largest objects, by name.", "group", "resource", "key")
    for name, each in known.items():
        usage = each.census.usage if each.census else {}
        sized = ((found, resource) for resource, one in usage.items() for found in one.largest)
        for found, resource in sorted(sized, key=lambda one: one[0], reverse=True)[:MOST_OBJECTS]:
            gauge.add(name, found.size, resource.group, resource.resource, readable(found.key))
    yield gauge.family
