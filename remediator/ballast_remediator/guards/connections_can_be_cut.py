"""The apiserver's host can cut connections: it has ``ss``, and a kernel that does what ``ss -K`` asks."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.control_plane import ControlPlane

NAME = "connections_can_be_cut"


def connections_can_be_cut(state: ControlPlane) -> Answer:
    """Tried on a connection of our own to ourselves: the kernel says nothing where it cannot."""
    if state.cannot_cut is not None:
        return refuse(
            NAME, f"{state.cannot_cut}. Nothing else cuts exactly these: nftables would leave the idle ones as they are"
        )
    return allow(NAME, "a connection of our own was cut there")
