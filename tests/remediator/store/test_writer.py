"""Group commit: who waits together shares one commit, and none is harmed by another's mistake."""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.contract import RunState
from ballast_remediator.store import inbox, memory, reading, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import locks, notifications
from ballast_remediator.store.writer import StoreUnavailable, Undecided
from tests.remediator.store.grouping import outcome, together
from tests.remediator.store.rows import opened
from tests.waiting import eventually


def count(store: Store) -> int:
    return store.read(lambda c: c.execute(select(func.count()).select_from(notifications)).scalar_one())


def accepting(store: Store, number: int) -> Callable[[], object]:
    return lambda: store.write_together(inbox.accept, inbox.Arrival(str(number).encode(), "test"))


def bad_value(connection: Connection) -> None:
    connection.execute(insert(notifications).values(received_at=0.0, source={"not": "text"}, body=b""))


def bad_json(connection: Connection) -> None:
    connection.execute(insert(runs.runs).values(id="x", alert={1, 2}))


def bad_key(connection: Connection) -> None:
    connection.execute(insert(locks).values(name="x", run_id="no such run", taken_at=0.0))


def bad_later(connection: Connection) -> None:
    memory.later(connection, insert(notifications), {"received_at": 0.0, "source": None, "body": b""})


def bad_duplicate(connection: Connection) -> None:
    inbox.accept(connection, [inbox.Arrival(b"half", "test")])
    connection.execute(text("insert into notifications (id, received_at, source, body) values (1, 0, '', '')"))
    connection.execute(text("insert into notifications (id, received_at, source, body) values (1, 0, '', '')"))


def bad_state(connection: Connection) -> None:
    inbox.accept(connection, [inbox.Arrival(b"half", "test")])
    runs.transition(connection, "nope", RunState.PLANNING, words="")


@pytest.mark.parametrize("bad", [bad_value, bad_json, bad_key, bad_duplicate, bad_later, bad_state])
def test_one_bad_operation_harms_no_other(store: Store, bad: Callable[[Connection], None]) -> None:
    outcomes = together(store, accepting(store, 1), lambda: store.write(bad), accepting(store, 2), accepting(store, 3))
    assert [outcomes[number] for number in (0, 2, 3)] == [None, None, None]
    assert isinstance(outcomes[1], runs.NotPossible | SQLAlchemyError | TypeError)
    assert not isinstance(outcomes[1], StoreUnavailable)
    assert count(store) == 3
    assert [one.body for one in store.read(inbox.unfiled)] == [b"1", b"2", b"3"]


def test_who_waits_together_shares_one_commit(store: Store) -> None:
    commits: list[object] = []
    event.listen(store._engine, "commit", commits.append)
    assert together(store, *(accepting(store, number) for number in range(50))) == [None] * 50
    assert count(store) == 50
    assert len(commits) == 2


def test_a_commit_that_fails_is_nobodys_success(store: Store) -> None:
    def refuse(_: Connection) -> None:
        raise SQLAlchemyError("the disk is gone")

    event.listen(store._engine, "commit", refuse)
    outcomes = together(store, accepting(store, 1), accepting(store, 2))
    event.remove(store._engine, "commit", refuse)
    assert [type(one) for one in outcomes] == [StoreUnavailable, StoreUnavailable]
    assert "the store refuses to write: the disk is gone" in str(outcomes[0])
    assert count(store) == 0
    store.write_together(inbox.accept, inbox.Arrival(b"later", "test"))
    assert count(store) == 1


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file of this process may grow past ``limit`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_survived(sqlite: Store, tmp_path: Path) -> None:
    sqlite.write_together(inbox.accept, inbox.Arrival(b"before", "test"))
    size = (tmp_path / "remediator.db-wal").stat().st_size
    with full_disk(size + 1024), pytest.raises(StoreUnavailable, match="the store refuses to write: "):
        sqlite.write_together(inbox.accept, inbox.Arrival(bytes(1024 * 1024), "test"))
    assert count(sqlite) == 1
    assert (sqlite.problem() or "").startswith("the store refuses to write: ")
    sqlite.write_together(inbox.accept, inbox.Arrival(b"after", "test"))
    assert count(sqlite) == 2
    assert sqlite.problem() is None


def test_what_is_written_to_see_whether_it_can_be_reaches_the_disk(sqlite: Store, tmp_path: Path) -> None:
    sqlite.write_together(inbox.accept, inbox.Arrival(b"before", "test"))
    size = (tmp_path / "remediator.db-wal").stat().st_size
    with full_disk(size + 1024):
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                sqlite.try_to_write()
        assert sqlite.problem() is not None
    sqlite.try_to_write()
    assert sqlite.problem() is None


def test_a_commit_that_does_not_come_is_waited_for_and_not_sent_again(store: Store) -> None:
    release = threading.Event()
    try:
        with pytest.raises(Undecided, match=r"no commit within 0.05 s, though it may still come") as stuck:
            store._writer.write(lambda _: release.wait(20.0), timeout=0.05)
        with pytest.raises(Undecided) as again:
            stuck.value.outcome()
        assert store.problem() == str(again.value)
    finally:
        release.set()
    assert eventually(again.value.outcome, retry=Undecided) is True
    store.write_together(inbox.accept, inbox.Arrival(b"later", "test"))
    assert store.problem() is None


def test_a_write_whose_turn_does_not_come_is_withdrawn(store: Store) -> None:
    begun, release = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        begun.set()
        release.wait(20.0)

    holder = threading.Thread(target=outcome, args=(lambda: store.write(hold),))
    holder.start()
    try:
        assert begun.wait(10.0)
        with pytest.raises(StoreUnavailable, match=r"not written: its turn did not come within 0.05 s") as refused:
            store._writer.write(lambda c: inbox.accept(c, [inbox.Arrival(b"withdrawn", "test")]), timeout=0.05)
    finally:
        release.set()
        holder.join(20.0)
    assert not isinstance(refused.value, Undecided)
    store.write_together(inbox.accept, inbox.Arrival(b"later", "test"))
    assert [one.body for one in store.read(inbox.unfiled)] == [b"later"]


def test_a_table_that_is_gone(store: Store) -> None:
    store.write(lambda c: c.execute(text("drop table steps")))
    with pytest.raises(
        StoreUnavailable, match=r"the store refuses to read: (no such table: steps|relation \"steps\" does not exist)"
    ):
        store.read(reading.steps_of, "x")


def test_a_closed_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "remediator.db")
    store.close()
    with pytest.raises(StoreUnavailable, match="the store is closed"):
        store.write_together(inbox.accept, inbox.Arrival(b"", "test"))


def test_what_waits_is_committed_by_a_close(tmp_path: Path) -> None:
    with Store(tmp_path / "remediator.db") as store:
        outcomes = together(store, *(accepting(store, number) for number in range(5)))
        assert outcomes == [None] * 5
    with Store(tmp_path / "remediator.db") as store:
        assert count(store) == 5
        opened(store)


def test_a_fault_that_is_none_of_the_databases_is_told_to_whoever_waits(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> None:
        raise FileNotFoundError("the password's file is gone")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(store._backend, "begin_writing", gone)
        with pytest.raises(StoreUnavailable, match=r"the store refuses to write: the password's file is gone"):
            store.write_together(inbox.accept, inbox.Arrival(b"", "test"))
        assert store.problem() is not None
    store.write_together(inbox.accept, inbox.Arrival(b"later", "test"))
    assert store.problem() is None
