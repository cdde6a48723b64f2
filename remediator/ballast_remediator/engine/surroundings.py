"""What the host tells: how its clock goes, whether the kill switch's file is there, and which Nodes are worked on."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ballast_remediator.contract import Jump
from ballast_remediator.store.ledger import Host

NOTICED: Final = 1.0
"""Seconds by which the wall clock has to leave the monotonic one, between two looks, to count as set."""
REMEMBERED: Final = 86400.0
"""Seconds for which a jump counts together with later ones: as long as budgets are usually counted."""


class Surroundings:
    """Looks at the clock whenever it is asked, and remembers the last time that it was set. Thread safe."""

    def __init__(
        self,
        kill_switch_file: Path | None,
        *,
        nodes_at_work: Callable[[], Mapping[str, Mapping[str, str]]] = dict,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = kill_switch_file
        self._nodes_at_work = nodes_at_work
        self._wall = wall
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._offset = wall() - monotonic()
        self._left: deque[tuple[float, float]] = deque(maxlen=1000)
        """When the clock was set, and by how much it was ahead of the monotonic one until then."""

    def host(self) -> Host:
        """As things are now."""
        return Host(self._look_at_clock(), self.kill_switch_file(), self._nodes_at_work())

    def kill_switch_file(self) -> str | None:
        """The path of the kill switch's file where it exists. One that cannot be looked at is taken to exist.

        So is one whose folder is not there: a volume that is not mounted must not hide it.
        """
        if self._file is None:
            return None
        try:
            self._file.lstat()
        except FileNotFoundError:
            return None if self._file.parent.is_dir() else str(self._file)
        except OSError:
            return str(self._file)
        return str(self._file)

    def _look_at_clock(self) -> Jump | None:
        with self._lock:
            now = self._monotonic()
            offset = self._wall() - now
            if self._monotonic() - now > NOTICED / 2:
                offset = self._offset  # whoever has to ask for the time and waits for it learns nothing of the clock
            if abs(offset - self._offset) > NOTICED:
                self._left.append((now, self._offset))
            self._offset = offset
            while self._left and now - self._left[0][0] > REMEMBERED:
                self._left.popleft()
            if not self._left:
                return None
            earlier = [before for _, before in self._left]
            # Forward is what makes things look long ago: it counts from the furthest back that the clock was.
            forward, back = offset - min(earlier), max(earlier) - offset
            return Jump(forward if forward > NOTICED else -back, now - self._left[-1][0])
