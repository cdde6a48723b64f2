"""Replicas that count each other's beats: who is dead is buried once, after a lease; who stood still is fenced.

Each replica here is a `Membership` whose clock the test sets and that beats only when told to.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.engine.membership import Membership
from ballast_remediator.store import reading, replicas, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import PostgresqlServer
from ballast_remediator.store.writer import StoreUnavailable
from tests.remediator.store.rows import opened, put_into

LEASE = 12.0
LOOK = LEASE / 6


@dataclass
class Clock:
    """Seconds since boot, for replicas of one moment."""

    at: float = 1000.0

    def now(self) -> float:
        return self.at


@dataclass
class Replicas:
    """Any number of them on one store, and one clock."""

    store: Store
    clock: Clock = field(default_factory=Clock)

    def join(self) -> Membership:
        member = Membership(self.store, lease=LEASE, now=self.clock.now)
        member.beat()
        return member

    def go_on(self, seconds: float, *living: Membership) -> None:
        """The time passes, and ``living`` beat in it as they do."""
        end = self.clock.at + seconds
        while self.clock.at + LOOK <= end:
            self.clock.at += LOOK
            for member in living:
                member.beat()
        self.clock.at = end

    def known(self) -> int:
        return self.store.read(replicas.count)


@pytest.fixture
def several(shared: PostgresqlServer) -> Iterator[Replicas]:
    with Store(shared) as store:
        yield Replicas(store)


def identity(member: Membership) -> str:
    assert member.id is not None
    return member.id


def taken(several: Replicas, member: Membership) -> tuple[str, int]:
    """A run under way that ``member`` owns, and its token."""
    run = opened(several.store)
    put_into(several.store, run, RunState.RUNNING)
    assert member.id is not None
    assert several.store.write(replicas.take, [run.id], member.id) == {run.id}
    return run.id, several.store.write(runs.take_over, run.id, owner=member.id)


def test_a_dead_replica_is_buried_after_a_lease_and_not_before(several: Replicas) -> None:
    one, dead = several.join(), several.join()
    one.beat()
    several.go_on(LEASE - LOOK, one)
    assert several.known() == 2
    several.go_on(LOOK, one)
    assert several.known() == 1
    assert dead.id != one.id


def test_who_beats_is_never_buried(several: Replicas) -> None:
    one, two = several.join(), several.join()
    several.go_on(10 * LEASE, one, two)
    assert several.known() == 2


def test_time_in_which_nobody_could_look_counts_for_nobody(several: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _quiet = several.join(), several.join()
    one.beat()
    write = several.store.write

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(several.store, "write", down)
    for _ in range(20):
        several.clock.at += LOOK
        with pytest.raises(StoreUnavailable):
            one.beat()
    monkeypatch.setattr(several.store, "write", write)
    one.beat()
    assert several.known() == 2, "it counts again from now on"
    several.go_on(LEASE - LOOK, one)
    assert several.known() == 2
    several.go_on(LOOK, one)
    assert several.known() == 1


def test_what_the_dead_one_had_is_taken_by_exactly_one(several: Replicas) -> None:
    one, two, dead = several.join(), several.join(), several.join()
    run_id, token = taken(several, dead)
    assert dead.has_duty(replicas.INTAKE)
    assert not one.has_duty(replicas.INTAKE)
    for living in (one, two):
        living.beat()
    several.go_on(LEASE, one, two)
    due = several.store.read(reading.due, replica=one.id, furthest=60.0, limit=9)
    assert [run.id for run in due] == [run_id], "at once, however long it was put off"
    assert one.id is not None
    assert two.id is not None
    assert several.store.write(replicas.take, [run_id], one.id) == {run_id}
    assert several.store.write(replicas.take, [run_id], two.id) == frozenset()
    assert several.store.write(runs.take_over, run_id, owner=one.id) > token
    with pytest.raises(runs.NotPossible, match="another replica's now"):
        several.store.write(runs.take_over, run_id, owner=two.id)
    assert (one.has_duty(replicas.INTAKE), two.has_duty(replicas.INTAKE)) == (True, False)


def test_who_wakes_after_its_burial_is_fenced_and_does_nothing_more(several: Replicas) -> None:
    one, zombie = several.join(), several.join()
    run_id, token = taken(several, zombie)
    assured, old = zombie.assurance(), identity(zombie)
    assert assured()
    one.beat()
    several.go_on(LEASE, one)
    assert not assured(), "by its own clock, before it has asked anybody"
    with pytest.raises(runs.Fenced):
        several.store.write(runs.note, run_id, token, "still here")
    with pytest.raises(runs.Fenced):
        several.store.write(replicas.take, [run_id], old)
    zombie.beat()
    zombie.beat()
    assert identity(zombie) != old
    assert zombie.assurance()()
    assert not assured(), "what it began as the one that was buried stays fenced"
    with pytest.raises(runs.Fenced):
        several.store.write(runs.note, run_id, token, "still here")


def test_the_lease_ends_for_its_owner_before_it_ends_for_anybody_else(several: Replicas) -> None:
    one, two = several.join(), several.join()
    one.beat()
    assured = two.assurance()
    several.go_on(LEASE - LOOK, one)
    assert (assured(), several.known()) == (True, 2)
    several.go_on(LOOK, one)
    assert (assured(), several.known()) == (False, 1)


def test_who_leaves_is_followed_at_once(several: Replicas) -> None:
    one, leaving = several.join(), several.join()
    run_id, token = taken(several, leaving)
    assert one.id is not None
    assert leaving.id is not None
    several.store.write(replicas.leave, leaving.id)
    assert several.store.write(replicas.take, [run_id], one.id) == {run_id}
    with pytest.raises(runs.Fenced):
        several.store.write(runs.note, run_id, token, "still here")


def test_a_burial_that_comes_late_meets_a_living_one(several: Replicas) -> None:
    one, two = several.join(), several.join()
    two.beat()
    assert one.id is not None
    assert two.id is not None
    assert not several.store.write(replicas.bury, two.id, last_beat=1, by=one.id)
    assert several.known() == 2


def test_on_a_file_of_its_own_whoever_was_there_before_is_gone(store: Store) -> None:
    before = Replicas(store)
    dead = before.join()
    run_id, token = taken(before, dead)
    now = before.join()
    assert before.known() == 1
    assert now.id is not None
    assert store.write(replicas.take, [run_id], now.id) == {run_id}
    with pytest.raises(runs.Fenced):
        store.write(runs.note, run_id, token, "still here")
