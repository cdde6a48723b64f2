"""How replicas end, and what probes are told while the database hangs: real processes on a real PostgreSQL."""

import json
import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException

import pytest

from drills.faults import effects, invariants
from drills.faults.history import History, Reader
from drills.faults.load import Load, Promises, notification, some_labels
from drills.faults.place import Place, Replica
from drills.faults.points import StoreKind
from drills.stack import Stack
from tests.waiting import eventually

STOPS_WITHIN = 12.0
"""Seconds: the worker is killed after ten."""
POSTERS = 2
PAUSE = 0.05


@pytest.fixture
def place(stack: Stack) -> Place:
    return Place(stack, StoreKind.POSTGRESQL, real=False)


def ask(
    replica: Replica, path: str, body: bytes | None = None, token: str = "", within: float = 15.0
) -> tuple[int, str]:
    """Status and text; raises `OSError` where nobody answers."""
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{replica.url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=within) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()
    except HTTPException as error:
        raise OSError(str(error)) from error


def readiness(replica: Replica, within: float = 15.0) -> tuple[int, list[str]]:
    status, text = ask(replica, "/readyz", within=within)
    return status, json.loads(text)["reasons"]


@dataclass
class Senders:
    """Post all the time, each to one replica for as long as that takes it, as behind a Service."""

    place: Place
    accepted: set[str] = field(default_factory=set)
    tries: list[int] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def post_on(self, first: int) -> None:
        at, token = first, self.place.token("ingest").read_text()
        while not self.stopping.wait(PAUSE):
            fingerprint = secrets.token_hex(8)
            body = notification(some_labels(), [fingerprint])
            for number in range(1, 4):
                try:
                    answer, _ = ask(self.place.replicas[at], "/api/v1/alertmanager", body, token)
                except OSError as error:
                    self.answers.append(str(error))
                else:
                    if answer == 202:
                        self.accepted.add(fingerprint)
                        self.tries.append(number)
                        break
                    self.answers.append(str(answer))
                at = (at + 1) % len(self.place.replicas)
            else:
                self.tries.append(99)


@contextmanager
def senders(place: Place) -> Iterator[Senders]:
    posting = Senders(place)
    with ThreadPoolExecutor(POSTERS) as pool:
        futures = [pool.submit(posting.post_on, number) for number in range(POSTERS)]
        try:
            yield posting
        finally:
            posting.stopping.set()
    for future in futures:
        future.result()


def settled(place: Place, accepted: frozenset[str]) -> History:
    """What is there when every run has ended; a person looks after those of unknown outcome, which hold locks."""
    reader = Reader(place.where)
    people = Load([replica.url for replica in place.replicas], place.token, Promises(place.folder / "accepted"), None)

    def ended() -> bool:
        people.resolve()
        return reader.still_open() == 0 and accepted <= reader.known()

    eventually(ended, within=90.0, every=0.3, retry=OSError)
    people.promises.close()
    return reader.history(accepted, effects.read(place.effects))


def stopped_by_itself(replica: Replica) -> bool:
    return 'event="the remediator stopped"' in replica.process.log.read_text()


def violations(history: History) -> dict[str, tuple[str, ...]]:
    return {name: words for name, words in invariants.violations(history).items() if words}


def events(history: History) -> Sequence[str]:
    return [entry.event for entry in history.audit]


def test_a_rolling_restart_loses_no_notification_and_repeats_no_step(place: Place) -> None:
    with senders(place) as posting:
        for replica in place.replicas:
            before = len(posting.accepted)
            eventually(lambda before=before: len(posting.accepted) > before + 20, within=30.0)
            replica.process.stop(within=STOPS_WITHIN)
            assert replica.process.exit_code == 0
            replica.process.start()
            replica.process.wait_ready()

    assert max(posting.tries) <= 2, posting.answers
    history = settled(place, frozenset(posting.accepted))
    assert violations(history) == {}
    assert events(history).count("replica_gone") == len(place.replicas), "all of them said good-bye, nobody was buried"
    assert all(entry.words.endswith(" leaves") for entry in history.audit if entry.event == "replica_gone")
    for replica in place.replicas:
        assert stopped_by_itself(replica)


def test_who_is_told_to_end_is_not_ready_and_still_takes_what_arrives(place: Place) -> None:
    replica = place.replicas[0]
    replica.process.terminate()
    status, reasons = eventually(lambda: told if (told := readiness(replica))[0] == 503 else None) or (0, [])
    assert (status, reasons) == (503, ["shutting down"])
    body = notification(some_labels(), [fingerprint := secrets.token_hex(8)])
    assert ask(replica, "/api/v1/alertmanager", body, place.token("ingest").read_text())[0] == 202
    assert replica.process.wait(within=STOPS_WITHIN) == 0
    history = settled(place, frozenset({fingerprint}))
    assert violations(history) == {}


def test_probes_are_answered_while_the_database_hangs_and_so_is_sigterm(place: Place) -> None:
    assert place.server is not None
    replica, token = place.replicas[0], place.token("ingest").read_text()
    body = notification(some_labels(), [secrets.token_hex(8)])
    place.server.pause()
    try:
        with ThreadPoolExecutor(48) as pool:  # more than it has threads for
            for _ in range(48):
                pool.submit(ask, replica, "/api/v1/alertmanager", body, token, 60.0)
            status, reasons = eventually(
                lambda: told if (told := readiness(replica, within=2.0))[0] == 503 else None, every=0.0
            ) or (0, [])
            assert status == 503
            assert any("the store has not answered for " in reason for reason in reasons), reasons
            assert ask(replica, "/healthz", within=2.0) == (200, '{"status":"ok"}')
            replica.process.terminate()
            assert replica.process.wait(within=STOPS_WITHIN) == 0
    finally:
        place.server.resume()
    assert stopped_by_itself(replica)
    replica.bring_back()
