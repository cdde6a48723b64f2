"""One pass over etcd's keys, added up: whose they are, what they take, what was written since the pass before. Pure.

``Tally`` takes the answers as they come; ``Census`` is what stands at the end, never half of it.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kube_ballast.analysis.keyspace import Layout, Place, Resource
from kube_ballast.analysis.pages import Records
from kube_ballast.analysis.ranges import LARGEST, Kept, Part, Sized, largest_of
from kube_ballast.clients.etcd.types import Scan, Status

MOST_RESOURCES = 5000
MOST_FOREIGN = 500
REST = "(other)"
"""Holds what belongs to more resources, or more strangers, than are told apart."""


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
        self.largest: tuple[Sized, ...] = ()

    def add(self, part: Part) -> None:
        self.keys += part.keys
        if part.stored is None:
            self.unmeasured += 1
            return
        x, y = part.keys, part.stored
        self.stretches += 1
        self.measured += x
        self.y += y
        self.xx += x * x
        self.xy += x * y
        self.yy += y * y
        if len(self.largest) < LARGEST or part.largest[0].size > self.largest[-1].size:
            self.largest = largest_of((*self.largest, *part.largest))

    def usage(self, *, compared: bool) -> Usage:
        stored, error = self._estimate()
        return Usage(self.keys, stored, error, self.writes if compared else None, self.largest)

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
        return stored, _student_95(self.stretches - 1) * math.sqrt(variance)


def _student_95(freedom: int) -> float:
    """Student's t: half the width, in standard errors, of what holds the truth in 95 of 100 cases; within 1 %."""
    return 1.96 + 2.37 / freedom + 2.82 / freedom**2 + 2.6 / freedom**3 + 3 / freedom**5


class Tally:
    """Adds up ranges that do not overlap, in any order. Not thread safe.

    ``since`` is the revision of the census before. ``keys`` are those met so far, ``stored`` the bytes of those whose
    size is known.
    """

    def __init__(self, since: int | None, mask: int = 0) -> None:
        self.keys = 0
        self.stored = 0
        self.records = Records(mask)
        self.since = since
        self._resources: dict[Resource, _Sums] = {}
        self._foreign: dict[str, _Sums] = {}

    def add(self, kept: Kept) -> None:
        """One range as it is now."""
        self.keys += kept.keys
        self.records.add(kept.sample)
        for part in kept.parts:
            self.stored += part.stored or 0
            self._sums(part.place).add(part)

    def add_writes(self, scan: Scan, before: Kept | None, layout: Layout) -> None:
        """What was written of these keys since the census before, when ``before`` was what was known of them.

        A key that was there has grown in version since; one made since counts all its writes.
        """
        since = self.since
        if since is None or max(scan.modified, default=0) <= since:
            return
        known = before.known() if before else {}
        for place, first, last in layout.runs(scan.keys):
            writes = 0
            for index in range(first, last):
                if scan.modified[index] > since:
                    was_there = scan.created[index] <= since
                    writes += scan.versions[index] - (known.get(hash(scan.keys[index]), 0) if was_there else 0)
            self._sums(place).writes += writes

    def measured(self, place: Place) -> int:
        """Of how many stretches of that place sizes were read."""
        found = self._foreign.get(place.name) if place.resource is None else self._resources.get(place.resource)
        return 0 if found is None else found.stretches

    def usage(self) -> Mapping[Resource, Usage]:
        """What each resource has."""
        return {key: sums.usage(compared=self.since is not None) for key, sums in self._resources.items()}

    def foreign(self) -> Mapping[str, Usage]:
        """What strangers have, by the first part of their keys."""
        return {name: sums.usage(compared=self.since is not None) for name, sums in self._foreign.items()}

    def _sums(self, place: Place) -> _Sums:
        if place.resource is None:
            name = place.name if place.name in self._foreign or len(self._foreign) < MOST_FOREIGN else REST
            return self._foreign.setdefault(name, _Sums())
        resource = place.resource
        if resource not in self._resources and len(self._resources) >= MOST_RESOURCES:
            resource = Resource("", REST)
        return self._resources.setdefault(resource, _Sums())


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
        largest=largest_of(sized for each in parts for sized in each.largest),
    )


def _sum(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None
