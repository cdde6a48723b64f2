"""Fewer runs of this runbook began in this cluster, in the policy's window, than it may begin."""

import math

from ballast_remediator.contract import Answer, Budget, ClaimRequest, Ledger
from ballast_remediator.guards import allow, overstated, refuse
from kube_ballast.analysis.words import duration

NAME = "budget_is_left"


def budget_is_left(request: ClaimRequest, ledger: Ledger) -> Answer:
    """A run counts from when it began, however it ended."""
    budget = request.terms.budget
    target = request.target
    since = ledger.now - budget.window - overstated(ledger, budget.window)
    begun = ledger.begun(target.cluster, target.runbook, since)
    most = allowance(budget, request.population)
    words = (
        f"{begun} of {most} runs of {target.runbook} began in {target.cluster} within {duration(budget.window)} "
        f"({_basis(budget, request.population)})"
    )
    if begun < most:
        return allow(NAME, words)
    if most == 0:
        return refuse(NAME, f"{words}: the budget allows none, whatever happens. Is it meant to?")
    return refuse(NAME, f"{words}: the budget is used up. Find out why it takes so many before you raise it")


def allowance(budget: Budget, population: int) -> int:
    """How many runs may begin in the window where there are ``population`` targets: the smaller of the two limits."""
    limits = [] if budget.runs is None else [budget.runs]
    if budget.percent is not None:
        limits.append(math.floor(population * budget.percent / 100))
    return max(0, min(limits, default=0))


def _basis(budget: Budget, population: int) -> str:
    absolute = [] if budget.runs is None else [f"{budget.runs} runs"]
    share = [] if budget.percent is None else [f"{budget.percent:g} % of {population} targets"]
    return "the policy allows " + ", and ".join(absolute + share)
