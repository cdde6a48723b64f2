"""What the ledger says of a run that did all that it wanted and did not help."""

import time

import pytest

from ballast_remediator.contract import Done, RunState
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from ballast_remediator.store import decisions, ledger, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.ledger import Host
from tests.remediator.guards import book
from tests.remediator.store.rows import PLAN, again, opened, planned, step_of

STEPS = len(PLAN.steps)


@pytest.mark.parametrize(
    ("done", "state", "in_vain"),
    [
        (STEPS, RunState.FAILED, True),
        (STEPS, RunState.FAILED, False),
        (STEPS - 1, RunState.FAILED, False),
        (0, RunState.FAILED, False),
        (STEPS, RunState.SUCCEEDED, False),
    ],
)
def test_what_failed_since_the_fault_goes_on_was_in_vain(
    store: Store, done: int, state: RunState, *, in_vain: bool
) -> None:
    """It is told from what failed before, from what failed of something else afterwards, and from what helped."""
    run = planned(store, opened(store))
    store.write(decisions.approve, run.id, plan_hash="h", person="anna", reason="looks right", acknowledged=())
    run = again(store, run)
    request = book.request(
        run_id=run.id, target=run.target, plan_hash="h", locks=(), domains=(), valid_until=time.monotonic() + 60
    )
    token = store.write_together(ledger.claim, ledger.Claim(request, PLAN, (*LEDGER_GUARDS, *LOCK_GUARDS), Host()))
    assert isinstance(token, int)
    for ordinal in range(1, done + 1):
        store.write(runs.checkpoint, run.id, token, step_of(store, run.id, ordinal), Done("done"))
    if done == STEPS:
        store.write(runs.advance, run.id, token, RunState.VERIFYING, "looking")
    store.write(runs.advance, run.id, token, state, "ended", in_vain=in_vain)
    action = store.read(lambda connection: ledger.SqlLedger(connection, Host()).last_action(run.target))
    assert action is not None
    assert (action.run_id, action.in_vain) == (run.id, in_vain)
