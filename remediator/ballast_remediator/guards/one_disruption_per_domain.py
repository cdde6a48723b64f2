"""No other run disturbs a failure domain that this plan disturbs."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse

NAME = "one_disruption_per_domain"


def one_disruption_per_domain(request: ClaimRequest, ledger: Ledger) -> Answer:
    """What fails together is not disturbed twice at once, whichever runbooks do it."""
    for domain in request.domains:
        holder = ledger.lock_holder(domain)
        if holder is not None and holder != request.run_id:
            return refuse(NAME, f"run {holder} disturbs the failure domain {domain}")
    return allow(NAME, f"no other run disturbs {', '.join(request.domains) or 'what this one does'}")
