"""The gentler cure could be tried: the host's kernel cuts connections."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, ask
from kube_ballast.analysis.control_plane import ControlPlane

NAME = "gentler_cure_was_possible"


def gentler_cure_was_possible(state: ControlPlane) -> Answer:
    """A restart empties caches and closes every watch. Where cutting is not possible a person says whether to do it."""
    if state.cannot_cut is not None:
        return ask(
            NAME, f"connections cannot be cut there, so that nothing gentler was tried: {state.cannot_cut}. Restart it?"
        )
    return allow(NAME, "the host can cut connections, which is tried first")
