"""What a round left behind: read from the store with plain SQL and from the effects' file, to be judged."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from ballast_remediator.chain import Entry
from ballast_remediator.contract import RunState
from ballast_remediator.store.places import Place as StorePlace
from ballast_remediator.store.places import PostgresqlServer
from drills.faults.effects import Effect

TIMEOUT: Final = 10
UNFILED: Final = "SELECT count(*) FROM notifications WHERE filed_at IS NULL"
OPEN: Final = "SELECT count(*) FROM runs WHERE finished_at IS NULL"
WAITING: Final = "SELECT body FROM notifications WHERE filed_at IS NULL"
KNOWN: Final = "SELECT DISTINCT fingerprint FROM run_alerts"
RUNS: Final = "SELECT id, runbook, target, state, reason FROM runs"
STEPS: Final = "SELECT run_id, ordinal, kind, done_at IS NOT NULL FROM steps"
AUDIT: Final = "SELECT seq, at, run_id, event, actor, words, data, previous_hash, hash FROM audit ORDER BY seq"


@dataclass(frozen=True, slots=True)
class RunEnd:
    """A run, and how it stands in the end."""

    id: str
    runbook: str
    target: str
    state: RunState
    reason: str


@dataclass(frozen=True, slots=True)
class StepEnd:
    """A step, and whether it was written down as done."""

    run: str
    ordinal: int
    kind: str
    done: bool


@dataclass(frozen=True, slots=True)
class History:
    """All that a round is judged by. ``audit`` and ``effects`` are in their order."""

    accepted: frozenset[str] = frozenset()
    """Fingerprints that were promised."""
    known: frozenset[str] = frozenset()
    """Fingerprints that a run knows of."""
    waiting: frozenset[str] = frozenset()
    """Fingerprints of notifications that are in the store and that nobody has filed."""
    runs: tuple[RunEnd, ...] = ()
    steps: tuple[StepEnd, ...] = ()
    audit: tuple[Entry, ...] = ()
    effects: tuple[Effect, ...] = ()
    problem: str | None = None
    """Why the store cannot be read, if it cannot."""

    def timelines(self) -> Mapping[str, Sequence[Entry]]:
        """The audit of each run."""
        found: dict[str, list[Entry]] = {}
        for entry in self.audit:
            if entry.run_id is not None:
                found.setdefault(entry.run_id, []).append(entry)
        return found


class Reader:
    """Asks the store beside those that work on it."""

    def __init__(self, place: StorePlace) -> None:
        self._place = place

    def still_open(self) -> int:
        """Runs that have not ended, and notifications that nobody has filed. Raises `OSError` while it cannot tell."""
        try:
            with self._connected() as ask:
                return int(ask(OPEN)[0][0]) + int(ask(UNFILED)[0][0])
        except (sqlite3.Error, psycopg.Error) as error:
            raise OSError(str(error)) from error

    def known(self) -> frozenset[str]:
        """Fingerprints that a run knows of. Raises `OSError` while it cannot tell."""
        try:
            with self._connected() as ask:
                return frozenset(row[0] for row in ask(KNOWN))
        except (sqlite3.Error, psycopg.Error) as error:
            raise OSError(str(error)) from error

    def history(self, accepted: frozenset[str], effects: tuple[Effect, ...]) -> History:
        """What is there now. A store that cannot be read is told by ``problem``."""
        try:
            with self._connected() as ask:
                return History(
                    accepted=accepted,
                    known=frozenset(row[0] for row in ask(KNOWN)),
                    waiting=frozenset(_fingerprints(row[0] for row in ask(WAITING))),
                    runs=tuple(RunEnd(row[0], row[1], row[2], RunState(row[3]), row[4]) for row in ask(RUNS)),
                    steps=tuple(StepEnd(row[0], row[1], row[2], bool(row[3])) for row in ask(STEPS)),
                    audit=tuple(_entry(*row) for row in ask(AUDIT)),
                    effects=effects,
                )
        except (sqlite3.Error, psycopg.Error) as error:
            return History(accepted=accepted, effects=effects, problem=f"the store cannot be read: {error}")

    @contextmanager
    def _connected(self) -> Iterator["Ask"]:
        if isinstance(self._place, PostgresqlServer):
            password = None if self._place.password_file is None else self._place.password_file.read_text()
            with psycopg.connect(self._place.conninfo, password=password, connect_timeout=TIMEOUT) as server:
                yield Ask(server)
        else:
            with closing(_read_only(self._place.path)) as file:
                yield Ask(file)


class Ask:
    """All rows of a question."""

    def __init__(self, connection: psycopg.Connection | sqlite3.Connection) -> None:
        self._connection: Any = connection

    def __call__(self, question: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(question))


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=TIMEOUT)


def _fingerprints(bodies: Iterable[Any]) -> Iterator[str]:
    for body in bodies:
        for alert in json.loads(bytes(body))["alerts"]:
            yield alert["fingerprint"]


def _entry(*row: Any) -> Entry:  # noqa: ANN401 - a row of a database
    seq, at, run_id, event, actor, words, data, previous_hash, digest = row
    content = json.loads(data) if isinstance(data, str) else data
    return Entry(seq, at, run_id, event, actor, words, content, previous_hash, digest)
