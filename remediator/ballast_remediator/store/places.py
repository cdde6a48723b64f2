"""Where a store lies. The configuration says it, which is read where no database's driver is installed, too."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class SqliteFile:
    """A file of which one process at a time is the owner.

    ``clock`` is what time it is: a replay's is that of the recording. Only a store that is thrown away anyway is not
    ``durable``.
    """

    path: Path
    clock: Callable[[], float] = time.time
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
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - as below

        parts = conninfo_to_dict(self.conninfo)
        return " ".join(
            ("postgresql", *(f"{name}={parts[name]}" for name in ("host", "port", "dbname") if name in parts))
        )


def conninfo_problem(conninfo: str) -> str | None:
    """Why libpq does not take it, or why it should not be written like that; None when all is well."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - only who names a PostgreSQL needs its driver
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 - likewise

    try:
        parts = conninfo_to_dict(conninfo)
    except ProgrammingError as error:
        return f"libpq does not understand it: {str(error).strip()}"
    if "password" in parts:
        return "a password in it ends up in logs and process lists: name a password_file"
    return None


Place = SqliteFile | PostgresqlServer
