"""The plan's own limits are no wider than those of the policy's rule."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse

NAME = "plan_is_within_limits"


def plan_is_within_limits(request: ClaimRequest, ledger: Ledger) -> Answer:
    """A limit that the rule names and the plan does not have is exceeded: nobody would hold it."""
    del ledger
    for name, most in request.terms.limits.items():
        planned = request.limits.get(name)
        if isinstance(planned, bool) or not isinstance(planned, int | float):
            return refuse(
                NAME, f"the policy limits {name} to {most:g}, and a plan of {request.target.runbook} has none"
            )
        if not planned <= most:
            return refuse(NAME, f"the plan's {name} is {planned:g}, and the policy limits it to {most:g}")
    return allow(NAME, "the policy's rule has no narrower limit")
