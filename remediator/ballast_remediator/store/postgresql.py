"""PostgreSQL: what several replicas share. Their writers take turns, and nothing that hangs is waited for without end.

Transactions that write begin with one advisory lock: they are as serial as SQLite's, so that every guard's question to
the ledger holds until the claim is committed, and the audit's chain cannot fork. Each carries as many writes as wait
(`writer`), so turns cost little. A replica that is stopped in the middle of its turn loses it after
`IDLE_IN_TRANSACTION` seconds: the server ends its session. Only what comes in is written without a turn (`aside`).
"""

import itertools
import re
import secrets
import time
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.errors import DatabaseError
from sqlalchemy import Connection, Engine, create_engine, delete, select, text
from sqlalchemy.exc import SQLAlchemyError

from ballast_remediator.store import memory
from ballast_remediator.store.backend import Mistaken
from ballast_remediator.store.clock import OPTION
from ballast_remediator.store.places import PostgresqlServer
from ballast_remediator.store.schema import turns

R = TypeVar("R")

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 8.0
"""Within which the server has to answer anything: one that is stopped, or behind a dead network, says nothing."""
MIGRATION_SECONDS: Final = 600.0
"""Within which a migration's statement ends: it may rebuild a table, and waits for other replicas' migrations."""
OLDEST: Final = 14
"""Version that is supported."""
LOCK_SECONDS: Final = 5
IDLE_IN_TRANSACTION: Final = 2
"""Seconds after which the server ends a session that began to write and sends nothing more."""
CONNECTIONS: Final = 16
"""That read, at most."""
CLOCK_SECONDS: Final = 1.0
WRITING: Final = 0x62616C6C
MIGRATING: Final = 0x62616C6D
"""Keys of the advisory locks; the database is Ballast's own."""

# What the server holds us to, so that it does not depend on who configured it.
_OPTIONS: Final = (
    f"-c synchronous_commit=on -c lock_timeout={LOCK_SECONDS}s -c statement_timeout={int(ANSWER_SECONDS)}s "
    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION}s"
)
_TURN: Final = text(
    # One question, in which the lock comes before the time.
    "WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock(:writing)) "
    "INSERT INTO turns (writer, ticket, at) "
    "SELECT :writer, :ticket, extract(epoch FROM clock_timestamp())::float8 FROM turn "
    "ON CONFLICT (writer) DO UPDATE SET ticket = excluded.ticket, at = excluded.at RETURNING at"
).bindparams(writing=WRITING)
_WAIT_FOR_TURN: Final = text("SELECT pg_advisory_xact_lock(:writing)").bindparams(writing=WRITING)
_NOW: Final = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_NOW_KEY: Final = "now"
FORGOTTEN: Final = 30 * 86400.0
"""Seconds after which the last turn of a process that is gone is nobody's question any more."""


# Before a connection stands, libpq tells errors by their words alone. In a server's other language they are waited for.
_MISTAKES: Final = re.compile(
    r"password authentication failed|no password supplied|no pg_hba\.conf entry|(role|database) \".*\" does not exist"
    r"|permission denied|not permitted to log in|SSL was required|certificate verify failed|certificate file"
)


class _Hanging(DatabaseError):
    """The server did not answer in time."""


