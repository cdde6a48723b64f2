"""What fills an etcd, as one value: what the table shows and what ``--output json`` prints.

The names of the fields are the JSON schema that docs/ballastctl.md explains. Bytes, seconds; None where unknown.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, TypeVar

from ballast_exporter.etcd_members import MemberView
from ballastctl.etcd_access import Look
from kube_ballast.analysis import space
from kube_ballast.analysis.census import Census, Usage
from kube_ballast.analysis.etcd import EtcdState, MemberState
from kube_ballast.analysis.ranges import LARGEST, Sized, largest_of
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd.types import Status

KeyT = TypeVar("KeyT")

DEFRAG_BYTES_PER_SECOND: Final = 50 * 1024 * 1024
"""What the runbook etcd-free-space starts from, too, before it has measured a member."""
MOST_LARGEST: Final = LARGEST


@dataclass(frozen=True, slots=True)
class Member:
    """One member that was asked; ``problem`` says why nothing is known of it."""

    name: str
    endpoint: str
    role: Literal["leader", "follower", "learner"] | None
    version: str | None
    size_bytes: int | None
    in_use_bytes: int | None
    quota_bytes: int | None
    defragmenting: bool | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Alarm:
    """An armed alarm."""

    member: str
    kind: str


@dataclass(frozen=True, slots=True)
class Overview:
    """What is known before anything is counted. ``missing_members`` were not asked, since nobody named them."""

    name: str
    revision: int | None
    members: tuple[Member, ...]
    missing_members: tuple[str, ...]
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the bytes of the fullest member's database file are; the four make it up."""

    member: str
    size_bytes: float
    live_bytes: float
    half_empty_bytes: float
    history_bytes: float
    free_bytes: float


@dataclass(frozen=True, slots=True)
class Stall:
    """For how long a defragmentation blocks a member."""

    member: str
    now_seconds: float
    after_compaction_seconds: float


@dataclass(frozen=True, slots=True)
class Cures:
    """What a compaction makes free inside the file, and what a defragmentation takes off it."""

    compaction_bytes: float
    defragmentation_bytes: float
    both_bytes: float
    stalls: tuple[Stall, ...]
    assumed_bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Holder:
    """What one resource, or one stranger, has. ``growth_bytes_per_second`` and ``writes`` are since the last count."""

    name: str
    keys: int
    bytes: float | None
    error_bytes: float | None
    share: float | None
    average_bytes: float | None
    largest_bytes: int | None
    writes: int | None
    growth_bytes_per_second: float | None


