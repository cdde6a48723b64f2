"""What a claim, an approval and an owner may do, each in one transaction."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from ballast_remediator.chain import Break, Chain
from ballast_remediator.contract import Answer, ClaimRequest, Done, RunState, Succession, Verdict
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from ballast_remediator.store import decisions, ledger, reading, runs, verifying
from ballast_remediator.store.database import Store
from ballast_remediator.store.ledger import Host
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.records import Run
from tests.remediator.guards import book
from tests.remediator.store.grouping import together
from tests.remediator.store.rows import PLAN, RISKY, again, entries, events, held, opened, planned, put_into, step_of

S = RunState
FRESH = 1e18
ALL = (*LEDGER_GUARDS, *LOCK_GUARDS)


def approve(store: Store, run: Run, plan_hash: str = "h", *acknowledged: str) -> None:
    store.write(
        decisions.approve, run.id, plan_hash=plan_hash, person="anna", reason="looks right", acknowledged=acknowledged
    )


def request(run: Run, *, valid_until: float = FRESH, plan_hash: str = "h") -> ClaimRequest:
    locks = (f"here/{run.target.name}", "here/control-plane")
    return book.request(
        run_id=run.id, target=run.target, plan_hash=plan_hash, locks=locks, domains=(), valid_until=valid_until
    )


def queued(store: Store) -> Run:
    run = planned(store, opened(store))
    approve(store, run)
    return again(store, run)


def claim(store: Store, run: Run) -> int:
    token = store.write_together(ledger.claim, ledger.Claim(request(run), PLAN, ALL, Host()))
    assert isinstance(token, int)
    return token


def claim_alone(store: Store, run: Run) -> int:
    """Beside others: it holds no lock but its target's."""
    token = store.write_together(
        ledger.claim, ledger.Claim(replace(request(run), locks=(f"here/{run.target.name}",)), PLAN, ALL, Host())
    )
    assert isinstance(token, int)
    return token


def test_an_approval_is_bound_to_its_hash(store: Store) -> None:
    run = planned(store, opened(store))
    with pytest.raises(runs.NotPossible, match=r"is another one now \(hash h…\): read it again"):
        approve(store, run, "other")
    approve(store, run)
    after = again(store, run)
    assert (after.state, after.approved_hash) == (S.QUEUED, "h")
    assert store.read(reading.timeline, run.id)[-1].actor == "anna"


def test_a_risk_is_accepted_by_its_name(store: Store) -> None:
    run = planned(store, opened(store), RISKY)
    with pytest.raises(runs.NotPossible, match="a risk that has to be accepted by name: disk"):
        approve(store, run, "h", "disc")
    approve(store, run, "h", "disk", "more")
    assert again(store, run).acknowledged == {"disk"}


def test_what_cannot_be_approved(store: Store) -> None:
    run = opened(store)
    for state in set(S) - {S.AWAITING_APPROVAL}:
        put_into(store, run, state)
        with pytest.raises(runs.NotPossible, match=f"is {state}, not waiting for approval"):
            approve(store, run)
    with pytest.raises(runs.NotPossible, match="there is no run nope"):
        store.write(decisions.approve, "nope", plan_hash="h", person="anna", reason="", acknowledged=())
    late = planned(store, opened(store))
    put_into(store, late, S.AWAITING_APPROVAL, expires_at=time.time() - 1)
    with pytest.raises(runs.NotPossible, match="expired"):
        approve(store, late)


def test_a_claim_takes_the_run_its_steps_and_its_locks_at_once(store: Store) -> None:
    run = queued(store)
    assert claim(store, run) == 1
    after = again(store, run)
    assert (after.state, after.token) == (S.RUNNING, 1)
    assert held(store) == {f"here/{run.target.name}": run.id, "here/control-plane": run.id}
    steps = store.read(reading.steps_of, run.id)
    assert [(step.spec, step.done_at, step.attempts) for step in steps] == [(spec, None, 0) for spec in PLAN.steps]


