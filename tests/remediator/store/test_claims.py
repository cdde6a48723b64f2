"""No order of events and no interleaving of claims exceeds a budget or disturbs the same thing twice.

Everything here drives the real store. What is true is kept beside it: when runs really began, whatever the clock said.
"""

import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from ballast_remediator.contract import (
    Action,
    Alert,
    Answer,
    Budget,
    ClaimRequest,
    Jump,
    LedgerGuard,
    Mode,
    RunState,
    StopKind,
    Target,
    Terms,
    Verdict,
)
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.guards.budget_is_left import allowance, budget_is_left
from ballast_remediator.store import decisions, inbox, ledger, reading, runs, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.ledger import Host
from ballast_remediator.store.places import SqliteFile
from ballast_remediator.store.runs import NotPossible
from ballast_remediator.store.schema import runs as table
from tests.remediator.guards import book
from tests.remediator.standing import NO_BRAKE
from tests.remediator.store.rows import PLAN, again, entries, held, opened, planned

ALL = (*LEDGER_GUARDS, *LOCK_GUARDS)
TARGETS = [Target("here", "book", name) for name in ("a", "b", "c", "d")]
RACKS = ["here/domain/1", "here/domain/2"]
ENDS = [RunState.SUCCEEDED, RunState.FAILED, RunState.OUTCOME_UNKNOWN]


class RolledBack(Exception):
    """What makes the store take everything back that an operation did."""


def received(connection: Connection) -> str | None:
    """The run that was just opened and that nobody has looked at."""
    return connection.execute(select(table.c.id).where(table.c.state == RunState.RECEIVED)).scalar()


def claim_and_fail(connection: Connection, *claim: Any) -> None:
    ledger.claim(connection, (ledger.Claim(*claim),))
    raise RolledBack


@dataclass
class Begun:
    """A run that began; ``at`` and ``ended_at`` are true seconds."""

    target: Target
    token: int
    locks: frozenset[str]
    at: float
    ended_at: float | None = None


