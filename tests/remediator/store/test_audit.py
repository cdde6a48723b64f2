"""The audit is a chain: what was written cannot be changed, taken out or put in without breaking it."""

import hashlib
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, insert, select, update

from ballast_remediator.chain import GENESIS
from ballast_remediator.contract import RunState, canonical
from ballast_remediator.store import decisions, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit
from tests.remediator.store.rows import opened, planned


def broken_at(store: Store) -> int | None:
    """The first entry whose hash does not follow from it and the one before; computed as a stranger would."""
    previous = GENESIS
    for row in store.read(lambda c: c.execute(select(audit).order_by(audit.c.seq)).all()):
        content = {name: getattr(row, name) for name in ("at", "run_id", "event", "actor", "words", "data")}
        if row.previous_hash != previous:
            return row.seq
        if row.hash != hashlib.sha256(previous.encode() + canonical(content)).hexdigest():
            return row.seq
        previous = row.hash
    return None


@pytest.fixture
def written(store: Store) -> Store:
    for _ in range(2):
        run = planned(store, opened(store))
        store.write(decisions.reject, run.id, person="añna ✓", reason="no \x01 \U0001f600")
    assert broken_at(store) is None
    return store


def test_a_whole_chain(written: Store) -> None:
    rows = written.read(lambda c: c.execute(select(audit).order_by(audit.c.seq)).all())
    assert [row.event for row in rows[:4]] == ["received", "planning", "awaiting_approval", RunState.CANCELLED]
    assert rows[0].previous_hash == GENESIS
    assert rows[2].data == {"plan_hash": "h", "policy_digest": "p", "mode": "ask"}


@pytest.mark.parametrize("column", ["at", "run_id", "event", "actor", "words", "data", "hash", "previous_hash"])
def test_an_edited_entry_breaks_it(written: Store, column: str) -> None:
    value: object = {"at": 0.5, "data": {"plan_hash": "other"}}.get(column, "another")
    written.write(lambda c: c.execute(update(audit).where(audit.c.seq == 3).values({column: value})))
    assert broken_at(written) == 3


def test_an_entry_taken_out_or_put_in_breaks_it(written: Store) -> None:
    def take_out(connection: Connection) -> None:
        connection.execute(delete(audit).where(audit.c.seq == 4))

    def put_in(connection: Connection) -> None:
        row = connection.execute(select(audit).where(audit.c.seq == 3)).one()
        content = {name: value for name, value in row._mapping.items() if name != "seq"}
        connection.execute(insert(audit).values(**content, seq=4))

    changes: tuple[tuple[Callable[[Connection], None], int], ...] = ((take_out, 5), (put_in, 4))
    for change, broken in changes:
        written.write(change)
        assert broken_at(written) == broken


def test_a_change_that_is_rolled_back_leaves_no_entry_and_no_gap(written: Store) -> None:
    run = opened(written)

    def fail(connection: Connection) -> None:
        runs.transition(connection, run.id, RunState.PLANNING, words="")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        written.write(fail)
    written.write(runs.transition, run.id, RunState.PLANNING, words="again")
    assert broken_at(written) is None
