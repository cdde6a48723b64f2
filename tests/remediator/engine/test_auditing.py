"""Whoever edits the store while nobody asks is noticed by the remediator itself."""

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, select, update

from ballast_remediator.engine import auditing
from ballast_remediator.engine.auditing import AuditCheck
from ballast_remediator.store import retention, verifying
from ballast_remediator.store.audit import append
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit
from ballast_remediator.store.writer import StoreUnavailable


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "PART", 7)
    monkeypatch.setattr(auditing, "EVERY", 0.0)
    monkeypatch.setattr(auditing, "AGAIN", 0.0)


def note(store: Store, many: int = 1) -> None:
    def add(connection: Connection) -> None:
        for number in range(many):
            append(connection, event="note", actor="test", words=f"{number}", data={"share": 1 / 3})

    store.write(add)


def checked(check: AuditCheck) -> AuditCheck:
    for _ in range(100):
        if not check.turn():
            return check
    raise AssertionError("it does not end")


def seq(store: Store) -> int:
    return store.read(verifying.head).seq


def edit(store: Store, number: int) -> None:
    store.write(lambda c: c.execute(update(audit).where(audit.c.seq == number).values(words="all is well")))


def test_it_follows_what_is_added(store: Store) -> None:
    check = AuditCheck(store)
    assert (check.problem, check.verified_seq, check.verified_at) == (None, 0, None)
    for many in (20, 1, 0, 30):
        note(store, many)
        checked(check)
        assert (check.problem, check.verified_seq) == (None, seq(store))
        assert check.verified_at == pytest.approx(time.time(), abs=30)


def test_an_empty_audit_is_no_problem(store: Store) -> None:
    check = checked(checked(AuditCheck(store)))
    assert (check.problem, check.verified_seq) == (None, 0)


def test_it_does_a_part_at_once(store: Store) -> None:
    note(store, 20)
    check = AuditCheck(store)
    assert check.turn()
    assert check.verified_seq == 0, "not before the end was seen"
    checked(check)
    assert check.verified_seq == 20


def test_what_was_added_and_edited_is_named_soon(store: Store) -> None:
    note(store, 10)
    check = checked(AuditCheck(store))
    note(store, 10)
    edit(store, 15)
    problem = checked(check).problem
    assert problem is not None
    assert problem.startswith("entry 15 of the audit (edited): its hash does not cover what it says")
    assert check.verified_seq == 10


def test_what_was_checked_before_is_checked_again_as_a_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    note(store, 20)
    check = checked(AuditCheck(store))
    edit(store, 3)
    assert checked(check).problem is None, "only what was added is looked at"
    monkeypatch.setattr(auditing, "WHOLE_EVERY", 0.0)
    check = checked(AuditCheck(store))
    assert check.problem is not None
    assert "entry 3 " in check.problem


def cut(connection: Connection) -> None:
    connection.execute(delete(audit).where(audit.c.seq > 15))


def cut_and_go_on(connection: Connection) -> None:
    cut(connection)
    for _ in range(10):
        append(connection, event="note", actor="test", words="something else")


def write_anew(connection: Connection) -> None:
    rows = connection.execute(select(audit).order_by(audit.c.seq)).all()
    connection.execute(delete(audit))
    for row in rows:
        append(connection, event=row.event, actor=row.actor, words="another" if row.seq == 4 else row.words)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("change", [cut, cut_and_go_on, write_anew])
def test_an_end_that_is_another_one_is_noticed_without_a_head_from_anybody(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Connection], None],
    whole: bool,  # noqa: FBT001 - pytest's parameter
) -> None:
    note(store, 20)
    if whole:
        monkeypatch.setattr(auditing, "WHOLE_EVERY", 0.0)
    check = checked(AuditCheck(store))
    store.write(change)
    assert checked(check).problem is not None
    assert "20" in (check.problem or "")


def test_what_retention_drops_is_no_problem(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    note(store, 20)
    check = checked(AuditCheck(store))
    monkeypatch.setattr(retention, "ENTRIES", 12)
    store.write(retention.trim_audit, time.time() + 60)
    note(store, 5)
    assert (checked(check).problem, check.verified_seq) == (None, 26)
    store.write(retention.trim_audit, time.time() + 60)
    monkeypatch.setattr(auditing, "WHOLE_EVERY", 0.0)
    assert checked(AuditCheck(store)).problem is None
    assert checked(check).problem is None


def test_a_chain_that_is_whole_again_is_said_to_be(store: Store) -> None:
    note(store, 20)
    words = store.read(lambda c: c.execute(select(audit.c.words).where(audit.c.seq == 3)).scalar_one())
    edit(store, 3)
    check = checked(AuditCheck(store))
    assert check.problem is not None
    store.write(lambda c: c.execute(update(audit).where(audit.c.seq == 3).values(words=words)))
    assert checked(check).problem is None


def test_a_store_that_is_down_meanwhile_is_no_verdict(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    note(store, 20)
    check = AuditCheck(store)
    assert check.turn()
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> None:
            raise StoreUnavailable("the disk is gone")

        broken.setattr(store, "read", refuse)
        with pytest.raises(StoreUnavailable):
            checked(check)
    assert (checked(check).problem, check.verified_seq) == (None, 20)
