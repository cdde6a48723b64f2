"""On its host, the process is found that listens on this apiserver's address and is an apiserver."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.control_plane import ControlPlane

NAME = "process_is_known"


def process_is_known(state: ControlPlane) -> Answer:
    """Whatever keeps us from looking keeps us from acting: unreachable hosts, sudo's no, another program, no ``ss``."""
    if state.process is None:
        words = state.host_problem or "it was not looked for"
        return refuse(NAME, f"the process of {state.target} is not known: {words}", passing=state.host_passing)
    return allow(NAME, f"process {state.process} listens on its address and is an apiserver")
