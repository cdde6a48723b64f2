"""What has to be done now and then, in a thread of its own, a little at once: ingest and runs come first."""

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from ballast_remediator.chain import BEGINNING
from ballast_remediator.store import verifying
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable

HOUSEKEEPING: Final = "housekeeping"
"""The duty of one replica."""
PAUSE: Final = 0.2
"""Seconds between two turns while there is work."""
IDLE: Final = 1.0
"""Seconds between two looks for work."""
HEAD_EVERY: Final = 3600.0
"""Seconds between two log lines with the audit's head."""

log = structlog.get_logger()


class Chore(Protocol):
    """Something that one replica does, bit by bit."""

    def turn(self) -> bool:
        """Does a bit; whether there is more to do now. Raises `StoreUnavailable`."""


class Housekeeping:
    """Gives each chore its turn while this replica is on duty, and writes the audit's head into the log.

    The log goes elsewhere as it is written: with a head out of it, ``ballastctl audit verify`` proves that the audit
    was not cut off or written anew.
    """

    def __init__(self, store: Store, *chores: Chore, on_duty: Callable[[], bool] = lambda: True) -> None:
        self._store = store
        self._chores = chores
        self._on_duty = on_duty
        self._head_due = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ends within ``timeout`` seconds; the head that the audit has then is in the log."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        self._safely(self._log_head)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            more = self._safely(self._look)
            self._stopping.wait(PAUSE if more else IDLE)

    def _look(self) -> bool:
        if time.monotonic() >= self._head_due:
            self._head_due = time.monotonic() + HEAD_EVERY
            self._log_head()
        more = [self._safely(chore.turn) for chore in self._chores] if self._on_duty() else []
        return any(more)

    def _log_head(self) -> bool:
        head = self._store.read(verifying.head)
        if head != BEGINNING:
            log.info("audit_head", seq=head.seq, hash=head.hash)
        return False

    def _safely(self, work: Callable[[], bool]) -> bool:
        try:
            return work()
        except StoreUnavailable as error:
            log.info("housekeeping_waits", reason=str(error))
        except Exception:
            # One that fails must not end the others; the next turn may succeed.
            log.exception("housekeeping_fault")
        return False
