"""The last action on this target is long enough ago."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, overstated, refuse
from kube_ballast.analysis.words import duration

NAME = "target_has_rested"


def target_has_rested(request: ClaimRequest, ledger: Ledger) -> Answer:
    """What has to be done again so soon was not a remedy; and two programs that fight do so in short turns.

    A person's rejection counts as an action: the same plan must not come back at once.
    """
    cooldown = request.terms.cooldown
    last = ledger.last_action(request.target)
    if last is None or last.run_id == request.run_id:
        return allow(NAME, "nothing was done to this target yet")
    if last.ended_at is None:
        return allow(NAME, f"run {last.run_id} {last.words} and goes on; its lock is waited for")
    rested = ledger.now - last.ended_at - overstated(ledger, cooldown)
    words = f"run {last.run_id} {last.words} {duration(max(0.0, rested))} ago; a target rests for {duration(cooldown)}"
    return allow(NAME, words) if rested >= cooldown else refuse(NAME, f"{words} (cooldown)")
