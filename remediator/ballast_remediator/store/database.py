"""Opens the store: one process per file, the newest schema, and settings that survive a power cut."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.store import outbox
from ballast_remediator.store.clock import OPTION, Clock
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.writer import StoreUnavailable, Writer

P = ParamSpec("P")
R = TypeVar("R")

WRITE_TIMEOUT: Final = 10.0
"""Seconds after which a write that has not begun is withdrawn, and one that has begun is not waited for any more:
Alertmanager then gets a 503 and tries again."""


class StoreInUse(Exception):
    """Another process has this store open; the text names it."""


class Store:
    """The SQLite file at ``path``. Every operation is a function of `inbox`, `runs` or `reading`.

    ``write`` returns after the commit is on disk; ``read`` sees a consistent snapshot. ``now`` is its clock, in seconds
    since the epoch: a replay's is that of the recording. Only a store that is thrown away anyway is not ``durable``.
    """

    def __init__(self, path: Path, *, clock: Clock = time.time, durable: bool = True) -> None:
        """Raises `StoreInUse`, or `StoreUnavailable` when the file cannot be opened or migrated."""
        self.now = clock
        self._lock_file = _lock(path.with_name(path.name + ".lock"))
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite's other files take its mode
        self._engine = _sqlite(path, clock, durable=durable)
        try:
            _migrate(self._engine)
        except (SQLAlchemyError, OSError, CommandError) as error:
            self._engine.dispose()
            os.close(self._lock_file)
            newer = f"a newer version wrote it ({error})" if isinstance(error, CommandError) else None
            raise StoreUnavailable(f"{path} cannot be opened: {newer or error.__cause__ or error}") from error
        self._writer = Writer(self._engine)

    def write(self, operation: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Commits ``operation(connection, …)`` durably and returns its value.

        Raises:
            Undecided: it has begun and may still be committed; ``outcome`` of it waits for the same write.
            StoreUnavailable: it is not written.
        """
        return self._writer.write(lambda connection: operation(connection, *args, **kwargs), timeout=WRITE_TIMEOUT)

    def read(self, operation: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The value of ``operation(connection, …)``, which changes nothing. Raises `StoreUnavailable`."""
        try:
            with self._engine.connect() as connection:
                return operation(connection, *args, **kwargs)
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the store refuses to read: {error.__cause__ or error}") from error

    def tell(self, wanted: Wanted) -> None:
        """From now on, what people want to know is written as notices beside what it tells."""
        self._engine.update_execution_options(**{outbox.OPTION: wanted})

    def problem(self) -> str | None:
        """Why the last write failed, in words; None while writes succeed."""
        return self._writer.problem()

    def try_to_write(self) -> None:
        """Writes a page that says nothing, so that `problem` tells what is so now. Raises `StoreUnavailable`."""
        self.write(lambda connection: connection.exec_driver_sql("PRAGMA user_version = 0"))

    def close(self) -> None:
        """Commits what waits, then lets go of the file."""
        self._writer.close()
        self._engine.dispose()
        os.close(self._lock_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(path: Path) -> int:
    """Starting takes over every open run, so two processes on one file would run the same steps twice."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise StoreInUse(f"{path.with_suffix('')} is in use by process {holder or 'unknown'}") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def _sqlite(path: Path, clock: Clock, *, durable: bool) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        connect_args={"timeout": WRITE_TIMEOUT, "isolation_level": None},
        execution_options={OPTION: clock},
    )

    @event.listens_for(engine, "connect")
    def settings(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
        # FULL: what was answered 202 survives a power cut, not only a crash.
        for pragma in ("journal_mode=WAL", f"synchronous={'FULL' if durable else 'OFF'}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver leaves transactions to us (isolation_level None). Only the writer thread writes, so a
        # deferred begin can never fail half-way for want of the write lock.
        connection.exec_driver_sql("BEGIN")

    return engine


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
