"""Alerts do not come for more distinct targets at once than the policy takes for believable."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger, StopKind
from ballast_remediator.guards import ago, allow, refuse

NAME = "brake_is_off"


def brake_is_off(request: ClaimRequest, ledger: Ledger) -> Answer:
    """Many targets at once are one fault that no runbook is made for: a network, a Prometheus, a release."""
    for stop in ledger.stops(request.target):
        if stop.kind is StopKind.BRAKE:
            return refuse(
                NAME,
                f"{stop.reason}, {ago(stop.set_at, ledger.now)}: that is rarely that many faults, so a person has "
                f"to look. Then: ballastctl lift {stop.id}. What waits now expires with that, and is not let loose",
            )
    return allow(NAME, "the brake is off")
