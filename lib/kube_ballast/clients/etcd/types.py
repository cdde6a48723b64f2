"""What etcd says and is asked, as values that never change. Sizes are bytes, revisions etcd's own counters."""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal


class AlarmKind(StrEnum):
    """NOSPACE: the quota is used up, etcd takes deletions only. CORRUPT: members disagree about the data."""

    NOSPACE = "NOSPACE"
    CORRUPT = "CORRUPT"


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the cluster knows it; ``name`` and ``client_urls`` are empty until it has started once."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    is_learner: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm that ``member_id`` raised. It acts on the whole cluster."""

    member_id: int
    kind: AlarmKind


_ALARM_IN_ERRORS = re.compile(r"memberID:(\d+) +alarm:(NOSPACE|CORRUPT)")


@dataclass(frozen=True, slots=True)
class Status:
    """One member's view of itself, answered without asking the others.

    ``db_size`` is what the quota is checked against, ``db_size_in_use`` what a defragmentation would leave.
    ``quota`` is told since 3.6 (before, only the member's metrics know it): None is unknown, negative is disabled.
    ``leader_id`` 0 means that the member knows no leader.
    """

    member_id: int
    cluster_id: int
    version: str
    db_size: int
    db_size_in_use: int
    quota: int | None
    leader_id: int
    raft_term: int
    raft_index: int
    raft_applied_index: int
    revision: int
    is_learner: bool
    errors: tuple[str, ...]

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that this member knows of, as its ``errors`` tell them.

        Unlike ``EtcdClient.alarms``, which etcd answers through raft, this is there without a quorum; it may lag.
        """
        hits = (_ALARM_IN_ERRORS.search(error) for error in self.errors)
        return tuple(Alarm(int(hit[1]), AlarmKind(hit[2])) for hit in hits if hit)


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as of one revision; ``version`` counts its writes since it was created, ``lease`` 0 is none."""

    key: bytes
    value: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class RangeResult:
    """``count`` is the number of keys in the whole range; ``revision`` the store's when the answer was made."""

    kvs: tuple[KeyValue, ...]
    count: int
    more: bool
    revision: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Many keys, column by column and in key order; values have been measured and dropped.

    ``sizes`` are the bytes that etcd stores for each key (key, value and revisions; not the 17 bytes of the revision
    it is found by), None when the values were not asked for. ``count`` is the number of keys in the whole range,
    ``more`` that the limit left some out, ``revision`` the store's when the answer was made. Two answers with the same
    ``fingerprint`` are the same but for that revision; it is good within this process.
    """

    keys: tuple[bytes, ...]
    created: tuple[int, ...]
    modified: tuple[int, ...]
    versions: tuple[int, ...]
    sizes: tuple[int, ...] | None
    count: int
    more: bool
    revision: int
    fingerprint: int


@dataclass(frozen=True, slots=True)
class PutResult:
    """The revision at which the key was written."""

    revision: int


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """How many keys went, and the store's revision after it."""

    deleted: int
    revision: int


@dataclass(frozen=True, slots=True)
class Compare:
    """A condition of a transaction: ``field`` of ``key``, ``operator``, ``operand``.

    ``operand`` is bytes for ``value`` and an int for the others. A key that does not exist has 0 for each int.
    """

    key: bytes
    field: Literal["version", "create_revision", "mod_revision", "value"]
    operator: Literal["=", "!=", "<", ">"]
    operand: int | bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Reads ``[key, end)`` inside a transaction."""

    key: bytes
    end: bytes | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """Writes a key inside a transaction."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletes ``[key, end)`` inside a transaction."""

    key: bytes
    end: bytes | None = None


Operation = Get | Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """``succeeded`` says which branch ran; ``responses`` are its operations' answers, in order."""

    succeeded: bool
    responses: tuple[RangeResult | PutResult | DeleteResult, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified copy of the database. ``sha256`` is that of the whole file, as ``sha256sum`` prints it."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Health:
    """An answer about health; ``reason`` is the server's own text, empty when there is none."""

    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class MemberMetrics:
    """What only a member's ``/metrics`` tell; None is "not told".

    ``quota_bytes`` is negative when the quota is disabled. ``snapshots_in_flight`` counts streams that somebody is
    still reading: they hold a defragmentation up.
    """

    defrag_inflight: int | None
    quota_bytes: int | None
    snapshots_in_flight: int | None


def prefix_end(prefix: bytes) -> bytes:
    r"""The ``end`` that makes ``[prefix, end)`` hold every key that starts with ``prefix``.

    An empty prefix, or one of 0xff bytes only, has no upper bound: ``\0``, which is etcd's word for "to the last key".
    """
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else b"\0"
