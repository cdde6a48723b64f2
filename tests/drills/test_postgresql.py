"""The stack's PostgreSQL: who may connect, and what it is put through."""

from pathlib import Path

import psycopg
import pytest

from drills.stack import Postgresql, Stack
from tests.drills.test_stack import alive
from tests.waiting import eventually


@pytest.fixture(scope="module")
def server(session_stack: Stack) -> Postgresql:
    return session_stack.postgresql()


def connect(server: Postgresql, *, url: str | None = None, password: str | None = None) -> psycopg.Connection:
    given = server.password_file.read_text() if password is None else password
    return psycopg.connect(url or server.url, password=given, connect_timeout=2, autocommit=True)


def test_its_role_owns_its_databases_and_needs_its_password(server: Postgresql) -> None:
    one, other = server.fresh(), server.fresh()
    assert one != other
    with connect(server, url=one) as connection:
        connection.execute("CREATE TABLE mine (id int)")
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(server, password="wrong")


def test_it_is_never_root_and_the_password_is_its_owner_s_alone(server: Postgresql) -> None:
    assert Path(f"/proc/{server.process.pid}").stat().st_uid != 0
    assert server.password_file.stat().st_mode & 0o077 == 0


def test_it_is_durable_as_it_comes(server: Postgresql) -> None:
    with connect(server) as connection:
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)


@pytest.mark.parametrize("end", ["fast", "immediate", "kill"])
def test_what_was_committed_is_there_after_a_restart(server: Postgresql, end: str) -> None:
    url = server.fresh()
    with connect(server, url=url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS id")
        backend = connection.info.backend_pid
        if end == "kill":
            server.kill()
            assert not alive(backend)
        server.restart(immediate=end == "immediate")
    assert not alive(backend)
    with connect(server, url=url) as connection:
        assert connection.execute("SELECT id FROM kept").fetchone() == (1,)


def test_a_paused_one_answers_nobody_not_even_on_an_open_connection(server: Postgresql) -> None:
    with connect(server) as connection:
        backend = connection.info.backend_pid
        server.pause()
        assert eventually(lambda: state(backend) == "T")  # once the kernel comes to it
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            connect(server)
        server.resume()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_no_process_of_a_paused_one_is_left_behind() -> None:
    with Stack() as stack:
        server = stack.postgresql()
        with connect(server) as connection:
            backend = connection.info.backend_pid
            server.pause()
    eventually(lambda: not alive(backend))


def test_the_package_s_own_serves_where_path_has_none(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with connect(stack.postgresql()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
