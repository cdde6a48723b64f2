"""The policy has not frozen this time."""

from datetime import datetime
from zoneinfo import ZoneInfo

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse

NAME = "no_freeze_window"


def no_freeze_window(request: ClaimRequest, ledger: Ledger) -> Answer:
    """Freezes are the policy's own: times when nobody may change anything, but for the runbooks it excepts."""
    for freeze in request.terms.freezes:
        ends = freeze.ends(ledger.now)
        if ends is not None:
            until = datetime.fromtimestamp(ends, ZoneInfo(freeze.time_zone))
            return refuse(NAME, f"the policy's freeze {freeze.name!r} goes on until {until:%Y-%m-%d %H:%M %Z}")
    return allow(NAME, "no freeze of the policy goes on")