def test_a_claim_on_old_evidence_or_for_another_plan_changes_nothing(store: Store) -> None:
    run = queued(store)
    written = entries(store)
    late = request(run, valid_until=time.monotonic() - 1)
    refused = store.write_together(ledger.claim, ledger.Claim(late, PLAN, ALL, Host()))
    assert isinstance(refused, Answer)
    assert refused.guard == "evidence_is_fresh"
    with pytest.raises(runs.NotPossible, match="not approved for this plan"):
        store.write_together(ledger.claim, ledger.Claim(request(run, plan_hash="other"), PLAN, ALL, Host()))
    assert again(store, run).state is S.QUEUED
    assert entries(store) == written + 1, "it is put off, with the reason, and that is all"
    assert held(store) == {}
    claim(store, run)
    with pytest.raises(runs.NotPossible, match="is running and not approved"):
        claim(store, run)


def test_a_second_run_finds_the_lock_held_until_the_first_ends(store: Store) -> None:
    first, second = queued(store), queued(store)
    token = claim(store, first)
    refused = store.write_together(ledger.claim, ledger.Claim(request(second), PLAN, ALL, Host()))
    assert isinstance(refused, Answer)
    assert refused.verdict is Verdict.REFUSE
    assert f"run {first.id} holds the lock here/control-plane" in refused.reason
    assert again(store, second).state is S.QUEUED
    store.write(runs.advance, first.id, token, S.FAILED, "ended")
    assert claim(store, second) == 1


def test_a_run_of_unknown_outcome_holds_its_locks_until_a_person_has_looked(store: Store) -> None:
    first, second = queued(store), queued(store)
    store.write(runs.advance, first.id, claim(store, first), S.OUTCOME_UNKNOWN, "nobody can tell")
    refused = store.write_together(ledger.claim, ledger.Claim(request(second), PLAN, ALL, Host()))
    assert isinstance(refused, Answer)
    assert f"run {first.id} holds the lock here/control-plane" in refused.reason
    store.write(decisions.resolve, first.id, person="anna", reason="looked")
    assert held(store) == {}
    assert claim(store, second) == 1


def test_whoever_lost_a_run_writes_nothing(store: Store) -> None:
    run = queued(store)
    old = claim(store, run)
    new = store.write(runs.take_over, run.id)
    assert new == old + 1
    step = step_of(store, run.id)
    written = entries(store)
    for operation, arguments in (
        (runs.intend, (step,)),
        (runs.checkpoint, (step, Done("a lie"))),
        (runs.note, ("a lie",)),
        (runs.advance, (S.FAILED, "a lie")),
    ):
        with pytest.raises(runs.Fenced):
            store.write(operation, run.id, old, *arguments)
    assert entries(store) == written
    assert again(store, run).state is S.RUNNING
    for _ in range(2):
        store.write(runs.intend, run.id, new, step_of(store, run.id))
    store.write(runs.checkpoint, run.id, new, step, Done("did a", {"size": 2}))
    step = step_of(store, run.id)
    assert (step.attempts, step.result, step.facts) == (2, "did a", {"size": 2})
    assert events(store, run)[-4:] == ["taken_over", "step_started", "step_started", "step_done"]


def test_a_rejection_is_for_what_has_not_begun(store: Store) -> None:
    run = planned(store, opened(store))
    store.write(decisions.reject, run.id, person="anna", reason="no")
    assert again(store, run).state is S.CANCELLED
    begun = queued(store)
    claim(store, begun)
    with pytest.raises(runs.NotPossible, match="is running, from where it cannot become cancelled"):
        store.write(decisions.reject, begun.id, person="anna", reason="no")


def test_one_open_run_per_target(store: Store) -> None:
    first = opened(store, "main")
    assert opened(store, "main").id == first.id
    put_into(store, first, S.SUCCEEDED)
    assert opened(store, "main").id != first.id


