"""What time it is for the store: the host's on SQLite, the database's on PostgreSQL, a recording's in a replay."""

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

OPTION: Final = "ballast_clock"
"""The execution option by which an engine hands its clock to every connection: a function of the connection."""


def now(connection: Connection) -> float:
    """Seconds since the epoch."""
    clock: Callable[[Connection], float] = connection.get_execution_options().get(OPTION, _of_the_host)
    return clock(connection)


def _of_the_host(_: Connection) -> float:
    return time.time()
