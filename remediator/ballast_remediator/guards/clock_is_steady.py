"""The host's clock was not set by so much, so recently, that nobody can say which of its times are right."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import LONGEST_JUMP, allow, refuse
from kube_ballast.analysis.words import duration

NAME = "clock_is_steady"
TOLERATED = 30.0


def clock_is_steady(request: ClaimRequest, ledger: Ledger) -> Answer:
    """Whoever set the clock may set it back; until then windows, freezes and the ends of stops may be wrong.

    Waits for as long as it was set by. Rests and budgets take what it was set forward by into account themselves.
    """
    del request
    jump = ledger.jump
    if jump is None or abs(jump.seconds) <= TOLERATED:
        return allow(NAME, "the clock goes evenly")
    left = min(abs(jump.seconds), LONGEST_JUMP) - jump.ago
    words = (
        f"the clock of this host was set {'forward' if jump.seconds > 0 else 'back'} by "
        f"{duration(abs(jump.seconds))}, {duration(jump.ago)} ago"
    )
    if left <= 0:
        return allow(NAME, words)
    return refuse(NAME, f"{words}; it is believed again in {duration(left)} if it is left alone", passing=True)
