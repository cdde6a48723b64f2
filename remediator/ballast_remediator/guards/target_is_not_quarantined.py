"""No earlier run left this target in a state that nobody could tell."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse

NAME = "target_is_not_quarantined"


def target_is_not_quarantined(request: ClaimRequest, ledger: Ledger) -> Answer:
    """A person looks at the target and then says `ballastctl resolve RUN`."""
    culprit = ledger.quarantined_by(request.target)
    if culprit is not None:
        return refuse(
            NAME,
            f"the outcome of run {culprit} is unknown, so {request.target.name} is left alone until "
            f"a person has looked and said: ballastctl resolve {culprit}",
        )
    return allow(NAME, "no run on this target ended with an unknown outcome")
