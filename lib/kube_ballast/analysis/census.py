"""One pass over etcd's keys, added up: whose they are, what they take, what was written since the pass before. Pure.

``Tally`` takes the answers as they come; ``Census`` is what stands at the end, never half of it.
"""

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kube_ballast.analysis.keyspace import Layout, Place, Resource
from kube_ballast.analysis.pages import Records
from kube_ballast.clients.etcd.types import Scan, Status

LARGEST = 20
MOST_RESOURCES = 5000
MOST_FOREIGN = 500
REST = "(other)"
"""Holds what belongs to more resources, or more strangers, than are told apart."""
_NORMAL_95 = 1.96


class Sized(NamedTuple):
    """A key and the bytes stored for it."""

    size: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """What one resource has. ``stored`` is bytes as etcd stores them: key, value and revisions, without page overhead.

    ``stored`` is None when no size was read, and an estimate from a sample when ``error`` is above 0: with 95 %
    confidence the true value is within that many bytes of it. ``error`` is None when the sample was too small to say.
    ``writes`` since the census before, of keys that are still there; None without one.
    ``largest`` are the ``LARGEST`` largest objects whose size was read, the largest first.
    """

    keys: int
    stored: float | None
    error: float | None
    writes: int | None
    largest: tuple[Sized, ...] = ()


@dataclass(frozen=True, slots=True)
class Census:
    """One whole count at ``revision``. Times are Unix seconds; sizes bytes.

    ``since`` is the revision of the census before, None when there was none. ``compacted`` is the oldest revision that
    was still to be had. ``status`` is the member's when the count began, and ``member`` its endpoint; ``restarts`` how
    often the revision was compacted away before it was done; ``requests`` what the count cost.
    """

    revision: int
    since: int | None
    compacted: int
    began: float
    ended: float
    member: str
    status: Status
    restarts: int
    requests: int
    usage: Mapping[Resource, Usage]
    foreign: Mapping[str, Usage]
    records: Records = field(repr=False)

    @property
    def keys(self) -> int:
        """All keys, foreign ones included."""
        return sum(each.keys for each in self._all())

    @property
    def stored(self) -> float | None:
        """Bytes stored for all keys; None when any part of it is unknown."""
        parts = [each.stored for each in self._all() if each.keys]
        known = [each for each in parts if each is not None]
        return math.fsum(known) if len(known) == len(parts) else None

    @property
    def error(self) -> float | None:
        """As ``Usage.error``, of ``stored``: the errors of resources are independent of each other."""
        parts = [each.error for each in self._all() if each.keys]
        known = [each for each in parts if each is not None]
        return math.hypot(*known) if len(known) == len(parts) else None

    @property
    def exact(self) -> bool:
        """Whether every size was read."""
        return self.error == 0

    @property
    def writes(self) -> int | None:
        """Since the census before, of keys that are still there."""
        return None if self.since is None else sum(each.writes or 0 for each in self._all())

    @property
    def unattributed(self) -> int | None:
        """Revisions since the census before that no key tells of any more: it was deleted, or made anew since.

        A transaction that writes several keys takes one revision, so this can be too low, and is never below 0.
        """
        if self.since is None or self.writes is None:
            return None
        return max(0, self.revision - self.since - self.writes)

    def _all(self) -> Iterable[Usage]:
        yield from self.usage.values()
        yield from self.foreign.values()


class _Sums:
    """One place's sums over the stretches of it that were read."""

    __slots__ = ("keys", "largest", "measured", "stretches", "unmeasured", "writes", "xx", "xy", "y", "yy")

    def __init__(self) -> None:
        self.keys = self.writes = self.measured = 0
        # Stretches with sizes: how many, and the sums of bytes y, keys x·x, x·y, y·y. Those without: how many.
        self.stretches = self.unmeasured = 0
        self.y = self.xx = self.xy = self.yy = 0
        self.largest: list[Sized] = []

    def add_sizes(self, keys: tuple[bytes, ...], sizes: tuple[int, ...]) -> None:
        x, y = len(sizes), sum(sizes)
        self.stretches += 1
        self.measured += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y
        if len(self.largest) < LARGEST or max(sizes) > self.largest[-1].size:
            found = heapq.nlargest(LARGEST, zip(sizes, keys, strict=True))
            self.largest = sorted([*self.largest, *(Sized(*each) for each in found)], reverse=True)[:LARGEST]

    def usage(self, *, compared: bool) -> Usage:
        stored, error = self._estimate()
        return Usage(self.keys, stored, error, self.writes if compared else None, tuple(self.largest))

    def _estimate(self) -> tuple[float | None, float | None]:
        """A ratio estimator over stretches: neighbours are alike, so a stretch counts as one observation."""
        missing = self.keys - self.measured
        if not missing:
            return float(self.y), 0.0
        if not self.measured:
            return None, None
        ratio = self.y / self.measured
        stored = self.y + ratio * missing
        if self.stretches < 2:  # noqa: PLR2004 - one observation says nothing of the spread
            return stored, None
        residual = max(0.0, self.yy - 2 * ratio * self.xy + ratio * ratio * self.xx) / (self.stretches - 1)
        variance = residual * self.unmeasured * (1 + self.unmeasured / self.stretches)
        return stored, _NORMAL_95 * math.sqrt(variance)


