"""What is known of one etcd cluster at one moment, and what follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kube_ballast.clients.etcd.types import Alarm, AlarmKind, MemberMetrics, Status

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member. None always means unknown; ``problem`` says in words why ``status`` is."""

    name: str
    endpoint: str
    voter: bool
    status: Status | None
    problem: str | None
    ready: bool
    ready_reason: str
    defragmenting: bool | None
    snapshots_in_flight: int | None
    quota: int | None
    """Bytes; None where it is unknown or switched off."""
    disk_free: float | None
    """Bytes available on the data directory's filesystem."""
    disk_words: str
    named_domain: str | None = None

    @property
    def failure_domain(self) -> str:
        """What fails together with it: the configured name, or else the host of its endpoint."""
        return self.named_domain or urlsplit(self.endpoint).hostname or self.endpoint

    @property
    def healthy(self) -> bool:
        """It answers, is ready, follows a leader and is not busy rewriting its database."""
        return self.status is not None and self.ready and self.status.leader_id != 0 and self.defragmenting is False

    @property
    def trouble(self) -> str:
        """Why it is not healthy, in words."""
        if self.defragmenting:
            return f"{self.name} is defragmenting"
        if self.status is None:
            return f"{self.name} does not answer ({self.problem})"
        if self.status.leader_id == 0:
            return f"{self.name} knows no leader"
        if not self.ready:
            return f"{self.name} is not ready ({self.ready_reason})"
        return f"{self.name}: whether it defragments is unknown"


@dataclass(frozen=True, slots=True)
class EtcdState:
    """One etcd cluster. ``alarms`` is None when nobody could list them."""

    name: str
    members: tuple[MemberState, ...]
    alarms: tuple[Alarm, ...] | None
    strangers: tuple[str, ...] = ()
    """Members that etcd lists and the configuration does not know."""
    names: Mapping[int, str] = field(default_factory=dict)
    """Member names by member id."""

    @property
    def voters(self) -> tuple[MemberState, ...]:
        """The members that count for the quorum."""
        return tuple(member for member in self.members if member.voter)

    @property
    def quorum(self) -> int:
        """How many voters have to agree."""
        return (len(self.voters) + len(self.strangers)) // 2 + 1

    def armed(self, kind: AlarmKind) -> tuple[str, ...]:
        """Names of the members that have an alarm of ``kind`` armed."""
        return tuple(
            sorted(self.names.get(a.member_id, f"{a.member_id:x}") for a in self.alarms or () if a.kind is kind)
        )

    def member(self, name: str) -> MemberState | None:
        """The member of that name, if it is known."""
        return next((member for member in self.members if member.name == name), None)

    def leader(self) -> MemberState | None:
        """The member that every answering member calls leader; None when they disagree or do not know."""
        leaders = {member.status.leader_id for member in self.members if member.status is not None}
        if len(leaders) != 1:
            return None
        return next((m for m in self.members if m.status and m.status.member_id in leaders), None)


def quota_bytes(status: Status | None, metrics: MemberMetrics | None) -> int | None:
    """The quota: from the status since 3.6, else from the member's metrics; None when it is disabled or unknown.

    0 is etcd's flag for "the default", which only the metrics resolve.
    """
    told = None if status is None else status.quota
    if not told and metrics is not None:
        told = metrics.quota_bytes
    return told if told is not None and told > 0 else None


def healthy_voters_without(state: EtcdState, name: str) -> int:
    """How many voters stay healthy while the member ``name`` is away."""
    return sum(member.healthy for member in state.voters if member.name != name)


def live_bytes(state: EtcdState) -> int | None:
    """What the data takes: the smallest database in use of those that answer, None when nobody does.

    Every member holds the same data. A member that tells more counts pages that it freed and did not give back yet.
    """
    return min((member.status.db_size_in_use for member in state.members if member.status is not None), default=None)


def used_ratio(member: MemberState) -> float | None:
    """Database bytes, as the quota counts them, over the quota; None where either is unknown."""
    if member.status is None or not member.quota or member.quota <= 0:
        return None
    return member.status.db_size / member.quota


def predicted_stall(in_use_bytes: int, bytes_per_second: float) -> float:
    """Seconds for which a defragmentation blocks its member: it rewrites what is in use."""
    return in_use_bytes / bytes_per_second


def version_tuple(version: str) -> tuple[int, int, int] | None:
    """``3.5.23`` as numbers; None for anything else. A suffix such as ``-rc.0`` is left out."""
    parts = version.split("-", 1)[0].split(".")
    if len(parts) != 3 or not all(part.isdecimal() for part in parts):  # noqa: PLR2004 - major.minor.patch
        return None
    major, minor, patch = map(int, parts)
    return major, minor, patch
