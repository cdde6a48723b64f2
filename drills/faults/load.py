"""Alerts that come all the time, from a poster and through a real pair of Alertmanagers, and a person who resolves."""

import itertools
import json
import random
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from drills.faults.generated import GENERATED, LABEL
from drills.stack import Stack
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.http import HttpClient
from kube_ballast.clients.remediator import Remediator
from kube_ballast.config import HttpConfig

TIMEOUT: Final = 3.0
ACCEPTED: Final = 202
OK: Final = 200
POSTERS: Final = 2
EVERY: Final = 0.35
"""Seconds between two posts of one poster."""
RESOLVE_EVERY: Final = 0.5
ALERT_EVERY: Final = 1.0
"""Seconds between two alerts that go through the Alertmanagers."""
NOTIFIED_WITHIN: Final = 180.0
"""Seconds in which one that goes on living has notified of an alert, also while replicas are gone in between."""
FNV_START: Final = 14695981039346656037
FNV_PRIME: Final = 1099511628211


class Promises:
    """What has to be known to the store in the end. Thread safe."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", buffering=1)
        self._lock = threading.Lock()
        self.accepted: set[str] = set()
        self.answers: Counter[str] = Counter()

    def keep(self, fingerprints: Sequence[str]) -> None:
        with self._lock:
            self.accepted.update(fingerprints)
            self._file.writelines(f"{each}\n" for each in fingerprints)

    def close(self) -> None:
        self._file.close()

    def count(self, answer: str) -> None:
        with self._lock:
            self.answers[answer] += 1


class Load:
    """Everything that goes on while faults happen, in threads of its own."""

    def __init__(
        self, urls: Sequence[str], token: Callable[[str], Path], promises: Promises, pair: "Pair | None"
    ) -> None:
        self.promises = promises
        self._pair = pair
        self._posted = threading.Event()
        self._ended = threading.Event()
        self._ingest = [HttpClient(HttpConfig(url=url, bearer_token_file=token("ingest"))) for url in urls]
        self._people = [Remediator(HttpConfig(url=url, bearer_token_file=token("admin"))) for url in urls]
        self._posting = [threading.Thread(target=self._post, daemon=True) for _ in range(POSTERS)]
        self._posting.append(threading.Thread(target=self._alert, daemon=True))
        self._resolving = threading.Thread(target=self._resolve, daemon=True)

    def start(self) -> None:
        for thread in (*self._posting, self._resolving):
            thread.start()

    def stop_posting(self) -> None:
        """No more alerts; people still resolve until `stop`."""
        self._posted.set()
        for thread in self._posting:
            thread.join()

    def stop(self) -> None:
        self.stop_posting()
        self._ended.set()
        self._resolving.join()
        self.promises.close()

    def post(self, labels: Mapping[str, str], replica: int) -> None:
        """Posts alerts with these labels. Answered 202, they are promises; else Alertmanager would post them again."""
        fingerprints = [secrets.token_hex(8) for _ in range(random.choice((1, 1, 2)))]  # noqa: S311 - a load
        try:
            answer = self._ingest[replica % len(self._ingest)].request(
                "POST", "/api/v1/alertmanager", timeout=TIMEOUT, body=notification(labels, fingerprints)
            )
        except ClientError as error:
            self.promises.count(type(error).__name__)
            return
        self.promises.count(str(answer.status))
        if answer.status == ACCEPTED:
            self.promises.keep(fingerprints)

    def resolve(self) -> None:
        """A person has looked at every run of unknown outcome."""
        for person in self._people:
            with suppress(ClientError):
                for run in person.runs(limit=50, state="outcome_unknown", timeout=TIMEOUT):
                    if run.resolved_at is None:
                        person.resolve(run.id, reason="a drill", timeout=TIMEOUT)
                return

    def _post(self) -> None:
        for turn in itertools.count():
            if self._posted.wait(EVERY):
                return
            self.post(some_labels(), turn)

    def _alert(self) -> None:
        while self._pair is not None and not self._posted.wait(ALERT_EVERY):
            self._pair.alert(self.promises)

    def _resolve(self) -> None:
        while not self._ended.wait(RESOLVE_EVERY):
            self.resolve()


class Pair:
    """Two real Alertmanagers that gossip and send to the remediator; what both took is a promise.

    They keep alerts in memory, and count on Prometheus, which sends what fires again and again.
    """

    def __init__(self, stack: Stack, url: str, token_file: Path) -> None:
        hook = {
            "url": f"{url}/api/v1/alertmanager",
            "http_config": {"authorization": {"credentials_file": str(token_file)}},
        }
        route = {"receiver": "ballast", "group_by": ["..."], "group_wait": "50ms", "group_interval": "1s"}
        self.services = stack.alertmanager_pair(
            config={"route": route, "receivers": [{"name": "ballast", "webhook_configs": [hook]}]},
            flags={"cluster.peer-timeout": "2s", "cluster.gossip-interval": "200ms"},
        )
        self._clients = [HttpClient(HttpConfig(url=each.url)) for each in self.services]
        self._firing: deque[tuple[float, bytes]] = deque()

    def alert(self, promises: Promises) -> None:
        """A new alert, to both, as Prometheus sends it."""
        labels = {**some_labels(), "part": secrets.token_hex(8)}
        ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body = json.dumps([{"labels": labels, "annotations": {}, "endsAt": ends}]).encode()
        self._firing.append((time.monotonic(), body))
        taken = 0
        for client in self._clients:
            with suppress(ClientError):
                taken += client.request("POST", "/api/v2/alerts", timeout=TIMEOUT, body=body).status == OK
        if taken == len(self._clients):
            promises.keep([fingerprint(labels)])
            promises.count("alerts taken by both Alertmanagers")

    def kill(self, number: int, lasts: float) -> None:
        """One of them, for so long; then it gets what fires, but for what has long been notified of."""
        number %= len(self.services)
        process = self.services[number].process
        process.kill()
        wait(lasts)
        process.restart()
        while self._firing and self._firing[0][0] < time.monotonic() - NOTIFIED_WITHIN:
            self._firing.popleft()
        for _, body in self._firing.copy():
            answer = self._clients[number].request("POST", "/api/v2/alerts", timeout=TIMEOUT, body=body)
            assert answer.status == OK, answer.text()


def some_labels() -> dict[str, str]:
    """Of an alert about some target of some generated runbook."""
    runbook = random.choice(GENERATED)  # noqa: S311 - a load
    thing = random.choice(runbook.things)  # noqa: S311 - a load
    return {"alertname": "Drill", "ballast_runbook": runbook.name, LABEL: thing}


def fingerprint(labels: Mapping[str, str]) -> str:
    """As Prometheus and Alertmanager compute it: FNV-1a over the sorted labels (common/model/signature.go)."""
    value = FNV_START
    for name, content in sorted(labels.items()):
        for byte in name.encode() + b"\xff" + content.encode() + b"\xff":
            value = (value ^ byte) * FNV_PRIME % 2**64
    return f"{value:016x}"


def notification(labels: Mapping[str, str], fingerprints: Sequence[str]) -> bytes:
    """What Alertmanager would post."""
    alerts = [
        {
            "status": "firing",
            "labels": dict(labels),
            "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "",
            "fingerprint": each,
        }
        for each in fingerprints
    ]
    return json.dumps(
        {
            "version": "4",
            "groupKey": "{}",
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "ballast",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://alertmanager",
            "alerts": alerts,
        }
    ).encode()


def wait(seconds: float) -> None:
    """A fault lasts."""
    time.sleep(max(0.0, seconds))
