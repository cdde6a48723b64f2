"""No etcd member defragments."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.control_plane import ControlPlane

NAME = "no_member_defragments"


def no_member_defragments(state: ControlPlane) -> Answer:
    """It blocks whoever uses that member, which looks like a stalled channel, and passes by itself."""
    for member in state.members:
        if member.defragmenting is None:
            return refuse(
                NAME,
                f"whether {member.endpoint} defragments is unknown: its metrics cannot be read (metrics_url)",
                passing=True,
            )
        if member.defragmenting:
            return refuse(NAME, f"{member.endpoint} defragments: that is waited out, and nothing is done", passing=True)
    return allow(NAME, "no member defragments")
