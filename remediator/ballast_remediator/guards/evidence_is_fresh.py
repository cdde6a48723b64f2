"""What was seen of the world is young enough to act on."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.words import duration

NAME = "evidence_is_fresh"


def evidence_is_fresh(request: ClaimRequest, ledger: Ledger) -> Answer:
    """Asked inside the claiming transaction, since that may have waited for others."""
    left = request.valid_until - ledger.monotonic
    if left > 0:
        return allow(NAME, f"what was seen may be acted on for another {duration(left)}")
    return refuse(NAME, "what was seen of the world is too old to act on; it is looked at again", passing=True)
