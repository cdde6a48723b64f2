"""PostgreSQL: what several replicas share. Their writers take turns, and nothing that hangs is waited for without end.

All transactions that write begin with one advisory lock: they are as serial as SQLite's, so that every guard's question
to the ledger holds until the claim is committed, and the audit's chain cannot fork. Each carries as many writes as wait
(`writer`), so turns cost little. A replica that is stopped in the middle of its turn loses it after
`IDLE_IN_TRANSACTION` seconds: the server ends its session.
"""

from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg.errors import DatabaseError
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DataError

from ballast_remediator.store import memory
from ballast_remediator.store.clock import OPTION
from ballast_remediator.store.places import PostgresqlServer

R = TypeVar("R")

CONNECT_SECONDS: Final = 5
ANSWER_SECONDS: Final = 8.0
"""Within which the server has to answer anything: one that is stopped, or behind a dead network, says nothing."""
LOCK_SECONDS: Final = 5
IDLE_IN_TRANSACTION: Final = 2
"""Seconds after which the server ends a session that began to write and sends nothing more."""
CONNECTIONS: Final = 16
"""That read, at most."""
WRITING: Final = 0x62616C6C
MIGRATING: Final = 0x62616C6D
"""Keys of the advisory locks; the database is Ballast's own."""

# What the server holds us to, so that it does not depend on who configured it.
_OPTIONS: Final = (
    f"-c synchronous_commit=on -c lock_timeout={LOCK_SECONDS}s -c statement_timeout={int(ANSWER_SECONDS)}s "
    f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION}s"
)
_TURN: Final = text(
    # OFFSET 0 keeps the planner from flattening it: first the lock, then the time.
    "SELECT pg_current_xact_id()::text AS ticket, extract(epoch FROM clock_timestamp())::float8 AS now "
    "FROM (SELECT pg_advisory_xact_lock(:writing) OFFSET 0) AS turn"
).bindparams(writing=WRITING)
_NOW: Final = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_STATUS: Final = text("SELECT pg_xact_status(CAST(:ticket AS xid8))")
_NOW_KEY: Final = "now"


class _Hanging(DatabaseError):
    """The server did not answer in time."""


class _Bounded(psycopg.Connection[Any]):
    """A connection that does not wait for ever. psycopg itself has no deadline for answers."""

    def wait(self, gen: Generator[Any, Any, R], interval: float = 0.1, timeout: float | None = None) -> R:
        try:
            return super().wait(gen, interval, ANSWER_SECONDS if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - what psycopg documents that `wait` raises
            self.pgconn.finish()  # nobody knows what it is in the middle of
            raise _Hanging(f"PostgreSQL did not answer within {ANSWER_SECONDS:g} s") from error


class Postgresql:
    """The database, opened: `places.Backend`."""

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
        self.reading = self.engine.execution_options(isolation_level="REPEATABLE READ")
        memory.watch(self.engine)

    def begin_writing(self, connection: Connection) -> str:
        turn = connection.execute(_TURN).one()
        memory.of(connection)[_NOW_KEY] = turn.now
        return str(turn.ticket)

    def committed(self, ticket: str) -> bool:
        """By the server's own record of its transactions."""
        try:
            with self.engine.connect() as connection:
                # A transaction that still goes on is that of a session which the server has not given up: its lock is
                # ours when it has ended.
                self.begin_writing(connection)
                return bool(connection.execute(_STATUS, {"ticket": ticket}).scalar() == "committed")
        except DataError:  # "in the future": another server took over, and never saw it
            return False

    def begin_migrating(self, connection: Connection) -> None:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")

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
