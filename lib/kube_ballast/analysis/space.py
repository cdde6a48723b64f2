"""What fills etcd, when it is full, and what each cure gives back. Pure.

The quota is checked against the database file. It holds, in this order::

    live        what the keys as they are now take on well filled pages
    half_empty  the room between live records that were left alone on their pages; a defragmentation gives it back
    history     superseded and deleted revisions; a compaction turns them into free pages
    free        pages that etcd uses again and that only a defragmentation gives back to the disk
"""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import NamedTuple

from kube_ballast.analysis.census import Census, Usage
from kube_ballast.analysis.etcd import MIB, EtcdState, predicted_stall
from kube_ballast.analysis.keyspace import Resource, is_built_in
from kube_ballast.analysis.words import percent, size
from kube_ballast.clients.etcd.types import Status

DEFAULT_QUOTA = 2048 * MIB
LARGEST_QUOTA = 8192 * MIB
"""etcd warns above it: https://etcd.io/docs/v3.5/dev-guide/limit/."""
REQUEST_LIMIT = 3 * MIB // 2
"""``--max-request-bytes`` unless set; the apiserver's own limit is higher."""
DOMINATES = 0.3
CROWDED = 0.8
WORTH_A_DEFRAG = 0.3
WORTH_BYTES = 100 * MIB
NEAR_LIMIT = 2 / 3
NOTABLE_STRANGERS = 0.05
MOST_POINTS = 200


@dataclass(frozen=True, slots=True)
class Split:
    """Where the bytes of one member's database are; the four parts make up the file."""

    live: float
    half_empty: float
    history: float
    free: float

    @property
    def size(self) -> float:
        """The file."""
        return self.live + self.half_empty + self.history + self.free

    @property
    def compaction_returns(self) -> float:
        """What a compaction to the present makes free inside the file; the file keeps its size."""
        return self.history

    @property
    def defragmentation_returns(self) -> float:
        """What a defragmentation takes off the file without a compaction before it."""
        return self.free

    @property
    def both_return(self) -> float:
        """What a compaction and then a defragmentation take off the file."""
        return self.size - self.live


def split(census: Census, status: Status | None = None) -> Split | None:
    """Where the bytes of the member with ``status`` are (default: of the member that was read); None without sizes.

    Live bytes are the same on every member, file and free pages are not. Where a compaction has just been made, only
    the member it was sent to tells right what is in use, until the others have something written (etcd 3.5).
    """
    status = status or census.status
    if not len(census.records) and census.keys:
        return None
    in_use = min(status.db_size_in_use, status.db_size)
    live = min(census.records.packed_bytes(census.keys), in_use)
    left = min(max(census.records.bytes_after_compaction(census.keys, census.compacted), live), in_use)
    return Split(live, left - live, in_use - left, status.db_size - in_use)


class Point(NamedTuple):
    """Live bytes at a moment in Unix seconds."""

    at: float
    live: float


def growth(points: Sequence[Point]) -> float | None:
    """Bytes a second by which live data grows: the median of all slopes, which one odd census does not move.

    None of fewer than two points. History would make it a sawteeth of compactions.
    """
    recent = sorted(points)[-MOST_POINTS:]
    slopes = [
        (later.live - earlier.live) / (later.at - earlier.at)
        for earlier, later in combinations(recent, 2)
        if later.at > earlier.at
    ]
    return statistics.median(slopes) if slopes else None


def seconds_until_full(found: Split, quota: int, bytes_per_second: float) -> float | None:
    """Until the file reaches the quota, if live data goes on growing so and history stays what it is.

    Free pages are used up first. 0 when it is full already, None when live data does not grow.
    """
    if found.size >= quota:
        return 0.0
    if bytes_per_second <= 0:
        return None
    return max(0.0, quota - (found.size - found.free)) / bytes_per_second


@dataclass(frozen=True, slots=True)
class Stall:
    """For how long a defragmentation blocks a member; ``after_compaction`` when one is made before it."""

    member: str
    now: float
    after_compaction: float


def stalls(state: EtcdState, found: Split, bytes_per_second: float) -> tuple[Stall, ...]:
    """Of each member that answers, at a rate of ``bytes_per_second`` at which it rewrites its database."""
    return tuple(
        Stall(
            member.name,
            predicted_stall(member.status.db_size_in_use, bytes_per_second),
            predicted_stall(max(int(found.live), member.status.db_size_in_use - int(found.history)), bytes_per_second),
        )
        for member in state.members
        if member.status is not None
    )


