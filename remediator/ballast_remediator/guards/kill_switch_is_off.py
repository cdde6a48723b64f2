"""Nobody has stopped the automation: everything, a cluster's or a runbook's."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger, StopKind
from ballast_remediator.guards import ago, allow, refuse

NAME = "kill_switch_is_off"


def kill_switch_is_off(request: ClaimRequest, ledger: Ledger) -> Answer:
    """Set with `ballastctl stop`, or by the file that the configuration names, which needs no database."""
    if ledger.kill_switch_file is not None:
        return refuse(
            NAME,
            f"the kill switch's file {ledger.kill_switch_file} is there, or cannot be looked at: nothing runs until "
            "somebody removes it",
        )
    for stop in ledger.stops(request.target):
        if stop.kind is StopKind.KILL_SWITCH:
            return refuse(
                NAME,
                f"{stop.person} stopped {stop.scope} {ago(stop.set_at, ledger.now)} ({stop.reason}). "
                f"When it may go on: ballastctl lift {stop.id}",
            )
    return allow(NAME, "no kill switch is set")
