"""Every exporter that tells of this apiserver says that its channel to etcd is stalled."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.control_plane import ControlPlane
from kube_ballast.analysis.stall import Verdict

NAME = "channel_is_stalled"


def channel_is_stalled(state: ControlPlane) -> Answer:
    """Only fresh evidence counts. Two exporters that differ have different ways to it: one of those may be at fault."""
    name = state.target
    told = state.told.get(name, ())
    if not told:
        return refuse(NAME, f"no exporter has fresh evidence on {name}{state.silence}", passing=True)
    verdicts = sorted({one.verdict for one in told})
    if verdicts != [Verdict.CHANNEL_STALLED]:
        return refuse(NAME, f"what is told of {name}: {', '.join(verdicts)}", passing=True)
    return allow(NAME, f"{name}: {'; '.join(told[0].reasons)}")
