"""No person has said, here or on a Node, that they are working on this cluster or this target."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger, StopKind
from ballast_remediator.guards import ago, allow, refuse

NAME = "nobody_is_at_work"


def nobody_is_at_work(request: ClaimRequest, ledger: Ledger) -> Answer:
    """A program and a person who repair the same thing undo each other's work."""
    for stop in ledger.stops(request.target):
        if stop.kind in {StopKind.FREEZE, StopKind.HOLD}:
            return refuse(
                NAME,
                f"{stop.person} is at work on {stop.scope} and said so {ago(stop.set_at, ledger.now)} ({stop.reason}). "
                f"When that is over: ballastctl lift {stop.id}",
            )
    for node, how in ledger.nodes_at_work(request.target.cluster).items():
        return refuse(
            NAME,
            f"Node {node} of cluster {request.target.cluster} {how}: somebody works on the control plane. "
            f"When that is over: kubectl uncordon {node}, or kubectl annotate --overwrite node {node} "
            "ballast/at-work=no",
            passing=True,
        )
    return allow(NAME, "nobody holds the target or its cluster")
