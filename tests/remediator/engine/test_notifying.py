"""Who tells people goes on after every failure, and says nothing twice."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from ballast_remediator.contract import StopKind
from ballast_remediator.engine import notifying
from ballast_remediator.engine.notifying import Notifier
from ballast_remediator.notice_kinds import NoticeKind
from ballast_remediator.notices import PAUSES, NotTaken
from ballast_remediator.store import heartbeats, notices, stops
from ballast_remediator.store.clockwork import Expected
from ballast_remediator.store.database import Store
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.writer import StoreUnavailable
from tests.remediator.chain import payload
from tests.remediator.engine.desk import Desk
from tests.remediator.engine.test_intake import ignored
from tests.waiting import eventually

EXPECTED = Expected(("here",), "Watchdog", absent_after=900.0, remind_within=600.0, head_every=86400.0)


@dataclass
class Inbox:
    """A receiver that keeps what it takes, and does first what ``answers`` say."""

    answers: list[Callable[[], None]] = field(default_factory=list)
    came: list[str] = field(default_factory=list)

    def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        assert body["id"] == notice_id
        self.came.append(notice_id)
        if self.answers:
            self.answers.pop(0)()


def no(*, final: bool = False) -> Callable[[], None]:
    def refuse() -> None:
        raise NotTaken("the receiver answered 500", final=final)

    return refuse


@pytest.fixture
def told(store: Store) -> Store:
    store.tell(Wanted(frozenset({NoticeKind.BRAKE_SET, NoticeKind.AUDIT_BROKEN, NoticeKind.HEARTBEAT_MISSING}), None))
    return store


def brake(store: Store) -> None:
    store.write(stops.put, StopKind.BRAKE, person="intake", reason="7 targets")


def counts(store: Store) -> tuple[int, int]:
    found = store.read(notices.outbox)
    return found.waiting, found.given_up


def test_everything_is_sent_once(told: Store) -> None:
    inbox = Inbox()
    notifier = Notifier(told, EXPECTED, receiver=inbox)
    notifier.start()
    brake(told)
    brake(told)
    eventually(lambda: counts(told) == (0, 0))
    notifier.stop(5.0)
    assert len(set(inbox.came)) == len(inbox.came) == 2


def test_a_receiver_that_fails_gets_the_same_id_again(told: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifying, "PAUSES", (0.0,) * len(PAUSES))
    inbox = Inbox([no(), no()])
    brake(told)
    notifier = Notifier(told, EXPECTED, receiver=inbox)
    while notifier._send_one():
        pass
    assert len(inbox.came) == 3
    assert len(set(inbox.came)) == 1
    assert counts(told) == (0, 0)


def test_after_an_hour_it_is_given_up(told: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 3000 < sum(PAUSES) < 4200
    monkeypatch.setattr(notifying, "PAUSES", (0.0,) * len(PAUSES))
    inbox = Inbox([no()] * 99)
    brake(told)
    notifier = Notifier(told, EXPECTED, receiver=inbox)
    while notifier._send_one():
        pass
    assert len(inbox.came) == len(PAUSES) + 1
    assert counts(told) == (0, 1)


def test_what_is_refused_for_good_is_given_up_at_once(told: Store) -> None:
    inbox = Inbox([no(final=True)])
    brake(told)
    assert Notifier(told, EXPECTED, receiver=inbox)._send_one()
    assert counts(told) == (0, 1)


def test_a_pause_is_kept_and_others_do_not_wait_for_it(told: Store) -> None:
    inbox = Inbox([no()])
    brake(told)
    notifier = Notifier(told, EXPECTED, receiver=inbox)
    assert notifier._send_one()
    assert not notifier._send_one()
    brake(told)
    assert notifier._send_one()
    assert counts(told) == (1, 0)


def test_what_was_taken_while_the_store_was_down_is_not_sent_again(
    told: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in that moment sends it again, under the same id; a store that comes back must not."""
    inbox = Inbox()
    brake(told)
    notifier = Notifier(told, EXPECTED, receiver=inbox)

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(told, "write", down)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                notifier._send_one()
    while notifier._send_one():
        pass
    assert len(inbox.came) == 1
    assert counts(told) == (0, 0)


def test_who_is_not_on_duty_sends_nothing(told: Store) -> None:
    inbox = Inbox()
    asked: list[int] = []

    def not_me() -> bool:
        asked.append(1)
        return False

    brake(told)
    notifier = Notifier(told, EXPECTED, receiver=inbox, on_duty=not_me)
    notifier.start()
    eventually(lambda: len(asked) > 1)
    notifier.stop(5.0)
    assert inbox.came == []


def test_a_fault_of_its_own_ends_nothing(told: Store) -> None:
    def fault() -> None:
        raise ZeroDivisionError

    inbox = Inbox([fault])
    brake(told)
    notifier = Notifier(told, EXPECTED, receiver=inbox)
    notifier.start()
    eventually(lambda: counts(told) == (0, 0))
    notifier.stop(5.0)
    assert len(inbox.came) == 2


def test_a_broken_audit_is_told_once(told: Store) -> None:
    notifier = Notifier(told, EXPECTED, receiver=None, audit_problem=lambda: "entry 7 was edited")
    for _ in range(3):
        notifier._looked_at = float("-inf")
        notifier._look()
    assert counts(told) == (1, 0)


# --- The heartbeat that arrives ---


def watchdog(**labels: str | None) -> bytes:
    return payload(labels={"alertname": "Watchdog", "ballast_runbook": None, "etcd_cluster": None, **labels})


def test_a_heartbeat_is_kept_and_opens_nothing(desk: Desk) -> None:
    desk.receive(watchdog())
    desk.turn()
    assert desk.runs() == ()
    assert ignored(desk.store) == []
    assert desk.engine.ignored_alerts() == 0
    [beat] = desk.store.read(heartbeats.told, ("here",))
    assert beat.age is not None


def test_a_heartbeat_of_nobodys_cluster_is_told(desk: Desk) -> None:
    desk.receive(watchdog(cluster="elsewhere"))
    desk.turn()
    assert ignored(desk.store) == ["cluster 'elsewhere' is not configured (configured: here)"]


def test_a_heartbeat_that_resolved_is_none(desk: Desk) -> None:
    desk.receive(payload(firing=False, labels={"alertname": "Watchdog", "ballast_runbook": None}))
    desk.turn()
    assert [beat.age for beat in desk.store.read(heartbeats.told, ("here",))] == [None]


def test_what_is_late_is_noticed_without_a_receiver(told: Store) -> None:
    late = Expected(("here",), "Watchdog", absent_after=1e-9, remind_within=600.0, head_every=86400.0)
    notifier = Notifier(told, late, receiver=None)
    notifier._look()
    assert [beat.missing for beat in told.read(heartbeats.told, ("here",))] == [True]
