"""The world of the generated runbooks: a file to which each effect adds one line, whoever causes it.

Its order is the truth, since a write with O_APPEND is whole and comes after all that were before it. The times in it
are for the few questions that an order cannot answer; they are of the one monotonic clock of this machine.
"""

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

FILE: Final = "BALLAST_DRILL_EFFECTS"
REPLICA: Final = "BALLAST_DRILL_REPLICA"
"""Variables of the environment: where effects go, and who causes them."""
ATOMIC_BYTES: Final = 4096


class What(StrEnum):
    """What a line tells. `BEGAN` and `BEAT` are actions: somebody decided to change the world."""

    BEGAN = "began"
    BEAT = "beat"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Effect:
    """One line. ``looked`` is when the engine was asked last whether to go on, ``at`` when this was written."""

    what: What
    run: str
    step: int
    kind: str
    locks: tuple[str, ...]
    replica: str
    token: int
    looked: float
    at: float
    wall: float

    @property
    def acts(self) -> bool:
        return self.what is not What.ENDED


@dataclass(frozen=True, slots=True)
class Deed:
    """The step that effects are of."""

    run: str
    step: int
    kind: str
    locks: tuple[str, ...]


class Effects:
    """The file, to write to and to look at. Thread safe; several processes may share it."""

    def __init__(self, path: Path, replica: str) -> None:
        self.replica = replica
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._lock = threading.Lock()
        self._read = 0
        self._known: dict[tuple[str, int], State] = {}

    def add(self, deed: Deed, what: What, *, token: int, looked: float) -> None:
        """Causes an effect. It is in the world when this returns, and after a kill of any process."""
        effect = Effect(
            what=what,
            run=deed.run,
            step=deed.step,
            kind=deed.kind,
            locks=deed.locks,
            replica=self.replica,
            token=token,
            looked=looked,
            at=time.monotonic(),
            wall=time.time(),
        )
        line = json.dumps(asdict(effect)).encode() + b"\n"
        assert len(line) <= ATOMIC_BYTES
        os.write(self._file, line)

    def state(self, run: str, step: int) -> "State":
        """What the world shows of a step now."""
        with self._lock:
            while chunk := os.pread(self._file, 1 << 20, self._read):
                whole = chunk[: chunk.rfind(b"\n") + 1]
                if not whole:
                    break
                self._read += len(whole)
                for effect in parsed(whole):
                    self._known.setdefault((effect.run, effect.step), State()).add(effect)
            return self._known.get((run, step), State())


@dataclass(slots=True)
class State:
    """What the world shows of one step."""

    began: float | None = None
    """When it began last, in monotonic seconds; None when it never did."""
    ended: bool = False
    beats: int = 0
    attempts: int = field(default=0)

    def add(self, effect: Effect) -> None:
        if effect.what is What.BEGAN:
            self.began = effect.at
            self.attempts += 1
        elif effect.what is What.BEAT:
            self.beats += 1
        else:
            self.ended = True


def parsed(content: bytes) -> Iterable[Effect]:
    """The effects of whole lines."""
    for line in content.splitlines():
        given = json.loads(line)
        yield Effect(**{**given, "what": What(given["what"]), "locks": tuple(given["locks"])})


def read(path: Path) -> tuple[Effect, ...]:
    """All effects, in their order."""
    return tuple(parsed(path.read_bytes())) if path.exists() else ()
