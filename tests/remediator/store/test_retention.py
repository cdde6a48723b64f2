"""What is old goes, in portions; what anybody may still ask for stays."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select, update

from ballast_remediator.chain import TRIMMED, Break, Chain, Page
from ballast_remediator.contract import RunState, StopKind
from ballast_remediator.store import decisions, inbox, retention, shadow, stops, verifying
from ballast_remediator.store.audit import append
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import PostgresqlServer, SqliteFile
from ballast_remediator.store.schema import (
    approvals,
    audit,
    checkpoints,
    notices,
    notifications,
    preapprovals,
    run_alerts,
    runs,
    shadows,
    steps,
)
from drills.stack import Stack
from tests.remediator.store.rows import opened, planned, put_into

DAY = 86400.0


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Store]:
    """A store whose clock can be moved: ``store.place.clock.now``."""
    with Store(SqliteFile(tmp_path / "remediator.db", clock=Clock())) as opened:
        yield opened


class Clock:
    def __init__(self) -> None:
        self.now = time.time() - 500 * DAY

    def __call__(self) -> float:
        return self.now


def later(store: Store, days: float) -> float:
    """So many days pass; returns what time it is."""
    clock: Any = store.place.clock  # type: ignore[union-attr]  # SQLite's
    clock.now += days * DAY
    return float(clock.now)


def count(store: Store, table: Any) -> int:
    return int(store.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one()))


def left(store: Store) -> set[str]:
    return set(store.read(lambda c: c.execute(select(runs.c.id)).scalars().all()))


def whole(store: Store) -> bool:
    def pages() -> Iterator[Page]:
        after = 0
        while True:
            page = store.read(verifying.page, after=after, limit=7)
            yield page
            if not page.entries:
                return
            after = page.entries[-1].seq

    return not [one for one in Chain().follow(pages()) if isinstance(one, Break)]


def test_a_final_run_goes_with_all_that_hangs_on_it(old: Store) -> None:
    run = planned(old, opened(old))
    old.write(decisions.approve, run.id, plan_hash="h", person="anna", reason="", acknowledged=())
    step = {"run_id": run.id, "ordinal": 1, "kind": "", "target": "", "words": "", "params": {}}
    old.write(lambda c: c.execute(insert(steps).values(step)))
    old.write(shadow.follow, run.id, "f")
    old.write(decisions.reject, run.id, person="anna", reason="no")
    kept = planned(old, opened(old))
    now = later(old, 91)
    old.write(lambda c: c.execute(update(runs).where(runs.c.id == run.id).values(finished_at=now - 90.5 * DAY)))
    assert old.write(retention.drop_runs, now - 90 * DAY) == 1
    assert left(old) == {kept.id}
    for table in (steps, approvals, shadows):
        assert count(old, table) == 0
    assert count(old, run_alerts) == 1
    assert old.write(retention.drop_runs, now - 90 * DAY) == 0


def test_neither_open_runs_nor_quarantined_ones_nor_young_ones_go(old: Store) -> None:
    unknown = opened(old)
    put_into(old, unknown, RunState.OUTCOME_UNKNOWN)
    young = opened(old)
    running = opened(old)
    put_into(old, running, RunState.RUNNING)
    resolved = opened(old)
    now = later(old, 200)

    def age(connection: Connection) -> None:
        connection.execute(update(runs).where(runs.c.id == unknown.id).values(finished_at=now - 199 * DAY))
        final = {"state": RunState.SUCCEEDED, "finished_at": now - DAY}
        connection.execute(update(runs).where(runs.c.id == young.id).values(final))
        late = {"state": RunState.OUTCOME_UNKNOWN, "finished_at": now - 199 * DAY, "resolved_at": now - DAY}
        connection.execute(update(runs).where(runs.c.id == resolved.id).values(late))

    old.write(age)
    assert old.write(retention.drop_runs, now - 90 * DAY) == 0
    assert len(left(old)) == 4
    old.write(decisions.resolve, unknown.id, person="anna", reason="looked")
    now = later(old, 91)
    assert old.write(retention.drop_runs, now - 90 * DAY) == 3
    assert left(old) == {running.id}


def test_only_notifications_that_were_filed_go(old: Store) -> None:
    for number in range(3):
        old.write(inbox.accept, [inbox.Arrival(b"%d" % number, "test")])
    old.write(lambda c: c.execute(update(notifications).where(notifications.c.id != 2).values(filed_at=old.now())))
    now = later(old, 91)
    old.write(inbox.accept, [inbox.Arrival(b"new", "test")])
    assert old.write(retention.drop_notifications, now - 90 * DAY) == 2
    assert [one.body for one in old.read(inbox.unfiled)] == [b"1", b"new"]


def test_what_keeps_runs_from_beginning_now_stays_however_old(old: Store) -> None:
    forever = old.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="")
    lifted = old.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="")
    old.write(stops.lift, lifted.id, person="anna", reason="")
    old.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="", until=old.now() + 60)
    now = later(old, 91)
    assert old.write(retention.drop_stops, now - 90 * DAY) == 2
    assert [stop.id for stop in old.read(stops.in_force)] == [forever.id]


def test_a_preapproval_stays_while_a_run_says_that_it_let_it_pass(old: Store) -> None:
    given = [
        old.write(
            decisions.preapprove,
            cluster="here",
            runbook="book",
            runbook_digest="d",
            targets=["main"],
            limits={},
            acknowledged=(),
            person="anna",
            reason="",
            until=old.now() + DAY,
        ).id
        for _ in range(2)
    ]
    run = opened(old)
    old.write(lambda c: c.execute(update(runs).where(runs.c.id == run.id).values(preapproved_by=[given[0]])))
    now = later(old, 92)
    assert old.write(retention.drop_preapprovals, now - 90 * DAY) == 1
    assert old.read(lambda c: c.execute(select(preapprovals.c.id)).scalars().all()) == [given[0]]


def test_a_notice_that_waits_is_not_dropped(old: Store) -> None:
    def fill(connection: Connection) -> None:
        for name, due_at in (("sent", None), ("waits", 1.0)):
            values = {"id": name, "at": old.now(), "kind": "failed", "about": "", "seq": 1, "body": {}}
            connection.execute(insert(notices).values(**values, due_at=due_at))

    old.write(fill)
    now = later(old, 91)
    assert old.write(retention.drop_notices, now - 90 * DAY) == 1
    assert old.read(lambda c: c.execute(select(notices.c.id)).scalars().all()) == ["waits"]


# --- The audit ---


def grown(store: Store, entries: int) -> None:
    def add(connection: Connection) -> None:
        for number in range(entries):
            append(connection, event="note", actor="test", words=f"{number}")

    store.write(add)


def test_the_chain_holds_from_its_checkpoint_on(old: Store) -> None:
    grown(old, 1200)
    now = later(old, 401)
    grown(old, 10)
    known = old.read(verifying.head)
    before = now - 400 * DAY
    assert [old.write(retention.trim_audit, before) for _ in range(4)] == [500, 500, 0, 0], "the rest is no portion"
    assert whole(old)
    assert old.read(verifying.checkpoint).seq == 1000  # type: ignore[union-attr]  # None fails as well
    assert count(old, checkpoints) == 1
    now = later(old, 8)
    assert old.write(retention.trim_audit, now - 400 * DAY) == 200
    assert whole(old)
    assert count(old, audit) == 13
    entry = old.read(lambda c: c.execute(select(audit).where(audit.c.event == TRIMMED)).first())
    assert entry is not None
    assert entry.data["seq"] == 500
    assert "1 to 500" in entry.words
    assert known.seq == 1210


def test_an_old_audit_is_not_kept_in_motion_by_its_own_trimming(old: Store) -> None:
    grown(old, 3)
    for _ in range(60):
        now = later(old, 30)
        old.write(retention.trim_audit, now - 400 * DAY)
    assert whole(old)
    assert count(old, audit) <= 16


def test_an_entry_that_is_young_keeps_what_follows(old: Store) -> None:
    """The clock was set back between two entries: an audit is dropped from its beginning only."""
    grown(old, 2)
    later(old, 450)
    grown(old, 1)
    now = later(old, 0)
    old.write(lambda c: c.execute(update(audit).where(audit.c.seq == 1).values(at=now)))
    assert old.write(retention.trim_audit, now - 400 * DAY) == 0


def test_a_whole_audit_that_is_old_leaves_a_chain_that_goes_on(old: Store) -> None:
    grown(old, 20)
    now = later(old, 450)
    assert old.write(retention.trim_audit, now - 400 * DAY) == 20
    grown(old, 3)
    assert whole(old)
    assert old.read(verifying.head).seq == 24


# --- The same on PostgreSQL ---


def test_every_portion_on_postgresql(session_stack: Stack) -> None:
    server = session_stack.postgresql()
    with Store(PostgresqlServer(server.fresh(), server.password_file)) as store:
        run = planned(store, opened(store))
        store.write(decisions.reject, run.id, person="anna", reason="no")
        unknown = opened(store)
        put_into(store, unknown, RunState.OUTCOME_UNKNOWN)
        store.write(inbox.accept, [inbox.Arrival(b"{}", "test")])
        store.write(lambda c: c.execute(update(notifications).values(filed_at=1.0)))
        stop = store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="")
        store.write(stops.lift, stop.id, person="anna", reason="")
        given: dict[str, Any] = {"cluster": "c", "runbook": "b", "runbook_digest": "d", "targets": ["t"], "limits": {}}
        store.write(decisions.preapprove, **given, acknowledged=(), person="anna", reason="", until=store.now() + 60)
        notice = {"id": "n", "at": 1.0, "kind": "failed", "about": "", "seq": 1, "body": {}}
        store.write(lambda c: c.execute(insert(notices).values(notice)))
        before = store.now() + 40 * DAY
        for portion in (
            retention.drop_runs,
            retention.drop_notifications,
            retention.drop_notices,
            retention.drop_stops,
            retention.drop_preapprovals,
        ):
            assert [store.write(portion, before), store.write(portion, before)] == [1, 0], portion
        assert left(store) == {unknown.id}
        known = store.read(verifying.head)
        assert store.write(retention.trim_audit, before) == known.seq
        grown(store, 3)
        assert whole(store)
        assert store.read(verifying.checkpoint) == known
