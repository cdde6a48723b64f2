"""What time it is for the store: the host's, unless it was opened with another clock, as a replay does."""

import time
from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection

Clock = Callable[[], float]
"""Gives seconds since the epoch."""
OPTION: Final = "ballast_clock"
"""The execution option by which an engine hands its clock to every connection."""


def now(connection: Connection) -> float:
    """Seconds since the epoch."""
    clock: Clock = connection.get_execution_options().get(OPTION, time.time)
    return clock()
