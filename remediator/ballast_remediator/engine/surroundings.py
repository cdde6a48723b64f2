"""What the host tells: how its clock goes, and whether the kill switch's file is there."""

import threading
import time
from pathlib import Path

from ballast_remediator.contract import Jump
from ballast_remediator.store.ledger import Host

NOTICED = 1.0
"""Seconds by which the wall clock has to leave the monotonic one, between two looks, to count as set."""


class Surroundings:
    """Looks at the clock whenever it is asked, and remembers the last time that it was set. Thread safe."""

    def __init__(self, kill_switch_file: Path | None) -> None:
        self._file = kill_switch_file
        self._lock = threading.Lock()
        self._offset = time.time() - time.monotonic()
        self._jump = 0.0
        self._jumped_at: float | None = None

    def host(self) -> Host:
        """As things are now."""
        return Host(self._look_at_clock(), self.kill_switch_file())

    def kill_switch_file(self) -> str | None:
        """The path of the kill switch's file where it exists. One that cannot be looked at is taken to exist."""
        if self._file is None:
            return None
        try:
            self._file.lstat()
        except FileNotFoundError:
            return None
        except OSError:
            return str(self._file)
        return str(self._file)

    def _look_at_clock(self) -> Jump | None:
        with self._lock:
            now = time.monotonic()
            offset = time.time() - now
            moved = offset - self._offset
            self._offset = offset
            if abs(moved) > NOTICED:
                # Two in a row count together: what the first made wrong is not made right by the second.
                recent = self._jumped_at is not None and now - self._jumped_at < abs(self._jump)
                self._jump = moved + (self._jump if recent and moved * self._jump > 0 else 0.0)
                self._jumped_at = now
            return None if self._jumped_at is None else Jump(self._jump, now - self._jumped_at)
