"""A backup holds one state of the store, whatever happens to it meanwhile, and restoring it does nothing again."""

import gzip
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text

from ballast_remediator import archive
from ballast_remediator.chain import Break, Chain, Entry
from ballast_remediator.contract import Mode, RunState, StopKind
from ballast_remediator.store import backup, database, decisions, inbox, reading, replicas, runs, stops, verifying
from ballast_remediator.store.backup import NotRestored
from ballast_remediator.store.database import Store
from ballast_remediator.store.ledger import Host, SqlLedger
from ballast_remediator.store.places import Place, PostgresqlServer, SqliteFile
from ballast_remediator.store.records import Run
from ballast_remediator.store.schema import heartbeats, metadata, notices, steps
from ballast_remediator.store.schema import runs as runs_table
from ballast_remediator.store.sqlite import StoreInUse
from ballast_remediator.store.writer import StoreUnavailable
from drills.stack import Postgresql, Stack
from tests.remediator.engine.desk import Desk
from tests.remediator.store.rows import PLAN, again, events, held, hold, opened, planned, put_into
from tests.waiting import eventually

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="module")
def server(session_stack: Stack) -> Postgresql:
    return session_stack.postgresql()


@pytest.fixture
def place_of(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str], Place]:
    """A new, empty place for a store of that kind."""
    made = iter(range(100))

    def place(kind: str) -> Place:
        if kind == "sqlite":
            return SqliteFile(tmp_path / f"{next(made)}" / "remediator.db")
        running: Postgresql = request.getfixturevalue("server")
        return PostgresqlServer(running.fresh(), running.password_file)

    return place


@pytest.fixture
def store(place_of: Callable[[str], Place], request: pytest.FixtureRequest) -> Iterator[Store]:
    with Store(place_of(getattr(request, "param", "sqlite"))) as opened:
        yield opened


def nothing() -> None:
    """Nobody wants to know how far it is."""


