"""It is a time at which the policy's rule lets this runbook begin."""

from datetime import datetime
from zoneinfo import ZoneInfo

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse

NAME = "window_is_open"


def window_is_open(request: ClaimRequest, ledger: Ledger) -> Answer:
    """A rule without windows is open at all times. A run that has begun is not ended by the end of its window."""
    windows = request.terms.windows
    if not windows:
        return allow(NAME, "the rule names no windows")
    for window in windows:
        ends = window.ends(ledger.now)
        if ends is not None:
            until = datetime.fromtimestamp(ends, ZoneInfo(window.time_zone))
            return allow(NAME, f"the window {window.name!r} is open until {until:%Y-%m-%d %H:%M %Z}")
    begins, window = min(((window.begins(ledger.now), window) for window in windows), key=lambda one: one[0])
    opens = datetime.fromtimestamp(begins, ZoneInfo(window.time_zone))
    return refuse(NAME, f"none of the rule's windows is open; {window.name!r} opens {opens:%Y-%m-%d %H:%M %Z}")
