"""A PostgreSQL at the start: what only a person can put right is said at once, and what passes is waited for."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, create_engine, text
from structlog.testing import capture_logs

from ballast_remediator.store import database, inbox, postgresql
from ballast_remediator.store.database import Store, newest
from ballast_remediator.store.places import PostgresqlServer
from ballast_remediator.store.schema import metadata
from ballast_remediator.store.writer import StoreUnavailable
from drills.stack import Postgresql, Stack
from tests.waiting import eventually

OPEN = """
import pathlib, sys
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import PostgresqlServer
Store(PostgresqlServer(sys.argv[1], pathlib.Path(sys.argv[2]))).close()
"""
SHAPE = {
    "columns": "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
    "WHERE table_schema = 'public' ORDER BY 1, 2",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
}


@pytest.fixture
def postgresql_server(postgresql: Postgresql) -> Postgresql:
    """By a name that the module `postgresql` leaves free."""
    return postgresql


def refused(place: PostgresqlServer) -> str:
    """Why it is not opened, said without waiting."""
    with capture_logs() as logs, pytest.raises(StoreUnavailable) as found:
        Store(place)
    assert not [entry for entry in logs if entry["event"] == "store_is_waited_for"]
    return str(found.value)


def test_a_wrong_password(shared: PostgresqlServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("guess")
    words = refused(replace(shared, password_file=tmp_path / "password"))
    assert 'password authentication failed for user "ballast"' in words
    assert words.startswith("postgresql host=127.0.0.1 port=")
    assert "no password supplied" in refused(replace(shared, password_file=None))


def test_a_password_file_that_is_not_there(shared: PostgresqlServer, tmp_path: Path) -> None:
    assert "No such file or directory" in refused(replace(shared, password_file=tmp_path / "none"))


def test_an_unknown_database_or_role(shared: PostgresqlServer, postgresql_server: Postgresql) -> None:
    assert 'database "nowhere" does not exist' in refused(replace(shared, conninfo=postgresql_server.url_of("nowhere")))
    stranger = shared.conninfo.replace("//ballast@", "//stranger@")
    assert "password authentication failed" in refused(replace(shared, conninfo=stranger))


def test_no_right_to_create_tables(shared: PostgresqlServer, postgresql_server: Postgresql) -> None:
    postgresql_server.administer("CREATE DATABASE of_others")
    with psycopg.connect(
        host=str(postgresql_server.socket_folder),
        port=postgresql_server.port,
        user="postgres",
        password=postgresql_server.password_file.read_text(),
        dbname="of_others",
        autocommit=True,
        connect_timeout=5,
    ) as administrator:
        administrator.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    words = refused(replace(shared, conninfo=postgresql_server.url_of("of_others")))
    assert "permission denied for schema public" in words


def test_a_server_that_is_too_old(shared: PostgresqlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "OLDEST", 99)
    assert "and 99 is the oldest that will do: upgrade it" in refused(shared)


def test_a_schema_that_a_newer_version_wrote(shared: PostgresqlServer) -> None:
    with Store(shared) as store:
        store.write(lambda c: c.execute(text("update alembic_version set version_num = '9999'")))
    words = refused(shared)
    assert "a newer version wrote it, and this one knows its schema only up to " in words


def test_a_server_that_comes_up_late_is_waited_for(stack: Stack) -> None:
    server = stack.postgresql()
    place = PostgresqlServer(server.url, server.password_file)
    server.process.stop()
    with capture_logs() as logs, ThreadPoolExecutor(1) as pool:
        opening: Future[Store] = pool.submit(Store, place)
        eventually(lambda: [entry for entry in logs if entry["event"] == "store_is_waited_for"], within=30.0)
        assert not opening.done()
        server.process.start()
        with opening.result(60) as store:
            store.write_together(inbox.accept, inbox.Arrival(b"kept", "test"))


def test_a_server_that_never_comes_is_given_up(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OPEN_WITHIN", 0.3)
    place = PostgresqlServer(f"postgresql://ballast@{stack.address()}/ballast")
    with pytest.raises(StoreUnavailable, match=r"cannot be opened: .*[Cc]onnection refused"):
        Store(place)


def test_replicas_that_start_together_on_an_empty_database_take_turns(shared: PostgresqlServer) -> None:
    assert shared.password_file is not None
    command = (sys.executable, "-c", OPEN, shared.conninfo, str(shared.password_file))
    together = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    ends = [(process.communicate(timeout=90)[1], process.returncode) for process in together]
    assert [code for _, code in ends] == [0, 0, 0], ends
    with Store(shared) as store:
        assert store.read(lambda c: c.execute(text("select version_num from alembic_version")).scalar()) == newest()


@contextmanager
def administering(server: Postgresql, place: PostgresqlServer) -> Iterator[psycopg.Connection]:
    with psycopg.connect(place.conninfo, password=server.password_file.read_text(), connect_timeout=5) as connection:
        yield connection


def test_a_migration_may_take_longer_than_an_answer(
    shared: PostgresqlServer, postgresql_server: Postgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(database, "OPEN_WITHIN", 0.0)
    slow = sql.SQL(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND clock_timestamp() - query_start > interval '1500 ms'"
    )
    with administering(postgresql_server, shared) as blocking, administering(postgresql_server, shared) as looking:
        blocking.execute("SELECT pg_advisory_xact_lock(%s)", (postgresql.MIGRATING,))
        looking.autocommit = True
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(Store, shared)
            eventually(lambda: looking.execute(slow).fetchone(), within=30.0)
            assert not opening.done(), "it waits for the other replica's migration"
            blocking.rollback()
            opening.result(60).close()


def test_the_migrations_make_exactly_the_schema(shared: PostgresqlServer, postgresql_server: Postgresql) -> None:
    def shape(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
        return {
            name: [tuple(row) for row in connection.execute(text(query)) if "alembic_version" not in str(row)]
            for name, query in SHAPE.items()
        }

    other = PostgresqlServer(postgresql_server.fresh(), postgresql_server.password_file)
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(other.conninfo, password=postgresql_server.password_file.read_text()),
    )
    with engine.begin() as connection:
        metadata.create_all(connection)
        wanted = shape(connection)
    engine.dispose()
    with Store(shared) as store:
        assert store.read(shape) == wanted
    assert {row[0] for row in wanted["columns"]} == set(metadata.tables)
