"""Requests that are due at a fixed rate, whether or not earlier ones are answered, on a real apiserver."""

import asyncio
import json
import random
import ssl
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from benchmarks.apiserver_figures import Asked
from drills.kubelets import Line, Who
from drills.stack import ControlPlane

LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
WATCH_SECONDS: Final = 2
_CONFIGMAPS: Final = "/api/v1/namespaces/default/configmaps"
_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_REVIEW: Final = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks what, how often a second; nobody else asks as much as that of it, so the apiserver's counts tell."""

    who: Who
    asked: Asked
    per_second: float
    method: str
    path: str
    body: object = None


def _who(name: str) -> Who:
    return Who(name, "system:masters", f"{name}/v1.36.0")


CLIENTS: Final = (
    Client(_who("reader"), Asked("configmaps", "GET"), 100, "GET", f"{_CONFIGMAPS}/settings"),
    Client(_who("lister"), Asked("secrets", "LIST"), 30, "GET", "/api/v1/secrets?limit=500"),
    Client(
        _who("reviewer"), Asked("selfsubjectaccessreviews.authorization.k8s.io", "POST"), 30, "POST", _REVIEWS, _REVIEW
    ),
    Client(
        _who("watcher"),
        Asked("configmaps", "WATCH"),
        10,
        "GET",
        f"{_CONFIGMAPS}?watch=1&timeoutSeconds={WATCH_SECONDS}",
    ),
    Client(
        Who("system:node:node-00000", "system:nodes", "kubelet/v1.36.0"),
        Asked("services", "LIST"),
        30,
        "GET",
        "/api/v1/services?limit=500",
    ),
)


@dataclass(slots=True)
class Lines:
    """Connections that are kept between requests; as many as are needed at once."""

    make: Callable[[], Line]
    _idle: list[Line] = field(default_factory=list)

    async def ask(self, who: Who, method: str, path: str, body: object = None) -> bytes:
        """The answer's body; raises what `Line.ask` does."""
        line = self._idle.pop() if self._idle else self.make()
        answer = await line.ask(who, method, path, body)
        self._idle.append(line)
        return answer

    def close(self) -> None:
        """Let go of them all."""
        for line in self._idle:
            line.close()


def front_proxy(plane: ControlPlane) -> Lines:
    """To the first apiserver, as the front proxy, which vouches for any user."""
    files, place = plane.authority.issue("front-proxy-client"), urlsplit(plane.apiservers[0].url)
    assert files.cert is not None
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.cert, files.key)
    return Lines(lambda: Line(str(place.hostname), int(place.port or 443), context))


async def mix(lines: Lines, seconds: float) -> None:
    """All of `CLIENTS`; ends when the last answer is there."""
    async with asyncio.TaskGroup() as group:
        for client in CLIENTS:
            group.create_task(steady(_asks(client, lines), client.per_second, seconds))


def _asks(client: Client, lines: Lines) -> Iterator[Coroutine[Any, Any, object]]:
    while True:
        yield lines.ask(client.who, client.method, client.path, client.body)


async def steady(asks: Iterator[Coroutine[Any, Any, object]], per_second: float, seconds: float) -> list[float]:
    """Seconds from due to answered of each, in the order of the answers. Raises what one of them raises."""
    taken: list[float] = []

    async def one(ask: Coroutine[Any, Any, object], due: float) -> None:
        await ask
        taken.append(time.perf_counter() - due)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * per_second)):
            due = begin + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(next(asks), due))
    return taken


@dataclass(slots=True)
class Renewals:
    """The nodes' Leases, renewed one after the other as their kubelets do; through any apiserver of the cluster."""

    leases: Sequence[dict[str, Any]]
    _next: int = 0

    def through(self, lines: Lines) -> Iterator[Coroutine[Any, Any, object]]:
        """One renewal after the other, without end."""
        while True:
            number = self._next % len(self.leases)
            self._next += 1
            yield self._renew(lines, self.leases[number])

    async def _renew(self, lines: Lines, lease: dict[str, Any]) -> None:
        name = lease["metadata"]["name"]
        who = Who(f"system:node:{name}", "system:nodes", "kubelet/v1.36.0")
        lease["spec"]["renewTime"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        answer = json.loads(await lines.ask(who, "PUT", f"{LEASES}/{name}", lease))
        lease["metadata"] = answer["metadata"]


async def leases(lines: Lines) -> Renewals:
    """Of all nodes there are, in no order."""
    admin = Who("kubernetes-admin", "system:masters", "bench/1")
    found: list[dict[str, Any]] = json.loads(await lines.ask(admin, "GET", LEASES))["items"]
    random.shuffle(found)
    return Renewals(found)
