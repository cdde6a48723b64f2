"""Which of several replicas tells people, on a real PostgreSQL: one of them, and the next when that one dies."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.contract import StopKind
from ballast_remediator.engine.housekeeping import HOUSEKEEPING
from ballast_remediator.engine.membership import Membership
from ballast_remediator.engine.notifying import Notifier
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.notice_kinds import NoticeKind
from ballast_remediator.notices import NotTaken
from ballast_remediator.store import notices, replicas, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.places import PostgresqlServer
from tests.remediator.engine.test_notifying import EXPECTED
from tests.waiting import eventually

LEASE = 2.0
KINDS = frozenset({NoticeKind.BRAKE_SET, NoticeKind.KILL_SWITCH_SET, NoticeKind.KILL_SWITCH_LIFTED})


@dataclass
class Receiver:
    """Keeps who sent what; holds one sender up for good, once it was told to."""

    came: list[tuple[int, str]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    holding: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)

    def from_(self, number: int) -> "From":
        return From(self, number)


@dataclass
class From:
    receiver: Receiver
    number: int

    def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        del body
        self.receiver.came.append((self.number, notice_id))
        if self.receiver.hold.is_set() and not self.receiver.holding.is_set():
            self.receiver.holding.set()
            self.receiver.release.wait()
            raise NotTaken("it woke when everything was over")


@dataclass
class Replica:
    """As far as notices go."""

    store: Store
    member: Membership
    notifier: Notifier

    def kill(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beats no more, and says nothing."""
        monkeypatch.setattr(self.member, "_leave", lambda: None)
        self.member.stop(10.0)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.release.set()


@pytest.fixture
def pair(shared: PostgresqlServer, receiver: Receiver) -> Iterator[list[Replica]]:
    with ExitStack() as stack:
        made = []
        for number in range(2):
            store = stack.enter_context(Store(shared))
            store.tell(Wanted(KINDS, None))
            member = Membership(store, lease=LEASE)
            on_duty = partial(member.has_duty, HOUSEKEEPING)
            notifier = Notifier(store, EXPECTED, receiver=receiver.from_(number), on_duty=on_duty)
            member.start()
            stack.callback(member.stop, 10.0)
            made.append(Replica(store, member, notifier))
        eventually(lambda: made[0].store.read(replicas.count) == len(made))
        for one in made:
            one.notifier.start()
            stack.callback(one.notifier.stop, 10.0)
        yield made
        receiver.release.set()


def tell(store: Store, count: int) -> None:
    for number in range(count):
        store.write(stops.put, StopKind.BRAKE, person="intake", reason=f"{number} targets")


def all_sent(store: Store) -> bool:
    return store.read(notices.outbox).waiting == 0


def test_one_of_two_sends_each_notice_once(pair: list[Replica], receiver: Receiver) -> None:
    for one in pair:
        tell(one.store, 10)
    eventually(lambda: all_sent(pair[0].store), within=30.0)
    assert len({number for number, _ in receiver.came}) == 1
    assert Counter(notice for _, notice in receiver.came).most_common(1)[0][1] == 1
    assert len(receiver.came) == 20


def test_who_dies_between_the_answer_and_writing_it_down_costs_one_repetition_under_its_id(
    pair: list[Replica], receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.hold.set()
    tell(pair[0].store, 5)
    assert receiver.holding.wait(30.0)
    ((dying, notice),) = receiver.came
    pair[dying].kill(monkeypatch)
    other = pair[1 - dying]
    eventually(lambda: all_sent(other.store), within=30.0)
    counts = Counter(each for _, each in receiver.came)
    assert len(counts) == 5
    assert {each for each, count in counts.items() if count > 1} == {notice}
    assert counts[notice] == 2
    assert {number for number, _ in receiver.came[1:]} == {1 - dying}
    receiver.release.set()
    pair[dying].notifier.stop(10.0)
    assert other.store.read(notices.outbox) == notices.Outbox(0, 0.0, 0), "what it says afterwards changes nothing"


def test_the_kill_switch_s_file_is_told_when_it_comes_and_when_it_goes(
    shared: PostgresqlServer, receiver: Receiver, tmp_path: Path
) -> None:
    file = tmp_path / "stop"
    bodies: list[Mapping[str, Any]] = []

    class Reading:
        def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
            del notice_id
            bodies.append(body)

    del receiver
    with Store(shared) as store:
        store.tell(Wanted(KINDS, None))
        look = Surroundings(file).kill_switch_file
        notifier = Notifier(store, EXPECTED, receiver=Reading(), kill_switch_file=look)
        notifier.start()
        try:
            file.touch()
            eventually(lambda: [body["kind"] for body in bodies] == ["kill_switch_set"])
            file.unlink()
            eventually(lambda: [body["kind"] for body in bodies] == ["kill_switch_set", "kill_switch_lifted"])
        finally:
            notifier.stop(10.0)
    assert f"the kill switch's file {file} is there on " in bodies[0]["words"]
    assert f"the kill switch's file {file} is gone from " in bodies[1]["words"]
