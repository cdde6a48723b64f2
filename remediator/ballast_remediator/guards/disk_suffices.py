"""Each member's disk has room for the copy that a defragmentation writes."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, ask, refuse
from kube_ballast.analysis.etcd import EtcdState
from kube_ballast.analysis.words import size

NAME = "disk_suffices"


def disk_suffices(state: EtcdState) -> Answer:
    """etcd's API does not tell free disk; where node_exporter does not either, a person has to."""
    unknown, short = [], []
    for member in state.members:
        if member.status is None or member.disk_free is None:
            unknown.append(f"{member.name} ({member.disk_words})")
        elif member.disk_free < member.status.db_size_in_use:
            short.append(
                f"{member.name} has {size(member.disk_free)} free and needs {size(member.status.db_size_in_use)}"
            )
    if short:
        return refuse(NAME, f"too little free disk for the copy that a defragmentation writes: {'; '.join(short)}")
    if unknown:
        return ask(NAME, f"free disk is unknown for {'; '.join(unknown)}. Look with df, then accept {NAME} by name")
    return allow(NAME, "every member's disk has room for the copy")
