"""Opening the store: one process per file, the newest schema, settings that survive a power cut."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, insert, text
from sqlalchemy.exc import IntegrityError

from ballast_remediator.store import inbox
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import metadata, runs
from ballast_remediator.store.sqlite import StoreInUse
from ballast_remediator.store.writer import StoreUnavailable

OPEN = "import pathlib, sys; from ballast_remediator.store.database import Store; Store(pathlib.Path(sys.argv[1]))"


def shape(connection: Connection) -> dict[str, object]:
    """Columns, foreign keys and indexes (with their WHERE, which alembic itself does not compare), by table."""
    found: dict[str, object] = {}
    for table in metadata.tables:
        columns = connection.execute(text(f"PRAGMA table_info({table})")).all()
        keys = connection.execute(text(f"PRAGMA foreign_key_list({table})")).all()
        indexes = connection.execute(text(f"select name, sql from sqlite_master where tbl_name = '{table}'")).all()
        found[table] = (
            sorted(tuple(column)[1:] for column in columns),
            sorted(tuple(key)[2:] for key in keys),
            sorted(
                (name, " ".join(sql.split()))
                for name, sql in indexes
                if sql and sql.startswith("CREATE") and name != table
            ),
        )
    return found


def test_the_migrations_make_exactly_the_schema(sqlite: Store) -> None:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        metadata.create_all(connection)
        wanted = shape(connection)
    engine.dispose()
    assert sqlite.read(shape) == wanted
    tables = sqlite.read(
        lambda c: c.execute(text("select name from sqlite_master where type = 'table'")).scalars().all()
    )
    assert {name for name in tables if not name.startswith("sqlite_")} == {*metadata.tables, "alembic_version"}


def test_one_open_run_per_target_is_held_by_the_database_itself(store: Store) -> None:
    with pytest.raises(IntegrityError):
        store.write(two_open_runs)


def two_open_runs(connection: Connection) -> None:
    for number in (1, 2):
        values = {"cluster": "here", "runbook": "book", "target": "main", "state": "received", "alert": {}}
        connection.execute(insert(runs).values(id=str(number), created_at=0, updated_at=0, due_at=0, **values))


def test_settings_that_survive_a_power_cut(sqlite: Store) -> None:
    def pragma(name: str) -> object:
        return sqlite.read(lambda c: c.execute(text(f"PRAGMA {name}")).scalar())

    assert [pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")] == ["wal", 2, 1]


def test_only_its_owner_may_read_what_alerts_say(sqlite: Store, tmp_path: Path) -> None:
    sqlite.write_together(inbox.accept, inbox.Arrival(b"kept", "test"))
    assert {path.name for path in tmp_path.iterdir()} >= {"remediator.db", "remediator.db-wal", "remediator.db.lock"}
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "remediator.db"
    with Store(path) as store:
        store.write_together(inbox.accept, inbox.Arrival(b"kept", "test"))
    with Store(path) as store:
        assert [one.body for one in store.read(inbox.unfiled)] == [b"kept"]


def test_a_second_process_is_refused_and_told_by_whom(sqlite: Store, tmp_path: Path) -> None:
    del sqlite
    path = tmp_path / "remediator.db"
    with pytest.raises(StoreInUse, match=f"{path} is in use by process [0-9]+$"):
        Store(path)
    second = subprocess.run([sys.executable, "-c", OPEN, str(path)], check=False, capture_output=True, text=True)
    assert second.returncode == 1
    assert f"StoreInUse: {path} is in use by process " in second.stderr


def test_the_file_is_free_again_after_a_process_died(tmp_path: Path) -> None:
    path = tmp_path / "remediator.db"
    subprocess.run([sys.executable, "-c", f"{OPEN}; import os; os._exit(9)", str(path)], check=False)
    Store(path).close()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    path = tmp_path / "remediator.db"
    path.write_text("hello, I am a text file, and a rather long one at that\n" * 100)
    with pytest.raises(StoreUnavailable, match=f"{path} cannot be opened: file is not a database"):
        Store(path)
    path.unlink()
    # The failure let go of the lock.
    Store(path).close()


def test_a_store_that_a_newer_version_wrote(tmp_path: Path) -> None:
    path = tmp_path / "remediator.db"
    with Store(path) as store:
        store.write(lambda c: c.execute(text("update alembic_version set version_num = '9999'")))
    with pytest.raises(StoreUnavailable, match=f"{path} cannot be opened: a newer version wrote it"):
        Store(path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match=r"remediator\.db.* cannot be opened: "):
        Store(tmp_path / "file" / "remediator.db")


def test_nobody_else_may_read_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "remediator.db"
    with Store(path) as store:
        store.write_together(inbox.accept, inbox.Arrival(b"{}", "test"))
        files = sorted(tmp_path.iterdir())
        assert {file.name for file in files} == {f"remediator.db{end}" for end in ("", ".lock", "-shm", "-wal")}
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