def test_a_reason_to_wait_is_audited_once(store: Store) -> None:
    run = opened(store)
    for words in ("busy", "busy", "busier", "busier"):
        store.write(runs.postpone, run.id, seconds=5.0, words=words)
    assert events(store, run) == ["received", "waiting", "waiting"]
    assert again(store, run).due_at > time.time()


def test_after_a_fault_planning_ends_and_a_queue_rests(store: Store) -> None:
    run = opened(store)
    store.write(runs.transition, run.id, S.PLANNING, words="")
    store.write(runs.give_up, run.id, owner=None, words="oops")
    assert again(store, run).state is S.FAILED
    waiting = queued(store)
    store.write(runs.give_up, waiting.id, owner=None, words="oops")
    after = again(store, waiting)
    assert (after.state, after.reason) == (S.QUEUED, "oops")
    assert after.due_at > time.time() + runs.AFTER_FAULT / 2


def test_who_lost_a_run_cannot_give_it_up(store: Store) -> None:
    run = opened(store)
    store.write(runs.transition, run.id, S.PLANNING, words="")
    put_into(store, run, S.PLANNING, owner="another")
    before = events(store, run)
    for owner in ("buried", None):
        with pytest.raises(runs.NotPossible, match="is another replica's now"):
            store.write(runs.give_up, run.id, owner=owner, words="oops")
    assert again(store, run).state is S.PLANNING
    assert events(store, run) == before


def test_what_can_be_asked(store: Store) -> None:
    first, second = opened(store), opened(store)
    put_into(store, first, S.SUCCEEDED)
    assert [run.id for run in store.read(reading.recent_runs, limit=9) if not run.final] == [second.id]
    assert [run.id for run in store.read(reading.recent_runs, limit=1)] == [second.id]
    found = store.read(reading.recent_runs, limit=10, state=S.SUCCEEDED)
    assert [run.id for run in found] == [first.id]
    assert store.read(reading.run, "nope") is None
    assert store.read(reading.backlog) == 0


def test_whoever_frees_a_lock_wakes_those_that_wait_for_it(store: Store) -> None:
    first, *others = [queued(store) for _ in range(7)]
    token = claim(store, first)
    for other in others:
        assert isinstance(store.write_together(ledger.claim, ledger.Claim(request(other), PLAN, ALL, Host())), Answer)
    assert [run.id for run in store.read(reading.due, replica=None, furthest=60.0, limit=9)] == [first.id]
    store.write(runs.advance, first.id, token, S.FAILED, "done")
    woken = [run.id for run in store.read(reading.due, replica=None, furthest=60.0, limit=9)]
    assert sorted(woken) == sorted(one.id for one in others[: runs.WOKEN])


def test_who_was_fenced_spoils_the_commit_of_nobody_else(store: Store) -> None:
    mine, lost, other = (queued(store) for _ in range(3))
    tokens = [claim_alone(store, run) for run in (mine, lost, other)]
    store.write(runs.take_over, lost.id)

    def writes(run: Run, token: int) -> list[Callable[[], object]]:
        step = step_of(store, run.id)
        return [
            lambda: store.write(runs.intend, run.id, token, step),
            lambda: store.write(runs.checkpoint, run.id, token, step, Done("did a")),
            lambda: store.write(runs.advance, run.id, token, S.VERIFYING, "looking"),
        ]

    calls = [call for run, token in zip((mine, lost, other), tokens, strict=True) for call in writes(run, token)]
    outcomes = together(store, *calls)
    assert [type(one) for one in outcomes] == [*[type(None)] * 3, *[runs.Fenced] * 3, *[type(None)] * 3]
    assert [again(store, run).state for run in (mine, lost, other)] == [S.VERIFYING, S.RUNNING, S.VERIFYING]
    assert [step_of(store, run.id).done_at is not None for run in (mine, lost, other)] == [True, False, True]
    assert events(store, lost)[-1] == "taken_over"


