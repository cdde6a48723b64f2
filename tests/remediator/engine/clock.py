"""A clock that a test sets, as somebody sets a host's, and that it lets go on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ballast_remediator.store.database import Store
from ballast_remediator.store.places import SqliteFile
from tests.remediator.engine.desk import Desk


@dataclass
class Clock:
    """``ahead`` is by how many seconds the wall clock was set; ``passed`` is time that both clocks saw."""

    ahead: float = 0.0
    passed: float = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead + self.passed

    def monotonic(self) -> float:
        return time.monotonic() + self.passed

    @contextmanager
    def store(self, folder: Path) -> Iterator[Store]:
        with Store(SqliteFile(folder / "remediator.db", self.wall)) as opened:
            yield opened

    def watched_by(self, desk: Desk) -> Desk:
        """Has the engine of ``desk`` watch how this clock goes."""
        watching = desk.engine._planner._surroundings
        watching._wall, watching._monotonic = self.wall, self.monotonic
        return desk
