"""Opens the store, in the newest schema: one code path for both kinds of database."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import structlog
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.store import clock, memory, outbox
from ballast_remediator.store.backend import Backend, Mistaken
from ballast_remediator.store.migrations import newest
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.places import Place, SqliteFile
from ballast_remediator.store.sqlite import Sqlite
from ballast_remediator.store.writer import StoreUnavailable, Submitted, Together, Writer, words_of

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

WRITE_TIMEOUT: Final = 10.0
"""Seconds after which a write that has not begun is withdrawn, and one that has begun is not waited for any more:
Alertmanager then gets a 503 and tries again."""
OPEN_WITHIN: Final = 60.0
"""Seconds for which a PostgreSQL that does not answer is waited for at the start."""
OPEN_PAUSE: Final = 1.0
AT_ONCE: Final = 1.0
"""Seconds within which a connection that is dead already fails; one that hangs takes longer."""
_UNREADABLE: Final = (SQLAlchemyError, OSError)
"""The latter of a password's file."""

log = structlog.get_logger()


class Store:
    """The database at ``place``. Every operation is a function of a module of this package.

    ``write`` returns after the commit is on disk; ``read`` sees a consistent snapshot.
    """

    def __init__(self, place: Place | Path) -> None:
        """A path is that of an SQLite file.

        Raises `StoreInUse`, or `StoreUnavailable` when it cannot be opened or migrated.
        """
        self.place = SqliteFile(place) if isinstance(place, Path) else place
        self._backend = _opened(self.place)
        self.exclusive = self._backend.exclusive
        """Whether no other process can have it open."""
        self._engine = self._backend.engine
        try:
            _migrate_patiently(self.place, self._backend)
        except BaseException:
            self._backend.close()
            raise
        self._writer = Writer(self._backend)
        self._aside = self._writer if self._backend.aside is None else Writer(self._backend.aside)
        self._observe: Callable[[float], None] = lambda _: None

    def write(self, operation: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Commits ``operation(connection, …)`` durably and returns its value.

        Raises:
            Undecided: it has begun and may still be committed; ``outcome`` of it waits for the same write.
            StoreUnavailable: it is not written.
        """
        with self._timed():
            return self._writer.write(lambda connection: operation(connection, *args, **kwargs), timeout=WRITE_TIMEOUT)

    def write_together(self, operation: Together[T, R], item: T) -> R:
        """As `write`, of ``operation(connection, items)``: the items of all who wait for the same commit are one call.

        Raises as `write` does.
        """
        return self.submit(operation, item).result()

    def submit(self, operation: Together[T, R], item: T, *, aside: bool = False) -> Submitted[R]:
        """As `write_together`, for who has no thread to wait with. Raises `StoreUnavailable` when it is closed.

        ``aside`` is for an operation that adds what nobody decides by in that moment, and that may be done twice: on
        PostgreSQL it waits for nobody's turn, and has failed when the connection breaks during its commit.
        """
        began = time.monotonic()
        writer = self._aside if aside else self._writer
        submitted = writer.submit(operation, item, timeout=WRITE_TIMEOUT)
        submitted.on_end(lambda: self._observe(time.monotonic() - began))
        return submitted

    def read(self, operation: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """The value of ``operation(connection, …)``, which changes nothing. Raises `StoreUnavailable`."""

        def begun(connection: Connection) -> R:
            self._backend.begin_reading(connection)
            return operation(connection, *args, **kwargs)

        return self._read(self._backend.reading, begun)

    def look(self, operation: Callable[Concatenate[Connection, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `read`, of an operation whose answer is that to one question: PostgreSQL takes a third of the time."""
        return self._read(self._backend.looking, lambda connection: operation(connection, *args, **kwargs))

    def _read(self, engine: Engine, operation: Callable[[Connection], R]) -> R:
        began = time.monotonic()
        try:
            return _asked(engine, operation)
        except _UNREADABLE as error:
            broke_at_once = getattr(error, "connection_invalidated", False) and time.monotonic() - began < AT_ONCE
            if not broke_at_once:
                raise _unreadable(error) from error
        # A connection that lay idle while the database was restarted says nothing about the database as it is now.
        try:
            return _asked(engine, operation)
        except _UNREADABLE as error:
            raise _unreadable(error) from error

    def now(self) -> float:
        """Its clock, in seconds since the epoch. Raises `StoreUnavailable`."""
        return self.place.clock() if isinstance(self.place, SqliteFile) else self.look(clock.now)

    def observe_writes(self, observe: Callable[[float], None]) -> None:
        """From now on, ``observe`` is given the seconds that each write took."""
        self._observe = observe

    def tell(self, wanted: Wanted) -> None:
        """From now on, what people want to know is written as notices beside what it tells."""
        self._engine.update_execution_options(**{outbox.OPTION: wanted})

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._observe(time.monotonic() - began)

    def problem(self) -> str | None:
        """Why the last write failed, in words; None while writes succeed."""
        return self._writer.problem() or self._aside.problem()

    def try_to_write(self) -> None:
        """Writes what says nothing, so that `problem` tells what is so now. Raises `StoreUnavailable`."""
        self.write(_say_nothing)
        if self._aside is not self._writer:
            # Without a lock that a turn may hold.
            self._aside.write(lambda connection: connection.exec_driver_sql(_NO_ROW), timeout=WRITE_TIMEOUT)

    def close(self, *, within: float = WRITE_TIMEOUT) -> None:
        """Commits what waits, for ``within`` seconds at most, then lets go of the database."""
        give_up = time.monotonic() + within
        writers = (self._aside, self._writer)
        for writer in writers:
            writer.end()
        for writer in writers:
            writer.join(max(0.0, give_up - time.monotonic()))
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _asked(engine: Engine, operation: Callable[[Connection], R]) -> R:
    with engine.connect() as connection:
        memory.begin(connection)
        return operation(connection)


_NO_ROW: Final = "DELETE FROM notifications WHERE id IS NULL"


def _say_nothing(connection: Connection) -> None:
    connection.exec_driver_sql("UPDATE alembic_version SET version_num = version_num")


def _unreadable(error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"the store refuses to read: {words_of(error)}")


def _opened(place: Place) -> Backend:
    if isinstance(place, SqliteFile):
        return Sqlite(place)
    from ballast_remediator.store.postgresql import Postgresql  # noqa: PLC0415 - 10 MiB, which SQLite does not need

    return Postgresql(place)


def _migrate_patiently(place: Place, backend: Backend) -> None:
    """Waits for a server that is not there yet, and for nothing else. Raises `StoreUnavailable`."""
    give_up = time.monotonic() + OPEN_WITHIN
    while True:
        try:
            _migrate(backend)
        except (Mistaken, OSError) as error:  # the latter of a password's file
            raise StoreUnavailable(f"{place} cannot be opened: {error}") from error
        except SQLAlchemyError as error:
            words = words_of(error)
            if backend.mistaken(error) or time.monotonic() > give_up:
                raise StoreUnavailable(f"{place} cannot be opened: {words}") from error
            log.warning("store_is_waited_for", store=str(place), reason=words)
            time.sleep(OPEN_PAUSE)
        else:
            return


def _migrate(backend: Backend) -> None:
    with backend.engine.begin() as connection:
        backend.begin_migrating(connection)
        if _schema(connection) == newest():
            return
        from ballast_remediator.store import migrating  # noqa: PLC0415 - 10 MiB, which most starts do not need

        migrating.upgrade(connection)


def _schema(connection: Connection) -> str | None:
    """The version that the store has; None where it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