def content(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table that a backup holds."""

    def read(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table))] for table in metadata.sorted_tables
        }

    return store.read(read)


def filled(store: Store) -> dict[str, str]:
    """A store with something in each table; the runs' ids by what they are."""
    odd = {"whole": 1.0, "third": 1 / 3, "none": None, "text": 'ß ✓ \U0001f600 \\ "', "base64": "no bytes"}
    store.write_together(inbox.accept, inbox.Arrival(b"\x00\xff not unicode", "test"))
    waiting = planned(store, opened(store))
    ended = planned(store, opened(store))
    store.write(decisions.reject, ended.id, person="anna", reason="no")
    queued = planned(store, opened(store), to=RunState.QUEUED)
    running = opened(store)
    put_into(store, running, RunState.RUNNING, token=3, started_at=1.0, owner="gone", plan_hash="h")
    hold(store, running, "here/target/main", "here/lock/control-plane")
    verifying_ = opened(store)
    put_into(store, verifying_, RunState.VERIFYING, started_at=2.0)
    shadowed = opened(store)
    store.write(runs.transition, shadowed.id, RunState.PLANNING, words="")
    plan: dict[str, Any] = {"plan": PLAN, "plan_hash": "h", "mode": Mode.SHADOW, "policy_digest": "p", "words": ""}
    store.write(runs.keep_plan, shadowed.id, RunState.SHADOWED, **plan)
    store.write(
        decisions.preapprove,
        cluster="here",
        runbook="book",
        runbook_digest="d",
        targets=["main"],
        limits={"members": 1.5},
        acknowledged=("disk",),
        person="anna",
        reason="night",
        until=store.now() + 60,
    )
    store.write(stops.put, StopKind.FREEZE, person="ben", reason="", cluster="there")

    def rest(connection: Any) -> None:
        step = {"run_id": running.id, "ordinal": 1, "kind": "a", "target": "m1", "words": "", "params": odd}
        connection.execute(insert(steps).values(**step, intended_at=1.0, attempts=1))
        notice = {"id": "n1", "at": 1.0, "kind": "failed", "about": running.id, "seq": 1, "body": odd, "due_at": 2.0}
        connection.execute(insert(notices).values(notice))
        connection.execute(insert(heartbeats).values(cluster="here", received_at=1.0))

    store.write(rest)
    return {
        "waiting": waiting.id,
        "ended": ended.id,
        "queued": queued.id,
        "running": running.id,
        "verifying": verifying_.id,
        "shadowed": shadowed.id,
    }


def run_of(store: Store, run_id: str) -> Run:
    found = store.read(reading.run, run_id)
    assert found is not None
    return found


def breaks(file: Path) -> list[Break]:
    return [one for one in Chain().follow(archive.audit_pages(file)) if isinstance(one, Break)]


def whole(store: Store) -> bool:
    page = store.read(verifying.page, after=0, limit=10**6)
    return not [one for one in Chain().follow([page]) if isinstance(one, Break)]


def refuse(place: Place, file: Path, words: str, error: type[Exception] = NotRestored) -> None:
    with pytest.raises(error, match=words):
        backup.restore(place, file, each=nothing)


# --- What comes back ---


@pytest.mark.parametrize("store", KINDS, indirect=True)
@pytest.mark.parametrize("to", KINDS)
def test_everything_comes_back_on_either_kind_of_store(
    store: Store, to: str, place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    ids = filled(store)
    file = tmp_path / "backup"
    rows: list[None] = []
    header = backup.save(store.place, file, each=lambda: rows.append(None))
    assert header.head == store.read(verifying.head)
    before = content(store)
    assert len(rows) == sum(len(before[table.name]) for table in backup.TABLES)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    place = place_of(to)
    assert backup.restore(place, file, each=nothing) == header
    with Store(place) as restored:
        after = content(restored)
        same = {"notifications", "run_alerts", "steps", "locks", "approvals", "preapprovals", "shadows", "checkpoints"}
        for table in same:
            assert sorted(map(repr, after[table])) == sorted(map(repr, before[table])), table
        assert after["audit"][: len(before["audit"])] == before["audit"]
        assert whole(restored)
        for run_id in (ids["ended"], ids["shadowed"]):
            assert run_of(restored, run_id) == run_of(store, run_id)
        assert not after["replicas"] + after["duties"] + after["heartbeats"]
        restored.write_together(inbox.accept, inbox.Arrival(b"new", "test"))
        assert [one.body for one in restored.read(inbox.unfiled)][-1] == b"new", "the next number is a new one"


@pytest.mark.parametrize("store", KINDS, indirect=True)
def test_what_was_under_way_is_quarantined_and_what_had_not_begun_expires(
    store: Store, place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    ids = filled(store)
    backup.save(store.place, tmp_path / "backup", each=nothing)
    place = place_of("sqlite")
    backup.restore(place, tmp_path / "backup", each=nothing)
    with Store(place) as restored:
        states = {name: run_of(restored, run_id).state for name, run_id in ids.items()}
        assert states == {
            "waiting": RunState.EXPIRED,
            "ended": RunState.CANCELLED,
            "queued": RunState.EXPIRED,
            "running": RunState.OUTCOME_UNKNOWN,
            "verifying": RunState.OUTCOME_UNKNOWN,
            "shadowed": RunState.SHADOWED,
        }
        running = run_of(restored, ids["running"])
        assert f"then: ballastctl resolve {running.id}" in running.reason
        assert running.token == 4, "whoever ran it is fenced"
        assert set(held(restored).values()) == {running.id}, "nobody takes what it held"
        assert "an alert that still fires opens a new run" in run_of(restored, ids["waiting"]).reason
        (stop,) = [one for one in restored.read(stops.in_force) if one.kind is StopKind.KILL_SWITCH]
        assert (stop.scope, stop.person) == ("everything", "restore")
        assert "is not on record: look at the clusters, then lift it" in stop.reason
        notice = restored.read(lambda c: c.execute(select(notices)).one())
        assert (notice.due_at, notice.problem) == (
            None,
            "not sent: it came out of a backup, and may have been sent before",
        )
        assert events(restored, running)[-1] == RunState.OUTCOME_UNKNOWN
        assert not restored.read(lambda c: c.execute(select(runs_table.c.owner).where(runs_table.c.owner != "")).all())


def test_an_engine_on_a_restored_store_does_nothing_until_the_kill_switch_is_lifted(
    store: Store, place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    desk = Desk(store)
    desk.runbook.steps["b"].before = die
    desk.receive()
    with pytest.raises(Died):
        turns(desk)
    assert desk.run().state is RunState.RUNNING
    effects = list(desk.runbook.effects)
    assert effects == [("a", desk.run().id)]
    backup.save(store.place, tmp_path / "backup", each=nothing)
    place = place_of("sqlite")
    backup.restore(place, tmp_path / "backup", each=nothing)
    with Store(place) as restored:
        following = Desk(restored, desk.runbook)
        desk.runbook.steps["b"].before = lambda _: None
        following.receive()
        turns(following)
        assert desk.runbook.effects == effects
        (stop,) = restored.read(stops.in_force)
        restored.write(stops.lift, stop.id, person="anna", reason="looked")
        following.receive()
        turns(following)
        assert desk.runbook.effects == effects, "its target is quarantined"
        target = desk.run().target
        assert restored.read(lambda c: SqlLedger(c, Host()).quarantined_by(target)) == desk.run().id


def turns(desk: Desk) -> None:
    for _ in range(5):
        desk.turn()


class Died(BaseException):
    """As a process does: nothing catches it."""


def die(_: object) -> None:
    raise Died


# --- While others write ---


def test_a_backup_is_of_one_moment_while_others_write(store: Store, tmp_path: Path) -> None:
    stopping = threading.Event()

    def write() -> None:
        while not stopping.is_set():
            run = planned(store, opened(store))
            store.write(decisions.reject, run.id, person="anna", reason="no")

    def accept() -> None:
        while not stopping.is_set():
            store.write_together(inbox.accept, inbox.Arrival(b"{}", "test"))

    opened(store)
    writers = [threading.Thread(target=work) for work in (write, accept, accept)]
    for writer in writers:
        writer.start()
    try:
        for number in range(5):
            file = tmp_path / f"backup-{number}"
            before = store.read(verifying.head).seq
            # A backup of so little is quicker than a commit on a busy disk: each begins in the middle of the writing.
            eventually(lambda before=before: store.read(verifying.head).seq > before, within=60.0)
            assert backup.save(store.place, file, each=nothing).head.seq > before
            consistent(file)
    finally:
        stopping.set()
        for writer in writers:
            writer.join()


def consistent(file: Path) -> None:
    """The audit is whole, and tells of each run exactly what the run's row does."""
    archive.check(file)
    assert breaks(file) == []
    last: dict[str, str] = {}
    states: dict[str, str] = {}
    for table, row in archive.rows(file):
        if table == "audit" and row["run_id"] is not None and row["event"] in set(RunState):
            last[row["run_id"]] = row["event"]
        elif table == "runs":
            states[row["id"]] = row["state"]
    assert states
    assert states == last


def test_a_backup_that_is_killed_leaves_nothing_that_looks_like_one(store: Store, tmp_path: Path) -> None:
    for _ in range(200):
        opened(store)
    file = tmp_path / "out" / "backup"
    file.parent.mkdir()
    code = (
        "import sys, time; from pathlib import Path\n"
        "from ballast_remediator.store import backup; from ballast_remediator.store.places import SqliteFile\n"
        "backup.save(SqliteFile(Path(sys.argv[1])), Path(sys.argv[2]), each=lambda: time.sleep(0.05))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(store.place), str(file)])
    try:
        eventually(lambda: list(file.parent.glob(".backup.*.partial")), within=30)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=30)
    assert not file.exists()
    opened(store)
    backup.save(store.place, file, each=nothing)
    archive.check(file)
    assert breaks(file) == []


def test_what_a_killed_remediator_committed_is_in_the_backup(tmp_path: Path) -> None:
    """Its write-ahead log lies beside the file, and nobody has written it back."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from ballast_remediator.store import audit; from ballast_remediator.store.database import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "store.write(audit.append, event='note', actor='test', words='committed')\n"
        "os._exit(9)\n"
    )
    place = SqliteFile(tmp_path / "remediator.db")
    subprocess.run([sys.executable, "-c", code, str(place)], check=False, timeout=60)
    (tmp_path / "remediator.db-shm").unlink()  # as after a power cut
    header = backup.save(place, tmp_path / "backup", each=nothing)
    assert header.head.seq == 1
    ((_, entry),) = [(table, row) for table, row in archive.rows(tmp_path / "backup") if table == "audit"]
    assert entry["words"] == "committed"


def test_a_disk_that_is_full_keeps_the_backup_of_yesterday(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    yesterday = file.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        backup.save(store.place, file, each=nothing)
    assert file.read_bytes() == yesterday
    assert [one.name for one in tmp_path.glob(".backup*")] == []


def test_what_was_edited_into_the_store_does_not_keep_it_from_being_saved(store: Store, tmp_path: Path) -> None:
    filled(store)
    store.write(lambda c: c.execute(text("UPDATE audit SET data = '{no json' WHERE seq = 3")))
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    (broken,) = breaks(file)
    assert broken.seq == 3
    assert isinstance(broken.around[2], Entry)


# --- What is refused ---


def test_a_damaged_file_is_refused_and_the_store_stays_empty(store: Store, tmp_path: Path) -> None:
    filled(store)
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    good = file.read_bytes()
    place = SqliteFile(tmp_path / "new.db")
    draw = random.Random(7)
    for _ in range(60):
        damaged = bytearray(good)
        if draw.random() < 0.5:
            del damaged[draw.randrange(len(good)) :]
        else:
            damaged[draw.randrange(12, len(good))] ^= draw.randrange(1, 256)
        file.write_bytes(damaged)
        refuse(place, file, "backup", archive.Unusable)
    assert not place.path.exists()


def test_lines_that_were_changed_and_packed_again_are_refused(store: Store, tmp_path: Path) -> None:
    filled(store)
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    changed = [
        [*lines[:9], *lines[10:]],
        lines[:-1],
        [*lines, lines[5]],
        [lines[0], b"[1, 2\n", *lines[1:]],
        [lines[0], b'["too", "few"]\n', *lines[1:]],
        [lines[0], b"7\n", *lines[1:]],
        [b'{"format": "something else"}\n'],
        [b'{"format": "ballast-backup"}\n'],
        [b"[]\n"],
        [],
    ]
    for content_ in changed:
        file.write_bytes(gzip.compress(b"".join(content_)))
        refuse(SqliteFile(tmp_path / "new.db"), file, "backup", archive.Unusable)
    newer = {**json.loads(lines[0]), "version": 2}
    file.write_bytes(gzip.compress(json.dumps(newer).encode()))
    words = "is a backup of format 2; this version reads format 1"
    refuse(SqliteFile(tmp_path / "new.db"), file, words, archive.Unusable)
    file.write_text("no gzip")
    refuse(SqliteFile(tmp_path / "new.db"), file, "cannot be read as a backup", archive.Unusable)


def test_another_schema(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    header = backup.save(store.place, file, each=nothing)
    with archive.written(file, archive.Header("0001", header.made_at, header.head)):
        pass
    refuse(SqliteFile(tmp_path / "new.db"), file, "is of schema 0001, and this program knows")
    store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '0003'")))
    with pytest.raises(StoreUnavailable, match=r"has schema 0003.*take the backup with the version that runs"):
        backup.save(store.place, file, each=nothing)


def test_a_store_that_is_not_empty_or_in_use(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    run = opened(store)
    backup.save(store.place, file, each=nothing)
    refuse(store.place, file, "is in use by process", StoreInUse)
    place = SqliteFile(tmp_path / "new.db")
    backup.restore(place, file, each=nothing)
    refuse(place, file, "the store is not empty")
    with Store(place) as restored:
        assert len(restored.read(reading.recent_runs, limit=9)) == 1
        assert again(restored, run).state is RunState.EXPIRED


def test_a_store_that_another_replica_has_joined(
    store: Store, place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    place = place_of("postgresql")
    with Store(place) as shared:
        shared.write(replicas.join, "admin-1, process 7", alone=False)
        refuse(place, file, r"a remediator has joined this store \(admin-1, process 7\): stop it first")


def test_a_store_that_takes_long_to_fill_is_waited_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(store)
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    monkeypatch.setattr(database, "WRITE_TIMEOUT", 0.02)
    never = threading.Event()

    def slow() -> None:
        never.wait(0.005)

    place = SqliteFile(tmp_path / "new.db")
    backup.restore(place, file, each=slow)
    with Store(place) as restored:
        assert whole(restored)


def test_what_postgresql_cannot_hold_is_said_and_nothing_is_left(
    store: Store, place_of: Callable[[str], Place], tmp_path: Path
) -> None:
    store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="a \x00 in it")
    file = tmp_path / "backup"
    backup.save(store.place, file, each=nothing)
    place = place_of("postgresql")
    refuse(place, file, "does not take what .* holds")
    with Store(place) as shared:
        after = content(shared)
        assert not any(after[table.name] for table in backup.TABLES)


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="is not there"):
        backup.save(SqliteFile(tmp_path / "none.db"), tmp_path / "backup", each=nothing)
    assert not (tmp_path / "none.db").exists()


def test_every_table_is_saved_or_lives_only_while_processes_do() -> None:
    left_out = set(metadata.tables) - {table.name for table in backup.TABLES}
    assert left_out == {"replicas", "duties", "turns", "heartbeats"}
