"""Defragmenting a member ends before its liveness probe kills it."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import MIB, MemberState, predicted_stall
from kube_ballast.analysis.words import duration, size

NAME = "stall_fits"


def stall_fits(member: MemberState, *, bytes_per_second: float, liveness_budget: float) -> Answer:
    """etcd answers no liveness probe while it defragments (etcd#16858), and a kill in the middle of it hurts.

    The stall follows what is in use after compaction, so this is asked anew right before each member.
    """
    if member.status is None:
        return refuse(NAME, f"the size of {member.name} is unknown: it does not answer")
    stall = predicted_stall(member.status.db_size_in_use, bytes_per_second)
    words = (
        f"defragmenting {member.name} rewrites {size(member.status.db_size_in_use)} and blocks it for about "
        f"{duration(stall)} at {bytes_per_second / MIB:.0f} MiB/s; its liveness probe allows "
        f"{duration(liveness_budget)}"
    )
    if stall <= liveness_budget:
        return allow(NAME, words)
    return refuse(NAME, f"{words}. {PLAN_B}")


PLAN_B = (
    "Plan B, by hand, one member at a time: (1) take the member out of its kubelet's care (move its static pod "
    "manifest away), (2) `etcdutl defrag --data-dir DIR` while it is stopped, (3) put the manifest back and "
    "wait until it is healthy before the next; or raise --quota-backend-bytes (8 GiB at most) on all members "
    "in a rolling restart. Where NOSPACE is armed, then, if `etcdctl alarm list` shows no CORRUPT (a disarm clears "
    "that too), `etcdctl alarm disarm`"
)