@dataclass(frozen=True, slots=True)
class LargeObject:
    """One of the largest objects; ``key`` as text, what is no UTF-8 escaped."""

    key: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Of live data since the watch began ``seconds`` ago; no time to the quota when it does not grow."""

    seconds: float
    live_bytes_per_second: float
    seconds_until_full: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing to do, and what it takes off the file."""

    cure: str
    words: str
    returns_bytes: float


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    schema: Literal[1]
    etcd: Overview
    at: datetime
    revision: int
    read_from: str
    count_seconds: float
    requests: int
    sizes: Literal["exact", "sampled", "unknown"]
    keys: int
    bytes: float | None
    parts: Parts | None
    cures: Cures | None
    resources: tuple[Holder, ...]
    foreign: tuple[Holder, ...]
    largest: tuple[LargeObject, ...]
    growth: Growth | None
    advice: tuple[Advice, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """A census with what it is compared to: the one before it, and live bytes since the watch began."""

    census: Census
    before: Census | None
    points: Sequence[space.Point]


def fullest(look: Look, census: Census) -> tuple[MemberView | None, Status]:
    """The member nearest to its quota, or with the largest file where no quota is known, and its status.

    Where several are alike it is the one that was read, as it was when the count began.
    """
    read = next((each for each in look.view.members if each.endpoint == census.member), None)
    known = [each for each in look.view.members if each.answered is not None]
    if not known:
        return read, census.status
    found = max(
        known, key=lambda each: (each.used_ratio or 0.0, each.answered.db_size if each.answered else 0, each is read)
    )
    return found, census.status if found is read or found.answered is None else found.answered


def compose(look: Look, counted: Counted, *, largest: int) -> Report:
    """What ``look`` and a census say together, with the names of the ``largest`` largest objects."""
    census = counted.census
    member, status = fullest(look, census)
    label = member.label if member else census.member
    found = space.split(census, status)
    quota = member.limit if member else None
    return Report(
        schema=1,
        etcd=overview(look),
        at=datetime.fromtimestamp(census.ended, UTC),
        revision=census.revision,
        read_from=census.member,
        count_seconds=census.ended - census.began,
        requests=census.requests,
        sizes="unknown" if census.stored is None else "exact" if census.exact else "sampled",
        keys=census.keys,
        bytes=census.stored,
        parts=None if found is None else _parts(label, found),
        cures=None if found is None else _cures(look, found),
        resources=tuple(_holders(counted, census.usage, counted.before.usage if counted.before else {})),
        foreign=tuple(_holders(counted, census.foreign, counted.before.foreign if counted.before else {})),
        largest=tuple(
            LargeObject(each.key.decode("utf-8", "backslashreplace"), each.size) for each in _largest(census)[:largest]
        ),
        growth=_growth(counted.points, found, quota),
        advice=tuple(
            Advice(each.cure.value, each.words, each.returns)
            for each in (space.advise(census, found, quota) if found else ())
        ),
        notes=look.notes,
    )


def overview(look: Look) -> Overview:
    """The members as they answered."""
    return Overview(
        name=look.view.name,
        revision=max((each.answered.revision for each in look.view.members if each.answered), default=None),
        members=tuple(map(_member, look.view.members)),
        missing_members=tuple(each.name or f"{each.id:x}" for each in look.missing),
        alarms=tuple(Alarm(name, kind.value) for name, kind, is_armed in look.view.alarms if is_armed),
    )


def _member(view: MemberView) -> Member:
    status = view.answered
    return Member(
        name=view.label,
        endpoint=view.endpoint,
        role=None if status is None else role(status),
        version=None if status is None else status.version,
        size_bytes=None if status is None else status.db_size,
        in_use_bytes=None if status is None else status.db_size_in_use,
        quota_bytes=view.limit,
        defragmenting=view.defragmenting,
        problem=str(view.status) if isinstance(view.status, ClientError) else None,
    )


def role(status: Status) -> Literal["leader", "follower", "learner"]:
    """What the member is to the others."""
    if status.is_learner:
        return "learner"
    return "leader" if status.leader_id == status.member_id else "follower"


def _parts(member: str, found: space.Split) -> Parts:
    return Parts(member, found.size, found.live, found.half_empty, found.history, found.free)


def _cures(look: Look, found: space.Split) -> Cures:
    stalls = space.stalls(_state(look), found, DEFRAG_BYTES_PER_SECOND)
    return Cures(
        compaction_bytes=found.compaction_returns,
        defragmentation_bytes=found.defragmentation_returns,
        both_bytes=found.both_return,
        stalls=tuple(Stall(each.member, each.now, each.after_compaction) for each in stalls),
        assumed_bytes_per_second=DEFRAG_BYTES_PER_SECOND,
    )


def _state(look: Look) -> EtcdState:
    """The look in analysis' terms; learners are left out, since they cannot be defragmented."""
    members = (
        MemberState(
            name=each.label,
            endpoint=each.endpoint,
            voter=True,
            status=each.answered,
            problem=None,
            ready=each.answered is not None,
            ready_reason="not asked",
            defragmenting=each.defragmenting,
            snapshots_in_flight=None,
            quota=each.limit,
            disk_free=None,
            disk_words="not asked",
        )
        for each in look.view.members
        if each.answered is None or not each.answered.is_learner
    )
    return EtcdState(look.view.name, tuple(members), None)


def _holders(counted: Counted, usage: Mapping[KeyT, Usage], before: Mapping[KeyT, Usage]) -> Iterator[Holder]:
    """The most bytes first; the most keys where those are unknown."""
    for key, each in sorted(usage.items(), key=lambda item: (-(item[1].stored or 0), -item[1].keys, str(item[0]))):
        yield Holder(
            name=str(key),
            keys=each.keys,
            bytes=each.stored,
            error_bytes=each.error,
            share=share_of(each, counted.census),
            average_bytes=None if each.stored is None or not each.keys else each.stored / each.keys,
            largest_bytes=each.largest[0].size if each.largest else None,
            writes=each.writes,
            growth_bytes_per_second=_rate(counted, each, before.get(key)),
        )


def share_of(usage: Usage, census: Census) -> float | None:
    """Of all bytes; of all keys where bytes are unknown."""
    if census.stored is None:
        return usage.keys / census.keys if census.keys else None
    return space.share(usage, census)


def _rate(counted: Counted, now: Usage, then: Usage | None) -> float | None:
    """Bytes a second; what was not there before had none."""
    if counted.before is None or now.stored is None:
        return None
    stored = 0.0 if then is None else then.stored
    seconds = counted.census.began - counted.before.began
    return None if stored is None or seconds <= 0 else (now.stored - stored) / seconds


def _largest(census: Census) -> tuple[Sized, ...]:
    every = (*census.usage.values(), *census.foreign.values())
    return largest_of(sized for usage in every for sized in usage.largest)


def _growth(points: Sequence[space.Point], found: space.Split | None, quota: int | None) -> Growth | None:
    rate = space.growth(points)
    if rate is None or found is None:
        return None
    full = None if quota is None else space.seconds_until_full(found, quota, rate)
    return Growth(points[-1].at - points[0].at, rate, full)