def test_what_is_in_hand_hides_no_other(store: Store) -> None:
    """However many go on for long, and however little is asked for."""
    several = [queued(store).id for _ in range(3)]

    def due(*in_hand: str) -> list[str]:
        return [
            run.id for run in store.read(reading.due, replica=None, furthest=60.0, limit=1, in_hand=frozenset(in_hand))
        ]

    assert [due(), due(several[0]), due(*several[:2]), due(*several)] == [several[:1], several[1:2], several[2:], []]


def test_a_claim_behind_the_writes_of_who_was_fenced_begins(store: Store) -> None:
    """Whatever has to be done again alone: nobody's write is lost, and the audit's chain holds."""
    lost, mine, waiting = (queued(store) for _ in range(3))
    stale, token = (claim_alone(store, run) for run in (lost, mine))
    store.write(runs.take_over, lost.id)
    step = step_of(store, mine.id)
    fenced, written, begun = together(
        store,
        lambda: store.write(runs.checkpoint, lost.id, stale, step_of(store, lost.id), Done("did a")),
        lambda: store.write(runs.checkpoint, mine.id, token, step, Done("did a")),
        lambda: store.write_together(ledger.claim, ledger.Claim(request(waiting), PLAN, ALL, Host())),
    )
    assert (type(fenced), written, type(begun)) == (runs.Fenced, None, int)
    assert step_of(store, mine.id).done_at is not None
    page = store.read(verifying.page, after=0, limit=10**6)
    assert [one for one in Chain().follow([page]) if isinstance(one, Break)] == []


def test_who_ends_in_the_same_commit_leaves_no_gap_to_begin_in(store: Store) -> None:
    """All guards of a claim judge one state: the lock of who goes on is held, or its rest has to pass."""
    first, second = queued(store), queued(store)
    token = claim(store, first)
    store.write(runs.advance, first.id, token, S.VERIFYING, "looking")
    after = replace(request(second), succession=Succession(after=(first.target,), rest=3600.0))
    ended, said = together(
        store,
        lambda: store.write(runs.advance, first.id, token, S.SUCCEEDED, "all is well"),
        lambda: store.write_together(ledger.claim, ledger.Claim(after, PLAN, ALL, Host())),
    )
    assert ended is None
    assert isinstance(said, Answer)
    assert said.guard == "lock_is_free"


def test_runs_that_go_on_at_the_same_time_share_their_statements(store: Store) -> None:
    several = [queued(store) for _ in range(5)]
    steps = [(run, claim_alone(store, run), step_of(store, run.id)) for run in several]
    executed: list[str] = []

    def hear(*of: Any) -> None:
        executed.append(of[2].split()[0])

    event.listen(store._engine, "before_cursor_execute", hear)
    try:
        intend = [lambda one=one: store.write(runs.intend, one[0].id, one[1], one[2]) for one in steps]
        assert together(store, *intend) == [None] * 5
    finally:
        event.remove(store._engine, "before_cursor_execute", hear)
    assert executed.count("UPDATE") == 1
    assert [step_of(store, run.id).attempts for run in several] == [1] * 5


@pytest.mark.parametrize("noticed", [True, False])
def test_a_lock_that_was_freed_in_the_same_commit_is_waited_for_by_nobody(store: Store, *, noticed: bool) -> None:
    if noticed:
        store.tell(Wanted(frozenset({S.FAILED}), None))
    holder, bystander, waiting = (queued(store) for _ in range(3))
    token = claim(store, holder)
    bystanders = replace(request(bystander), locks=(f"here/{bystander.target.name}",))
    together(
        store,
        lambda: store.write_together(ledger.claim, ledger.Claim(bystanders, PLAN, ALL, Host())),
        lambda: store.write(runs.advance, holder.id, token, S.FAILED, "ended"),
        lambda: store.write_together(ledger.claim, ledger.Claim(request(waiting), PLAN, ALL, Host())),
    )
    begins = again(store, waiting).state is S.RUNNING
    due = [run.id for run in store.read(reading.due, replica=None, furthest=60.0, limit=9)]
    assert begins or waiting.id in due, "it began, or was woken by who freed the lock"
    assert begins == (held(store).get("here/control-plane") == waiting.id)
