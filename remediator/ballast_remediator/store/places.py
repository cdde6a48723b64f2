"""Where a store lies, and what SQLite and PostgreSQL do differently. Everything else is one code path."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Connection, Engine

from ballast_remediator.store.clock import Clock


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file of which one process at a time is the owner.

    ``clock`` is what time it is: a replay's is that of the recording. Only a store that is thrown away anyway is not
    ``durable``.
    """

    path: Path
    clock: Clock = time.time
    durable: bool = True

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresqlServer:
    """A database that several replicas share.

    ``conninfo`` is what libpq takes: a URL or ``key=value``. The password is read anew for each connection.
    """

    conninfo: str
    password_file: Path | None = None

    def __str__(self) -> str:
        """For logs: without a password that libpq would take as well."""
        parts = conninfo_to_dict(self.conninfo)
        return " ".join(
            ("postgresql", *(f"{name}={parts[name]}" for name in ("host", "port", "dbname") if name in parts))
        )


def conninfo_problem(conninfo: str) -> str | None:
    """Why libpq does not take it, or why it should not be written like that; None when all is well."""
    try:
        parts = conninfo_to_dict(conninfo)
    except ProgrammingError as error:
        return f"libpq does not understand it: {str(error).strip()}"
    if "password" in parts:
        return "a password in it ends up in logs and process lists: name a password_file"
    return None


Place = SqliteFile | PostgresqlServer


class Backend(Protocol):
    """One kind of database, opened."""

    @property
    def engine(self) -> Engine: ...

    @property
    def reading(self) -> Engine:
        """The same, for transactions that only read: each sees one state of the store."""

    @property
    def exclusive(self) -> bool:
        """Whether no other process can have it open: whoever was there before is gone."""

    def begin_writing(self, connection: Connection) -> str | None:
        """What each transaction that writes begins with; the ticket by which `committed` knows it later."""

    def committed(self, ticket: str) -> bool:
        """Whether that transaction was committed, after a commit whose answer got lost. Raises `SQLAlchemyError`."""

    def begin_migrating(self, connection: Connection) -> None:
        """Keeps other processes from migrating at the same time."""

    def close(self) -> None:
        """Lets go of it."""
