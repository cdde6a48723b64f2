"""A run moves along the table and nowhere else, and each move is in the audit."""

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballast_remediator.contract import EXECUTING, FINAL, TRANSITIONS, RunState
from ballast_remediator.store import runs
from ballast_remediator.store.database import Store
from tests.remediator.store.rows import again, entries, events, held, hold, opened, put_into

S = RunState


def test_the_table_itself() -> None:
    assert set(TRANSITIONS) == set(S)
    assert {state for state in S if not TRANSITIONS[state]} == FINAL
    assert EXECUTING.isdisjoint(FINAL)
    # Nothing executes that was not queued, which takes the policy or a person.
    assert {state for state in S if S.RUNNING in TRANSITIONS[state]} == {S.QUEUED}
    assert {state for state in S if S.QUEUED in TRANSITIONS[state]} == {S.PLANNING, S.AWAITING_APPROVAL}
    # What has begun is never shown as a shadow, cancelled or suppressed; it is planned anew where no step had begun.
    for state in EXECUTING:
        assert TRANSITIONS[state] <= EXECUTING | {S.PLANNING, S.SUCCEEDED, S.FAILED, S.OUTCOME_UNKNOWN}


def test_every_state_can_be_reached_and_left() -> None:
    reached, frontier = {S.RECEIVED}, [S.RECEIVED]
    while frontier:
        following = TRANSITIONS[frontier.pop()] - reached
        reached |= following
        frontier += following
    assert reached == set(S)


def test_every_pair_of_states(store: Store) -> None:
    for before, to in product(S, S):
        run = opened(store)
        hold(store, run, run.id)
        put_into(store, run, before)
        written = entries(store)
        if to in TRANSITIONS[before]:
            store.write(runs.transition, run.id, to, words="so it is")
            after = again(store, run)
            assert (after.state, after.reason) == (to, "so it is")
            assert events(store, run)[-1] == to
            assert entries(store) == written + 1
            assert (after.finished_at is not None) is (to in FINAL)
            assert (run.id in held(store)) is (to not in FINAL - {S.OUTCOME_UNKNOWN})
        else:
            with pytest.raises(runs.NotPossible, match=f"run {run.id} is {before}, from where it cannot become {to}"):
                store.write(runs.transition, run.id, to, words="so it is not")
            assert again(store, run).state is before
            assert entries(store) == written


def test_a_run_that_is_not_there(store: Store) -> None:
    with pytest.raises(runs.NotPossible, match="there is no run nope"):
        store.write(runs.transition, "nope", S.PLANNING, words="")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(S), max_size=12))
def test_any_walk_leaves_one_entry_for_each_step_that_was_allowed(store: Store, wishes: list[RunState]) -> None:
    run = opened(store)
    state, path = S.RECEIVED, [S.RECEIVED]
    for wish in wishes:
        try:
            store.write(runs.transition, run.id, wish, words="")
        except runs.NotPossible:
            assert wish not in TRANSITIONS[state]
        else:
            assert wish in TRANSITIONS[state]
            state = wish
            path.append(wish)
    assert again(store, run).state is state
    assert events(store, run) == path