class Tally:
    """Adds up scans of ranges that do not overlap, in any order. Not thread safe."""

    def __init__(self, layout: Layout, since: int | None) -> None:
        self.keys = 0
        self.records = Records()
        self._layout = layout
        self._since = since
        self._resources: dict[Resource, _Sums] = {}
        self._foreign: dict[str, _Sums] = {}

    def add(self, scan: Scan, known: Mapping[int, int]) -> None:
        """One answer. ``known`` are the versions of the range's keys at the census before, by the keys' hashes."""
        self.keys += len(scan.keys)
        if scan.sizes is not None:
            self.records.add(scan.modified, scan.sizes)
        changed = self._since is not None and bool(scan.keys) and max(scan.modified) > self._since
        for run in self._layout.runs(scan.keys):
            part = slice(run.first, run.last)
            sums = self._sums(run.place)
            sums.keys += run.last - run.first
            if scan.sizes is None:
                sums.unmeasured += 1
            else:
                sums.add_sizes(scan.keys[part], scan.sizes[part])
            if changed:
                sums.writes += self._writes(scan, run.first, run.last, known)

    def measured(self, place: Place) -> int:
        """Of how many stretches of that place sizes were read."""
        found = self._foreign.get(place.name) if place.resource is None else self._resources.get(place.resource)
        return 0 if found is None else found.stretches

    def stored(self) -> int:
        """Bytes of what was measured so far."""
        return sum(sums.y for sums in (*self._resources.values(), *self._foreign.values()))

    def usage(self) -> Mapping[Resource, Usage]:
        """What each resource has."""
        return {key: sums.usage(compared=self._since is not None) for key, sums in self._resources.items()}

    def foreign(self) -> Mapping[str, Usage]:
        """What strangers have, by the first part of their keys."""
        return {name: sums.usage(compared=self._since is not None) for name, sums in self._foreign.items()}

    def _sums(self, place: Place) -> _Sums:
        if place.resource is None:
            name = place.name if place.name in self._foreign or len(self._foreign) < MOST_FOREIGN else REST
            return self._foreign.setdefault(name, _Sums())
        resource = place.resource
        if resource not in self._resources and len(self._resources) >= MOST_RESOURCES:
            resource = Resource("", REST)
        return self._resources.setdefault(resource, _Sums())

    def _writes(self, scan: Scan, first: int, last: int, known: Mapping[int, int]) -> int:
        """A key that was there before has grown in version; one made since counts all its writes."""
        assert self._since is not None
        writes = 0
        for index in range(first, last):
            if scan.modified[index] > self._since:
                before = 0 if scan.created[index] > self._since else known.get(hash(scan.keys[index]), 0)
                writes += scan.versions[index] - before
        return writes


def ranked(usage: Mapping[Resource, Usage], most: int) -> tuple[list[tuple[Resource, Usage]], Usage | None]:
    """The ``most`` resources with the most bytes (keys, where those are unknown), and the rest as one; None if none."""
    ordered = sorted(usage.items(), key=lambda item: (-(item[1].stored or 0), -item[1].keys, item[0]))
    return ordered[:most], together(each for _, each in ordered[most:])


def together(usages: Iterable[Usage]) -> Usage | None:
    """Several as one; None of none. What is unknown of one is unknown of all."""
    parts = [*usages]
    if not parts:
        return None
    return Usage(
        keys=sum(each.keys for each in parts),
        stored=_sum([each.stored for each in parts]),
        error=None if any(each.error is None for each in parts) else math.hypot(*(each.error or 0 for each in parts)),
        writes=None if any(each.writes is None for each in parts) else sum(each.writes or 0 for each in parts),
        largest=tuple(heapq.nlargest(LARGEST, (sized for each in parts for sized in each.largest))),
    )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None
