"""The host's clock was not set by so much, so recently, that cool-downs and budgets would count wrongly."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.words import duration

NAME = "clock_is_steady"
TOLERATED = 30.0
LONGEST = 1800.0
"""Seconds. A clock that was set right after a start, years ahead, must not stop everything for years."""


def clock_is_steady(request: ClaimRequest, ledger: Ledger) -> Answer:
    """A clock set forward by ten minutes makes every rest and every window ten minutes too short.

    Waiting for as long as the jump makes up for it exactly.
    """
    del request
    jump = ledger.jump
    if jump is None or abs(jump.seconds) <= TOLERATED:
        return allow(NAME, "the clock goes evenly")
    left = min(abs(jump.seconds), LONGEST) - jump.ago
    words = (
        f"the clock of this host was set {'forward' if jump.seconds > 0 else 'back'} by "
        f"{duration(abs(jump.seconds))}, {duration(jump.ago)} ago"
    )
    if left <= 0:
        return allow(NAME, words)
    return refuse(NAME, f"{words}: rests and budgets would count wrongly for another {duration(left)}", passing=True)
