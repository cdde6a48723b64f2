"""What was done before, here and elsewhere in the cluster, is long enough ago, and was tried in the right order."""

from ballast_remediator.contract import Action, Answer, ClaimRequest, Ledger
from ballast_remediator.guards import ago, allow, overstated, refuse
from kube_ballast.analysis.words import duration

NAME = "earlier_runs_permit"


def earlier_runs_permit(request: ClaimRequest, ledger: Ledger) -> Answer:
    """Cures that cost somebody something are spaced over a whole cluster, and the gentler one comes first.

    What did not help against a fault is not done again while that fault goes on: it would cost the same and help as
    little.
    """
    wanted = request.succession
    own = ledger.last_action(request.target) if wanted.since is not None or wanted.follows is not None else None
    if wanted.since is not None and own is not None and own.in_vain and (own.ended_at or 0.0) > wanted.since:
        return refuse(
            NAME, f"run {own.run_id} did this since the alert began to fire, and it did not help: a person has to look"
        )
    if wanted.follows is not None:
        gentler = ledger.last_action(wanted.follows)
        since = ledger.now - wanted.within
        if gentler is None or not gentler.in_vain or (gentler.ended_at or 0.0) < since:
            words = "none" if gentler is None else f"run {gentler.run_id} {gentler.words}"
            return refuse(
                NAME,
                f"{wanted.follows.runbook} comes first, and has to have been in vain within {duration(wanted.within)}; "
                f"its last run on {wanted.follows.name}: {words}",
                passing=True,
            )
        if (
            own is not None
            and own.run_id != request.run_id
            and (own.ended_at or ledger.now) >= (gentler.ended_at or 0.0)
        ):
            return refuse(
                NAME,
                f"run {own.run_id} {own.words} after {wanted.follows.runbook} was in vain: another takes another cut",
                passing=True,
            )
    for target in wanted.after:
        last = ledger.last_action(target)
        if target == wanted.follows or last is None or _rested(last, request, ledger):
            continue
        return refuse(
            NAME,
            f"run {last.run_id} on {target.name} {last.words} {ago(last.ended_at or 0.0, ledger.now)}; between two "
            f"such runs in a cluster {duration(wanted.rest)} have to pass",
        )
    return allow(NAME, "no earlier run stands in the way")


def _rested(last: Action, request: ClaimRequest, ledger: Ledger) -> bool:
    """One that goes on holds a lock, which is waited for."""
    rest = request.succession.rest
    if last.ended_at is None or last.run_id == request.run_id:
        return True
    return ledger.now - last.ended_at - overstated(ledger, rest) >= rest
