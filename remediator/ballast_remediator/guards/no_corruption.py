"""No member has raised CORRUPT, and the alarms can be seen at all."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState
from kube_ballast.clients.etcd.types import AlarmKind

NAME = "no_corruption"


def no_corruption(state: EtcdState) -> Answer:
    """A corrupt member must not be compacted, defragmented or have any alarm lifted: evidence would be lost."""
    if state.alarms is None:
        return refuse(NAME, "the alarms cannot be listed, so CORRUPT cannot be ruled out", passing=True)
    corrupt = state.armed(AlarmKind.CORRUPT)
    if corrupt:
        return refuse(
            NAME,
            f"the alarm CORRUPT is armed on {', '.join(corrupt)}. Leave everything as it is and follow etcd's "
            "guide on data corruption: find the members that differ, then replace them one by one",
        )
    return allow(NAME, "no member has raised CORRUPT")