class Cure(StrEnum):
    """What can be done."""

    DELETE = "delete"
    OWN_ETCD = "own_etcd"
    FEWER_OBJECTS = "fewer_objects"
    COMPACT = "compact"
    DEFRAGMENT = "defragment"
    QUOTA = "quota"
    SHRINK_OBJECTS = "shrink_objects"
    STRANGERS = "strangers"


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do, with the numbers behind it in words; ``returns`` is what it takes off the file, 0 if nothing."""

    cure: Cure
    words: str
    returns: float


def advise(census: Census, found: Split, quota: int | None) -> tuple[Advice, ...]:
    """What to do about this etcd, what matters most first; nothing when nothing is out of proportion."""
    advice = [
        *_crowded(found, quota),
        *_dominant(census, found),
        *_pages(found),
        *_quota(found, quota),
        *_large(census),
        *_strangers(census),
    ]
    order = [*Cure]
    return tuple(sorted(advice, key=lambda each: order.index(each.cure)))


def share(usage: Usage, census: Census) -> float | None:
    """Of all bytes stored, those of ``usage``; None when sizes are unknown."""
    total = census.stored
    return None if usage.stored is None or not total else usage.stored / total


def _crowded(found: Split, quota: int | None) -> Iterator[Advice]:
    if quota and found.live >= CROWDED * quota:
        yield Advice(
            Cure.DELETE,
            f"Live data is {size(found.live)} of a quota of {size(quota)} ({percent(found.live / quota)}): neither "
            "compaction nor defragmentation helps. Delete what is not needed (deletes pass even under NOSPACE), move a "
            "resource to an etcd of its own, or raise the quota.",
            0.0,
        )


def _dominant(census: Census, found: Split) -> Iterator[Advice]:
    for resource, usage in census.usage.items():
        of_bytes = share(usage, census) or 0.0
        of_writes = (usage.writes or 0) / census.writes if census.writes else 0.0
        if max(of_bytes, of_writes) < DOMINATES or (usage.stored or 0) < WORTH_BYTES:
            continue
        numbers = f"{resource} holds {size(usage.stored or 0)} in {usage.keys} objects: {percent(of_bytes)} of all live"
        numbers += f" bytes and {percent(of_writes)} of the writes" if census.writes else " bytes"
        yield _move_or_thin(resource, numbers, of_bytes * found.live)


def _move_or_thin(resource: Resource, numbers: str, returns: float) -> Advice:
    if not is_built_in(resource):
        return Advice(
            Cure.FEWER_OBJECTS,
            f"{numbers}. A custom resource cannot have an etcd of its own: look at who makes these objects and what "
            "removes them.",
            returns,
        )
    extra = " --event-ttl (1h unless set) makes them fewer." if resource == Resource("", "events") else ""
    return Advice(
        Cure.OWN_ETCD,
        f"{numbers}. Give it an etcd of its own, with --etcd-servers-overrides="
        f"{resource.group}/{resource.resource}#https://HOST:2379 on every apiserver: what is there stays behind until "
        f"it is deleted, and its history and its writes go with it.{extra}",
        returns,
    )


def _pages(found: Split) -> Iterator[Advice]:
    if found.history >= max(WORTH_BYTES, WORTH_A_DEFRAG * found.size):
        yield Advice(
            Cure.COMPACT,
            f"Superseded revisions take {size(found.history)} of {size(found.size)}. The apiserver compacts every 5 "
            "minutes: see that --etcd-compaction-interval is not 0, or set --auto-compaction-retention.",
            0.0,
        )
    loose = found.size - found.live
    if loose >= max(WORTH_BYTES, WORTH_A_DEFRAG * found.size):
        yield Advice(
            Cure.DEFRAGMENT,
            f"A defragmentation takes {size(found.defragmentation_returns)} off the file of {size(found.size)}; after "
            f"a compaction it takes {size(found.both_return)}.",
            found.both_return,
        )


def _quota(found: Split, quota: int | None) -> Iterator[Advice]:
    if quota is None or quota >= LARGEST_QUOTA or found.live < quota / 2:
        return
    default = ", the default" if quota == DEFAULT_QUOTA else ""
    yield Advice(
        Cure.QUOTA,
        f"The quota is {size(quota)}{default}, and live data takes {percent(found.live / quota)} of it. Raise "
        f"--quota-backend-bytes, to {size(LARGEST_QUOTA)} at most, member by member; it costs memory and time to "
        "start, in proportion to what is stored.",
        0.0,
    )


def _large(census: Census) -> Iterator[Advice]:
    near = [
        (each.largest[0].size, resource)
        for resource, each in census.usage.items()
        if each.largest and each.largest[0].size >= NEAR_LIMIT * REQUEST_LIMIT
    ]
    if near:
        largest, resource = max(near)
        yield Advice(
            Cure.SHRINK_OBJECTS,
            f"The largest object takes {size(largest)} ({resource}); etcd refuses requests above {size(REQUEST_LIMIT)} "
            "(--max-request-bytes), and then it can no longer be changed. Divide it.",
            0.0,
        )


def _strangers(census: Census) -> Iterator[Advice]:
    total = census.stored
    stored = _total(census.foreign.values())
    if total and stored >= max(NOTABLE_STRANGERS * total, MIB):
        names = ", ".join(sorted(census.foreign, key=lambda name: -(census.foreign[name].stored or 0))[:3])
        yield Advice(
            Cure.STRANGERS,
            f"{size(stored)} ({percent(stored / total)}) belong to nobody's apiserver: {names}. Whoever writes there "
            "shares this quota and can use it up.",
            stored,
        )


def _total(usages: Iterable[Usage]) -> float:
    return sum(each.stored or 0.0 for each in usages)