class _Bounded(psycopg.Connection[Any]):
    """A connection that does not wait for ever. psycopg itself has no deadline for answers."""

    patience: float | None = None
    """Seconds for each answer, where they are not `ANSWER_SECONDS`."""

    def wait(self, gen: Generator[Any, Any, R], interval: float = 0.1, timeout: float | None = None) -> R:
        patience = self.patience or ANSWER_SECONDS
        try:
            return super().wait(gen, interval, patience if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - what psycopg documents that `wait` raises
            self.pgconn.finish()  # nobody knows what it is in the middle of
            raise _Hanging(f"PostgreSQL did not answer within {patience:g} s") from error


class _Aside:
    """For what nobody decides by, and who sends it again when told of a failure: `backend.Writable` without a turn.

    A group is one statement, which needs no transaction. One whose answer got lost counts as failed.
    """

    def __init__(self, engine: Engine, undoing: Engine) -> None:
        self.engine = engine
        self.undoing = undoing
        self._asked_at = float("-inf")
        self._ahead = 0.0
        """The server's clock, of the monotonic one."""

    def begin_writing(self, connection: Connection) -> None:
        """It waits for nobody, and asks what time it is once a second only: a question takes as long as the write."""
        now = time.monotonic()
        if now - self._asked_at >= CLOCK_SECONDS:
            self._ahead, self._asked_at = connection.execute(_NOW).scalar_one() - now, now
        memory.of(connection)[_NOW_KEY] = now + self._ahead

    def committed(self, ticket: str) -> bool:
        raise AssertionError("it has no ticket", ticket)


class Postgresql:
    """The database, opened: `backend.Backend`."""

    exclusive: Final = False

    def __init__(self, place: PostgresqlServer) -> None:
        self.engine = create_engine(
            "postgresql+psycopg://",
            creator=_connecting(place),
            pool_size=CONNECTIONS,
            max_overflow=CONNECTIONS,
            pool_timeout=ANSWER_SECONDS,
            execution_options={OPTION: _now},
        )
        # Rows that are inserted together go in one statement, which the driver's executemany sends one by one.
        self.engine.dialect.use_insertmanyvalues_wo_returning = True
        self._writer = secrets.token_hex(8)
        self._tickets = itertools.count(1)
        self.reading = self.engine.execution_options(isolation_level="REPEATABLE READ")
        self.looking = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.undoing = self.engine
        self.aside = _Aside(self.looking, self.engine)

    def begin_reading(self, connection: Connection) -> None:
        """What it reads with begins one by itself."""

    def begin_writing(self, connection: Connection) -> str:
        number = next(self._tickets)
        now: float = connection.execute(_TURN, {"writer": self._writer, "ticket": str(number)}).scalar_one()
        memory.of(connection)[_NOW_KEY] = now
        if number == 1:
            connection.execute(delete(turns).where(turns.c.at < now - FORGOTTEN))
        return str(number)

    def committed(self, ticket: str) -> bool:
        """By what the transaction itself left in the store.

        Not by `pg_xact_status`: a crash that loses a transaction before its number was on disk gives the number to
        the next one, and that one's fate is told. Nor does a server know it that took over from a dead one.
        """
        mine = select(turns.c.ticket).where(turns.c.writer == self._writer)
        with self.engine.connect() as connection:
            # One that still goes on is that of a session which the server has not given up: the lock is ours when it
            # has ended.
            connection.execute(_WAIT_FOR_TURN)
            return bool(connection.execute(mine).scalar() == ticket)

    def begin_migrating(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, _Bounded)
        connection.detach()  # what is set here is for no other use
        version = driver.info.server_version // 10_000
        if version < OLDEST:
            raise Mistaken(f"the server is PostgreSQL {version}, and {OLDEST} is the oldest that will do: upgrade it")
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '60s'")
        driver.patience = MIGRATION_SECONDS
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")

    def mistaken(self, error: SQLAlchemyError) -> bool:
        cause = error.__cause__
        if isinstance(cause, psycopg.errors.InsufficientPrivilege):
            return True
        return isinstance(cause, psycopg.OperationalError) and _MISTAKES.search(str(cause)) is not None

    def close(self) -> None:
        self.engine.dispose()


def _connecting(place: PostgresqlServer) -> Callable[[], psycopg.Connection[Any]]:
    def connect() -> psycopg.Connection[Any]:
        secret: dict[str, Any] = {}
        if place.password_file is not None:
            secret["password"] = place.password_file.read_text().strip()
        return _Bounded.connect(
            place.conninfo,
            connect_timeout=CONNECT_SECONDS,
            options=_OPTIONS,
            application_name="ballast-remediator",
            **secret,
        )

    return connect


def _now(connection: Connection) -> float:
    """One time for a whole transaction."""
    remembered = memory.of(connection)
    if _NOW_KEY not in remembered:
        remembered[_NOW_KEY] = connection.execute(_NOW).scalar_one()
    return float(remembered[_NOW_KEY])
