"""SQLite: one process per file, settings that survive a power cut."""

import fcntl
import os
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.store.clock import OPTION
from ballast_remediator.store.places import SqliteFile
from ballast_remediator.store.writer import StoreUnavailable

BUSY_SECONDS: Final = 10.0


class StoreInUse(Exception):
    """Another process has this store open; the text names it."""


class Sqlite:
    """The file, opened: `backend.Backend`."""

    exclusive: Final = True
    aside: Final = None

    def __init__(self, place: SqliteFile) -> None:
        """Raises `StoreInUse`, or `StoreUnavailable` when the file cannot be opened."""
        path = place.path
        self._lock_file = _lock(path.with_name(path.name + ".lock"))
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # SQLite's other files take its mode
        self.engine = create_engine(
            f"sqlite:///{path}",
            connect_args={"timeout": BUSY_SECONDS, "isolation_level": None},
            execution_options={OPTION: lambda _: place.clock()},
        )
        self.undoing = self.reading = self.looking = self.engine

        @event.listens_for(self.engine, "connect")
        def settings(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
            # FULL: what was answered 202 survives a power cut, not only a crash.
            for pragma in ("journal_mode=WAL", f"synchronous={'FULL' if place.durable else 'OFF'}", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

    def begin_reading(self, connection: Connection) -> None:
        # The driver leaves transactions to us (isolation_level None). Only the writer thread writes, so a deferred
        # begin can never fail half-way for want of the write lock.
        connection.exec_driver_sql("BEGIN")

    def begin_writing(self, connection: Connection) -> None:
        """SQLite has one writer, and whether it committed is never in doubt: that process is this one."""
        self.begin_reading(connection)

    def committed(self, ticket: str) -> bool:
        raise AssertionError("never in doubt", ticket)

    def begin_migrating(self, connection: Connection) -> None:
        """The file's lock keeps others out."""
        self.begin_reading(connection)

    def mistaken(self, error: SQLAlchemyError) -> bool:
        """It is waited for in no case."""
        del error
        return True

    def close(self) -> None:
        self.engine.dispose()
        os.close(self._lock_file)


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
