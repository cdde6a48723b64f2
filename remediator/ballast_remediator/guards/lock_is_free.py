"""No other run holds a lock that this run needs."""

from ballast_remediator.contract import Answer, ClaimRequest, Ledger
from ballast_remediator.guards import allow, refuse

NAME = "lock_is_free"


def lock_is_free(request: ClaimRequest, ledger: Ledger) -> Answer:
    """One run per target, and one run of a cluster among all that disturb etcd or an apiserver."""
    for lock in request.locks:
        holder = ledger.lock_holder(lock)
        if holder is not None and holder != request.run_id:
            return refuse(
                NAME,
                f"run {holder} holds the lock {lock}. If that run ended as outcome_unknown, look at its etcd and say: "
                f"ballastctl resolve {holder}",
            )
    return allow(NAME, f"{', '.join(request.locks)} free")
