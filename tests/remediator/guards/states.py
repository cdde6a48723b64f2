"""Clusters as somebody might see them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kube_ballast.analysis.etcd import MIB, EtcdState, MemberState
from kube_ballast.clients.etcd.types import Alarm, AlarmKind, Status

STATUS = Status(
    member_id=1,
    cluster_id=7,
    version="3.5.30",
    db_size=100 * MIB,
    db_size_in_use=40 * MIB,
    quota=None,
    leader_id=1,
    raft_term=2,
    raft_index=10,
    raft_applied_index=10,
    revision=9,
    is_learner=False,
    errors=(),
)
MEMBER = MemberState(
    name="m1",
    endpoint="http://m1",
    voter=True,
    status=STATUS,
    problem=None,
    ready=True,
    ready_reason="",
    defragmenting=False,
    snapshots_in_flight=0,
    quota=128 * MIB,
    disk_free=1000.0 * MIB,
    disk_words="somewhere",
)


def member(number: int = 1, *, status: dict[str, Any] | None = None, **changes: Any) -> MemberState:
    """A healthy member, but for what is given; ``status`` changes what it says of itself."""
    told = replace(STATUS, member_id=number, **(status or {}))
    return replace(MEMBER, **{"name": f"m{number}", "endpoint": f"http://m{number}", "status": told, **changes})


def cluster(
    *members: MemberState,
    alarms: Sequence[Alarm] | None = (Alarm(1, AlarmKind.NOSPACE),),
    strangers: Sequence[str] = (),
) -> EtcdState:
    """``members``, or three healthy ones."""
    given = members or (member(1), member(2), member(3))
    return EtcdState(
        name="main",
        members=given,
        alarms=None if alarms is None else tuple(alarms),
        strangers=tuple(strangers),
        names={each.status.member_id: each.name for each in given if each.status is not None},
    )
