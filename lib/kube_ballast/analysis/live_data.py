"""Whether live data fills a quota, judged by what the exporter told of a census some minutes ago. Pure.

Whoever refuses a cure for it has to be certain, so everything here is a lower bound: of what was counted, and of what
is left of it now. What cannot be told is `Unusable`, never a number.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kube_ballast.analysis.keyspace import Resource
from kube_ballast.analysis.pages import PAGE_BYTES
from kube_ballast.analysis.space import REQUEST_LIMIT, Split
from kube_ballast.analysis.words import duration, percent, size
from kube_ballast.clients.prometheus import Sample

PREFIX: Final = "ballast_etcd_keyspace_"
NAMES: Final = (
    f"{PREFIX}(keys|live_bytes|sampling_error_bytes|largest_bytes|foreign_keys|foreign_bytes|space_bytes|census_.+)"
)
"""A regular expression of the families that are read; see ``ballast_exporter.collectors.etcd_keyspace``."""
PACKED_WITHIN: Final = 0.05
"""How far the modelled size of a defragmented database may be too high: pages are computed from a sample of records.

It came out 0 to 1 % too low with records of 200 B to 16 KiB and with keyspaces like those of real clusters."""
EVENTS: Final = Resource("", "events")
MOST_NAMED: Final = 3
NOTABLE: Final = 0.01
_PARTS: Final = ("live", "half_empty", "history", "free")
_WITHIN: Final = frozenset({"__name__", "group", "resource", "owner", "part"})
"""Labels that tell the series of one census apart; all others say whose census it is."""

_Series = Mapping[tuple[str, ...], float]


class Unusable(Exception):
    """It says nothing that can be relied on; the text says why."""


@dataclass(frozen=True, slots=True)
class Report:
    """One census as the exporter told it. Bytes, and Unix seconds.

    ``shares`` are what each resource and all strangers have stored, the most first; with 95 % confidence their sum is
    right within ``error``, 0 when ``exact``. ``largest_event`` is None where Events are not told apart.
    """

    ended: float
    revision: int
    keys: int
    shares: tuple[tuple[str, float], ...]
    error: float
    exact: bool
    largest: float
    largest_event: float | None
    split: Split

    @property
    def stored(self) -> float:
        """What all keys have stored, without what pages add."""
        return math.fsum(stored for _, stored in self.shares)

    @property
    def at_least(self) -> float:
        """What a compacted and defragmented database takes for certain, with these keys."""
        certain = max(0.0, 1 - self.error / self.stored) if self.stored else 0.0
        return max(self.stored * certain, self.split.live * certain * (1 - PACKED_WITHIN))

    @property
    def words(self) -> str:
        """What fills the database, the most first, and whose the live data is."""
        split = self.split
        others = {"history": split.history, "half empty pages": split.half_empty, "free pages": split.free}
        parts = {"live data": split.live, **{k: v for k, v in others.items() if v >= NOTABLE * split.size}}
        ordered = sorted(parts.items(), key=lambda part: -part[1])
        filled = ", ".join(f"{name} {size(count)} ({percent(count / (split.size or 1))})" for name, count in ordered)
        named = [
            f"{name} {size(stored)} ({percent(stored / self.stored)})"
            for name, stored in self.shares[:MOST_NAMED]
            if stored >= NOTABLE * self.stored
        ]
        sampled = "" if self.exact else f", sampled, ± {size(self.error)}"
        return f"{filled}; of the live data: {', '.join(named)}{sampled}"


@dataclass(frozen=True, slots=True)
class Since:
    """What etcd itself says of the time since a census: ``revisions`` made, and how many keys it has fewer."""

    revisions: int
    events_gone: int
    others_gone: int

    def may_be_gone(self, report: Report) -> float:
        """Bytes that may have gone since: no more keys than these were touched, and none took more than it could.

        Each revision that wrote may have made an object smaller, or hidden that one was deleted by making another:
        an apiserver writes one object a revision. Deletes take one revision for many keys (Events expire so).
        """
        largest = max(report.largest, REQUEST_LIMIT) + PAGE_BYTES
        known = report.exact and report.largest_event is not None
        event = (report.largest_event or 0) + PAGE_BYTES if known else largest
        return max(0, self.events_gone) * event + (max(0, self.others_gone) + self.revisions) * largest


@dataclass(frozen=True, slots=True)
class Filling:
    """What is known of what fills an etcd: a census ``age`` seconds ago and what may have ``gone`` since, in bytes.

    Without a ``report`` nothing is known, and ``unknown`` says why.
    """

    report: Report | None = None
    since: Since | None = None
    age: float = 0.0
    unknown: str = ""

    @property
    def at_least(self) -> float:
        """What live data takes now for certain, once compacted and defragmented; 0 when nothing is known."""
        if self.report is None or self.since is None:
            return 0.0
        return max(0.0, self.report.at_least - self.since.may_be_gone(self.report))

    @property
    def words(self) -> str:
        """For a plan."""
        if self.report is None:
            return f"what fills it is unknown: {self.unknown}. Whether live data leaves room shows after the compaction"
        since = f", {self.since.revisions} revisions since" if self.since is not None and self.since.revisions else ""
        counted = f"census of {self.report.keys} keys {duration(max(0.0, self.age))} ago{since}"
        return f"what fills it ({counted}): {self.report.words}"


def report(samples: Iterable[Sample]) -> Report:
    """The newest whole census among ``samples`` of one etcd, whoever told them.

    Raises:
        Unusable: there is none, it failed, or a part of it is missing or no number.
    """
    told = _newest(samples)
    if _one(told, "census_success") != 1:
        raise Unusable("the exporter's last attempt at a census came to nothing (its status page says why)")
    keys, stored = _pairs(told, "keys", "live_bytes")
    foreign_keys, foreign = _pairs(told, "foreign_keys", "foreign_bytes")
    _, errors = _pairs(told, "keys", "sampling_error_bytes")
    exact = _one(told, "census_exact") == 1
    count = sum(keys.values()) + sum(foreign_keys.values())
    if not count or not sum(stored.values()) + sum(foreign.values()):
        raise Unusable("the census is empty")
    largest = told.get("largest_bytes", {})
    shares = [(str(Resource(*labels)), value) for labels, value in stored.items()]
    shares += [(f"others' keys ({labels[0]})", value) for labels, value in foreign.items()]
    parts = told.get("space_bytes", {})
    if set(parts) != {(part,) for part in _PARTS}:
        raise Unusable("a part of the census is missing (space_bytes)")
    return Report(
        ended=_one(told, "census_timestamp_seconds"),
        revision=int(_one(told, "census_revision")),
        keys=int(count),
        shares=tuple(sorted(shares, key=lambda share: (-share[1], share[0]))),
        # How far off strangers' bytes are is not told: where sizes are sampled they count as nothing.
        error=math.hypot(*errors.values()) + (0.0 if exact else sum(foreign.values())),
        exact=exact,
        largest=max(largest.values(), default=0.0),
        largest_event=largest.get(tuple(EVENTS)),
        split=Split(*(parts[part,] for part in _PARTS)),
    )


def _newest(samples: Iterable[Sample]) -> Mapping[str, _Series]:
    """The families of whoever ended a census last, by name and then by what tells their series apart."""
    by_teller: dict[frozenset[tuple[str, str]], list[Sample]] = defaultdict(list)
    for sample in samples:
        by_teller[frozenset(label for label in sample.labels.items() if label[0] not in _WITHIN)].append(sample)
    if not by_teller:
        raise Unusable("Prometheus has no census of it (the exporter's collector etcd_keyspace)")
    newest = max(by_teller.values(), key=_ended)
    told: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
    for sample in newest:
        name = sample.labels.get("__name__", "").removeprefix(PREFIX)
        if not (math.isfinite(sample.value) and sample.value >= 0):
            raise Unusable(f"the census has a value that is no number ({name} {sample.value})")
        told[name][_labels(sample.labels)] = sample.value
    return told


def _ended(samples: Sequence[Sample]) -> float:
    name = f"{PREFIX}census_timestamp_seconds"
    ends = (each.value for each in samples if each.labels.get("__name__") == name and math.isfinite(each.value))
    return max(ends, default=-math.inf)


def _labels(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Prometheus leaves out a label without a value, such as the core group's."""
    if "resource" in labels:
        return labels.get("group", ""), labels["resource"]
    return tuple(labels[name] for name in ("owner", "part") if name in labels)


def _one(told: Mapping[str, _Series], name: str) -> float:
    values = [*told.get(name, {}).values()]
    if len(values) != 1:
        raise Unusable(f"a part of the census is missing ({name})")
    return values[0]


def _pairs(told: Mapping[str, _Series], first: str, second: str) -> tuple[_Series, _Series]:
    """Two families that have to speak of the same."""
    one, other = told.get(first, {}), told.get(second, {})
    if one.keys() != other.keys():
        raise Unusable(f"a part of the census is missing ({second})")
    return one, other
