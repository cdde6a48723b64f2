"""Nobody else defragments a member or reads a snapshot of it."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState

NAME = "nobody_disturbs"


def nobody_disturbs(state: EtcdState) -> Answer:
    """A snapshot in flight holds a read transaction, and a defragmentation waits for it with etcd's locks held."""
    for member in state.members:
        if member.defragmenting is None or member.snapshots_in_flight is None:
            return refuse(
                NAME,
                f"whether somebody defragments or snapshots {member.name} is unknown: its metrics "
                "cannot be read (metrics_url)",
                passing=True,
            )
        if member.defragmenting:
            return refuse(NAME, f"{member.name} is being defragmented by somebody else", passing=True)
        if member.snapshots_in_flight > 0:
            return refuse(
                NAME,
                f"{member.snapshots_in_flight} snapshot(s) of {member.name} are being read; a "
                "defragmentation would hang until they end. Is a backup running?",
                passing=True,
            )
    return allow(NAME, "no defragmentation and no snapshot is under way")
