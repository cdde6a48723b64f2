"""PostgreSQL that breaks, stands still or crashes in the middle of a write: callers are told what became of it."""

import threading
from collections.abc import Iterator

import pytest
from psycopg import sql
from sqlalchemy.exc import DataError

from ballast_remediator.store import inbox, postgresql
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import PostgresqlServer
from ballast_remediator.store.writer import StoreUnavailable, Undecided
from drills.stack import Postgresql, Stack
from tests.remediator.store.cutting import Way, way_to
from tests.waiting import eventually


@pytest.fixture
def way(shared: PostgresqlServer) -> Iterator[Way]:
    with way_to(shared) as found:
        yield found


@pytest.fixture
def own(stack: Stack) -> Postgresql:
    """A server that a test may stop."""
    return stack.postgresql()


def accept(store: Store, words: bytes) -> None:
    store.write_together(inbox.accept, inbox.Arrival(words, "test"))


def accepted(store: Store, words: bytes) -> bool:
    accept(store, words)
    return True


def bodies(store: Store) -> list[bytes]:
    return [one.body for one in store.read(inbox.unfiled)]


def test_a_commit_whose_answer_is_lost_is_a_success_and_written_once(way: Way) -> None:
    with Store(way.place) as store:
        accept(store, b"before")
        way.cut = "after"
        accept(store, b"kept")
        assert (way.cuts, bodies(store)) == (1, [b"before", b"kept"])
        assert store.problem() is None


def test_a_commit_that_never_arrived_is_none(way: Way) -> None:
    with Store(way.place) as store:
        way.cut = "before"
        with pytest.raises(StoreUnavailable, match="the connection broke during a commit: ") as refused:
            accept(store, b"lost")
        assert not isinstance(refused.value, Undecided), "it may be sent again"
        assert (way.cuts, bodies(store)) == (1, [])
        accept(store, b"again")
        assert bodies(store) == [b"again"]


def test_writes_of_others_in_between_settle_nothing(way: Way, shared: PostgresqlServer) -> None:
    with Store(way.place) as store, Store(shared) as other:
        way.meanwhile = lambda: accept(other, b"other")
        way.cut = "after"
        accept(store, b"kept")
        way.cut = "before"
        with pytest.raises(StoreUnavailable):
            accept(store, b"lost")
        assert bodies(store) == [b"kept", b"other", b"other"]


def test_a_crash_that_loses_a_commit_is_no_success(own: Postgresql) -> None:
    """Its number in PostgreSQL is the next transaction's after the crash, and that one is committed."""
    place = PostgresqlServer(own.fresh(), own.password_file)

    def crash() -> None:
        own.kill()
        own.restart()
        with Store(place) as other:
            accept(other, b"next")

    with way_to(place) as way, Store(way.place) as store:
        way.meanwhile = crash
        way.cut = "before"
        with pytest.raises(StoreUnavailable):
            accept(store, b"lost")
        assert bodies(store) == [b"next"]


def test_a_server_that_stands_still_is_given_up_in_time(own: Postgresql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(postgresql, "CONNECT_SECONDS", 2)
    with Store(PostgresqlServer(own.fresh(), own.password_file)) as store:
        accept(store, b"before")
        own.pause()
        try:
            with pytest.raises(StoreUnavailable, match=r"the store refuses to read: .* did not answer within 1 s"):
                bodies(store)
            with pytest.raises(StoreUnavailable):
                accept(store, b"during")
            assert store.problem() is not None
        finally:
            own.resume()
        eventually(lambda: accepted(store, b"after"), within=20.0, retry=StoreUnavailable)
        # One that was refused may be sent again, and what the server got of it was not committed.
        assert bodies(store) == [b"before", b"after"]
        assert store.problem() is None


def test_a_commit_that_hangs_is_waited_for_and_not_sent_again(own: Postgresql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 1.0)
    place = PostgresqlServer(own.fresh(), own.password_file)
    release = threading.Event()
    with way_to(place) as way, Store(way.place) as store:
        way.meanwhile = lambda: release.wait(20.0)
        way.cut = "after"
        own_timeout = 0.2
        with pytest.raises(Undecided) as undecided:
            store._writer.write(lambda c: inbox.accept(c, [inbox.Arrival(b"late", "test")]), timeout=own_timeout)
        assert "it may still come" in (store.problem() or "")
        release.set()
        eventually(lambda: undecided.value.outcome() == [None], within=20.0, retry=Undecided)
        assert bodies(store) == [b"late"]


def test_who_stands_still_in_the_middle_of_a_write_loses_its_turn(shared: PostgresqlServer) -> None:
    entered, release = threading.Event(), threading.Event()

    def stand_still(connection: object) -> None:
        del connection
        entered.set()
        release.wait(20.0)

    said: list[BaseException] = []

    def hold() -> None:
        try:
            store.write(stand_still)
        except StoreUnavailable as error:
            said.append(error)

    with Store(shared) as store, Store(shared) as other:
        holder = threading.Thread(target=hold)
        holder.start()
        try:
            assert entered.wait(10.0)
            accept(other, b"other")  # its turn comes when the server has ended the session
        finally:
            release.set()
            holder.join(20.0)
        assert len(said) == 1
        assert bodies(store) == [b"other"]


def test_a_session_that_the_server_ended_is_replaced(shared: PostgresqlServer, postgresql: Postgresql) -> None:
    with Store(shared) as store:
        accept(store, b"before")
        name = sql.Literal(shared.conninfo.rpartition("/")[2])
        postgresql.administer(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(name)
        )
        assert bodies(store) == [b"before"], "a read that meets a dead connection is made on another one"
        eventually(lambda: accepted(store, b"after"), retry=StoreUnavailable)
        assert bodies(store) == [b"before", b"after"]


def test_what_comes_in_waits_for_no_turn(shared: PostgresqlServer) -> None:
    """Another replica that writes for long, or stands still in the middle of it, keeps no notification waiting."""
    began, release = threading.Event(), threading.Event()

    def long(_: object) -> None:
        began.set()
        release.wait(30)

    with Store(shared) as store, Store(shared) as other:
        writing = threading.Thread(target=lambda: other.write(long))
        writing.start()
        assert began.wait(10)
        store.submit(inbox.accept, inbox.Arrival(b"kept", "test"), aside=True).result()
        assert not release.is_set()
        assert bodies(store) == [b"kept"]
        release.set()
        writing.join(10)


def test_a_mistake_among_what_comes_in_harms_no_other(shared: PostgresqlServer) -> None:
    with Store(shared) as store:
        arrivals = [inbox.Arrival(b"one", "test"), inbox.Arrival(b"bad", "no\x00text"), inbox.Arrival(b"two", "test")]
        release = threading.Event()
        held = store.submit(lambda _, __: [release.wait(10)], None, aside=True)
        several = [store.submit(inbox.accept, arrival, aside=True) for arrival in arrivals]
        release.set()
        held.result()
        several[0].result()
        several[2].result()
        with pytest.raises(DataError):
            several[1].result()
        assert sorted(bodies(store)) == [b"one", b"two"]
        assert store.problem() is None
