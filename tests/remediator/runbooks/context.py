"""A step's context without an engine."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ballast_remediator.contract import Scalar, StepSpec, Target

SPEC = StepSpec("kind", "main", "words")


@dataclass
class Lent:
    """`contract.StepContext` for one step, which keeps what it was told."""

    run_id: str = "0badcafe"
    target: Target = Target("here", "etcd-free-space", "main")  # noqa: RUF009 - frozen
    acknowledged: frozenset[str] = frozenset()
    known: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def facts(self, kind: str) -> Mapping[str, Scalar]:
        return self.known.get(kind, {})

    def note(self, words: str) -> None:
        self.notes.append(words)

    def wait(self, seconds: float) -> None:
        threading.Event().wait(min(seconds, 0.05))

    def go_on(self) -> None:
        """Nobody stops anything here."""

    def now(self) -> float:
        return time.monotonic()
