"""No person has said that they are working on this cluster or this target."""

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
    return allow(NAME, "nobody holds the target or its cluster")