class Claims(RuleBasedStateMachine):
    """Runs of one runbook in one cluster, under one policy, on a host whose clock is set now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.wall, self.true = 1_800_000_000.0, 0.0
        self.store = Store(SqliteFile(Path(self.folder.name) / "remediator.db", lambda: self.wall))
        self.surroundings = Surroundings(None, wall=lambda: self.wall, monotonic=lambda: self.true)
        self.queued: dict[str, ClaimRequest] = {}
        self.begun: dict[str, Begun] = {}
        self.stopped: list[str] = []

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @initialize(
        limit=st.none() | st.integers(0, 4),
        percent=st.none() | st.sampled_from([0.0, 20.0, 50.0]),
        cooldown=st.sampled_from([1.0, 120.0]),
    )
    def policy(self, limit: int | None, percent: float | None, cooldown: float) -> None:
        self.terms = Terms(Budget(limit, percent, 600.0), cooldown)
        self.most = allowance(self.terms.budget, len(TARGETS))

    # --- What may happen ---

    @rule(on=st.sampled_from(TARGETS), racks=st.sets(st.sampled_from(RACKS)), alone=st.booleans())
    def queue(self, on: Target, racks: set[str], *, alone: bool) -> None:
        """A run that everybody agreed to; ``alone`` is one that needs the control plane for itself."""
        finding = inbox.Finding(Alert("f", {}, {}, firing=True, starts_at=1.0), on)
        self.store.write(inbox.file, (), (finding,), brake=NO_BRAKE, reopen_after=0.0)
        run_id = self.store.read(received)
        if run_id is None:
            return  # one of this target is open already
        self.store.write(runs.transition, run_id, RunState.PLANNING, words="")
        self.store.write(
            runs.keep_plan,
            run_id,
            RunState.QUEUED,
            plan=PLAN,
            plan_hash="hash",
            mode=Mode.AUTO,
            policy_digest="p",
            words="",
        )
        self.queued[run_id] = book.request(
            run_id=run_id,
            target=on,
            locks=(f"here/target/{on.name}", *(["here/lock/control-plane"] if alone else [])),
            domains=tuple(sorted(racks)),
            population=len(TARGETS),
            terms=self.terms,
        )

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        request = self.queued[data.draw(st.sampled_from(sorted(self.queued)))]
        self._took(
            request, self.store.write_together(ledger.claim, ledger.Claim(request, PLAN, ALL, self.surroundings.host()))
        )

    @precondition(lambda self: self.queued)
    @rule(data=st.data())
    def claim_and_roll_back(self, data: st.DataObject) -> None:
        request = self.queued[data.draw(st.sampled_from(sorted(self.queued)))]
        before = entries(self.store), held(self.store)
        with pytest.raises(RolledBack):
            self.store.write(claim_and_fail, request, PLAN, ALL, self.surroundings.host())
        assert (entries(self.store), held(self.store)) == before

    @precondition(lambda self: len(self.queued) > 1)
    @rule(data=st.data())
    def claim_all_at_once(self, data: st.DataObject) -> None:
        """Claims that share a transaction, with one among them that is rolled back."""
        requests = data.draw(st.permutations(list(self.queued.values())))
        host = self.surroundings.host()
        failing = requests[0]
        together = Barrier(len(requests) + 1)

        def one(request: ClaimRequest) -> int | Answer:
            together.wait(10)
            return self.store.write_together(ledger.claim, ledger.Claim(request, PLAN, ALL, host))

        def broken() -> None:
            together.wait(10)
            with suppress(RolledBack, runs.NotPossible):
                self.store.write(claim_and_fail, failing, PLAN, ALL, host)

        with ThreadPoolExecutor(len(requests) + 1) as pool:
            claims = [pool.submit(one, request) for request in requests]
            pool.submit(broken).result(20)
        for request, claimed in zip(requests, claims, strict=True):
            self._took(request, claimed.result(20))

    @precondition(lambda self: self._going_on())
    @rule(data=st.data(), state=st.sampled_from(ENDS))
    def end(self, data: st.DataObject, state: RunState) -> None:
        run_id = data.draw(st.sampled_from(sorted(self._going_on())))
        run = self.begun[run_id]
        if state is not RunState.FAILED:
            with suppress(runs.NotPossible):
                self.store.write(runs.advance, run_id, run.token, RunState.VERIFYING, "")
        self.store.write(runs.advance, run_id, run.token, state, "")
        run.ended_at = self.true
        if state is not RunState.OUTCOME_UNKNOWN:
            run.locks = frozenset()

    @precondition(lambda self: self._unknown())
    @rule(data=st.data())
    def resolve(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self._unknown())))
        self.store.write(decisions.resolve, run_id, person="anna", reason="looked")
        self.begun[run_id].locks = frozenset()

    @rule(on=st.sampled_from([*TARGETS, None]), kind=st.sampled_from([StopKind.KILL_SWITCH, StopKind.HOLD]))
    def stop(self, on: Target | None, kind: StopKind) -> None:
        with suppress(runs.NotPossible):  # a hold of everything
            name = None if on is None else on.name
            put = self.store.write(stops.put, kind, person="anna", reason="work", cluster="here", target=name)
            self.stopped.append(put.id)

    @precondition(lambda self: self.stopped)
    @rule()
    def lift(self) -> None:
        for stop in self.stopped:
            self.store.write(stops.lift, stop, person="anna", reason="done")
        self.stopped.clear()

    @rule(seconds=st.sampled_from([1.0, 60.0, 121.0, 300.0, 599.0, 601.0]))
    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.true += seconds

    @rule(seconds=st.sampled_from([600.0, -600.0, 25.0, -25.0, 3600.0]))
    def set_clock(self, seconds: float) -> None:
        self.wall += seconds
        self.surroundings.host()  # the engine looks whenever it judges a run

    # --- What has to hold ---

    def _took(self, request: ClaimRequest, claimed: int | Answer) -> None:
        if isinstance(claimed, Answer):
            return
        del self.queued[request.run_id]
        covered = [stop for stop in self.store.read(stops.in_force) if stop.covers(request.target)]
        assert not covered, f"{request.target.name} began while {covered[0].scope} was stopped"
        earlier = [run.ended_at for run in self.begun.values() if run.target == request.target]
        for ended_at in earlier:
            assert ended_at is not None, "two runs go on on one target"
            assert self.true - ended_at >= self.terms.cooldown, "the target has not rested"
        locks = frozenset((*request.locks, *request.domains))
        self.begun[request.run_id] = Begun(request.target, claimed, locks, self.true)

    def _going_on(self) -> list[str]:
        return [run_id for run_id, run in self.begun.items() if run.ended_at is None]

    def _unknown(self) -> list[str]:
        return [run_id for run_id, run in self.begun.items() if run.ended_at is not None and run.locks]

    @invariant()
    def the_budget_holds_in_every_window(self) -> None:
        times = [run.at for run in self.begun.values()]
        for last in times:
            within = sum(last - 600.0 < at <= last for at in times)
            assert within <= self.most, f"{within} of {self.most} runs began within ten minutes"

    @invariant()
    def nothing_is_held_twice(self) -> None:
        for one, other in combinations(self.begun.values(), 2):
            assert not one.locks & other.locks
        mine = {lock: run_id for run_id, run in self.begun.items() for lock in run.locks}
        assert held(self.store) == mine


TestClaims = Claims.TestCase
TestClaims.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def queue(store: Store, count: int, terms: Terms, **changes: Any) -> list[ClaimRequest]:
    found = []
    for _ in range(count):
        run = planned(store, opened(store), to=RunState.QUEUED)
        locks = (f"here/target/{run.target.name}",)
        content = {"locks": locks, "domains": (), "terms": terms, "plan_hash": "h", **changes}
        found.append(book.request(run_id=run.id, target=run.target, **content))
    return found


def claim_together(store: Store, requests: Sequence[ClaimRequest]) -> list[int | Answer]:
    """All of them from threads of their own, let go at the same moment."""
    together = Barrier(len(requests))

    def one(request: ClaimRequest) -> int | Answer:
        together.wait(10)
        return store.write_together(ledger.claim, ledger.Claim(request, PLAN, ALL, Host()))

    with ThreadPoolExecutor(len(requests)) as pool:
        return [claimed.result(30) for claimed in [pool.submit(one, request) for request in requests]]


@pytest.mark.parametrize("budget", [Budget(5, None, 3600.0), Budget(50, 25.0, 3600.0), Budget(0, None, 3600.0)])
def test_threads_that_claim_at_once_share_one_budget(store: Store, budget: Budget) -> None:
    requests = queue(store, 20, Terms(budget, 1.0), population=20)
    claimed = claim_together(store, requests)
    assert sum(isinstance(one, int) for one in claimed) == allowance(budget, 20)
    assert {one.guard for one in claimed if isinstance(one, Answer)} == {"budget_is_left"}


def test_of_threads_that_need_the_same_only_one_gets_it(store: Store) -> None:
    wide = Terms(Budget(1000, None, 3600.0), 1.0)
    for changes, guard in (
        ({"locks": ("here/lock/control-plane",)}, "lock_is_free"),
        ({"domains": ("here/domain/rack-1",)}, "one_disruption_per_domain"),
    ):
        claimed = claim_together(store, queue(store, 10, wide, **changes))
        assert sum(isinstance(one, int) for one in claimed) == 1
        assert {one.guard for one in claimed if isinstance(one, Answer)} == {guard}


def claim_in_one_commit(store: Store, *claims: ledger.Claim) -> list[int | Answer]:
    return list(store.write(ledger.claim, claims))


def test_a_claim_sees_those_before_it_in_the_same_commit(store: Store) -> None:
    """Its budget, whatever each of them counts from; and that a run on another target has just begun."""
    one_of = Terms(Budget(1, None, 3600.0), 1.0)
    first, second = queue(store, 2, one_of)
    jumped = Host(Jump(60.0, 1.0))
    begun, refused = claim_in_one_commit(
        store, ledger.Claim(first, PLAN, ALL, Host()), ledger.Claim(second, PLAN, (budget_is_left,), jumped)
    )
    assert isinstance(begun, int)
    assert isinstance(refused, Answer)
    assert refused.guard == "budget_is_left"

    seen: list[Action | None] = []

    def looking(_: ClaimRequest, of: Any) -> Answer:
        seen.append(of.last_action(third.target))
        return always(fourth, of)

    third, fourth = queue(store, 2, Terms(Budget(100, None, 3600.0), 1.0))
    claim_in_one_commit(store, ledger.Claim(third, PLAN, (), Host()), ledger.Claim(fourth, PLAN, (looking,), Host()))
    assert seen == [Action(third.run_id, "(book) is running", None)]


def test_a_run_that_is_gone_is_no_claim(store: Store) -> None:
    (request,) = queue(store, 1, book.TERMS)
    with pytest.raises(NotPossible, match="there is no run 00000000"):
        store.write_together(ledger.claim, ledger.Claim(replace(request, run_id="00000000"), PLAN, ALL, Host()))


# --- Composition ---


def always(request: ClaimRequest, of: Any) -> Answer:
    del request, of
    return Answer("always", Verdict.ALLOW, "whatever it is")


def never(request: ClaimRequest, of: Any) -> Answer:
    del request, of
    return Answer("never", Verdict.REFUSE, "whatever it is")


def broken(request: ClaimRequest, of: Any) -> Answer:
    raise ZeroDivisionError(f"{request.run_id} {of}")


def would_begin(store: Store, request: ClaimRequest, guards: Sequence[LedgerGuard]) -> bool:
    """Whether a claim would pass; whatever it takes is rolled back. A lock is taken once whoever is asked."""
    taken: list[int | Answer] = []

    def look(connection: Connection) -> None:
        taken.extend(ledger.claim(connection, (ledger.Claim(request, PLAN, guards, Host()),)))
        raise RolledBack

    with pytest.raises((RolledBack, IntegrityError)):
        store.write(look)
    return bool(taken) and isinstance(taken[-1], int)


def test_adding_a_guard_never_permits_more(store: Store) -> None:
    """Whatever stands in the way, and whichever guards are asked: one more makes no refused run begin."""
    narrow, wide = Terms(Budget(1, None, 3600.0), 3600.0), Terms(Budget(1000, None, 3600.0), 1e-9)
    first, *others = queue(store, 3, wide)
    assert isinstance(store.write_together(ledger.claim, ledger.Claim(first, PLAN, ALL, Host())), int)
    store.write(stops.put, StopKind.HOLD, person="anna", reason="work", cluster="here", target=others[0].target.name)
    cases = [
        *others,
        *queue(store, 1, narrow),
        *queue(store, 1, wide, locks=first.locks),
        *queue(store, 1, wide, valid_until=0.0),
        *queue(store, 1, narrow, valid_until=0.0),
    ]
    candidates = [*ALL, always, never, broken]
    permitted = 0
    for request in cases:
        for guards in ((), *((one,) for one in candidates), ALL):
            if would_begin(store, request, guards):
                permitted += 1
                continue
            for more in candidates:
                assert not would_begin(store, request, (*guards, more))
    assert permitted > len(cases), "with few guards most of them begin"


def test_a_guard_that_raises_blocks_wherever_it_stands(store: Store) -> None:
    (request,) = queue(store, 1, book.TERMS)
    for guards in ((broken,), (broken, always), (always, broken), (*ALL, broken)):
        said = store.write_together(ledger.claim, ledger.Claim(request, PLAN, guards, Host()))
        assert isinstance(said, Answer)
        assert (said.guard, said.verdict) == ("guard_failed", Verdict.REFUSE)
        assert said.reason.startswith("a guard could not answer: ZeroDivisionError(")
    run = store.read(reading.run, request.run_id)
    assert run is not None
    assert again(store, run).state is RunState.QUEUED
    assert held(store) == {}
    assert isinstance(store.write_together(ledger.claim, ledger.Claim(request, PLAN, ALL, Host())), int)
