"""Traffic of every kind that the collector tells, on a real apiserver, and the page it gives then."""

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle
from typing import Any
from urllib.parse import urlsplit

from drills.stack import ControlPlane
from kube_ballast.analysis.apiserver_requests import METRICS
from kube_ballast.clients.errors import Denied
from kube_ballast.clients.http import Answer, HttpClient
from kube_ballast.config import HttpConfig
from tests.waiting import eventually

SOON = 30.0
POST = "POST /api/v1/namespaces/default/configmaps"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}


def connection(plane: ControlPlane, name: str, group: str | None = None, number: int = 0) -> HttpConfig:
    """As that user, to the apiserver of that number."""
    return HttpConfig(url=plane.apiservers[number].url, tls=plane.authority.issue(name, organization=group))


def ask(config: HttpConfig, method: str, path: str, body: object = None) -> Answer:
    content = None if body is None else json.dumps(body).encode()
    return HttpClient(config).request(method, path, timeout=SOON, body=content)


def make(config: HttpConfig, path: str, body: object) -> None:
    answer = ask(config, "POST", path, body)
    assert answer.status == 201, answer.text()


def level(name: str, user: str, response: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """A priority level without a seat, for that user: requests wait, or are refused while another one is served."""
    limited = {
        "nominalConcurrencyShares": 0,
        "lendablePercent": 0,
        "borrowingLimitPercent": 0,
        "limitResponse": response,
    }
    rule = {
        "subjects": [{"kind": "User", "user": {"name": user}}],
        "resourceRules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": True}
        ],
    }
    version = {"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "metadata": {"name": name}}
    yield (
        "prioritylevelconfigurations",
        {**version, "kind": "PriorityLevelConfiguration", "spec": {"type": "Limited", "limited": limited}},
    )
    flow = {"matchingPrecedence": 100, "priorityLevelConfiguration": {"name": name}, "rules": [rule]}
    yield "flowschemas", {**version, "kind": "FlowSchema", "spec": flow}


def bound(user: str, role: str) -> dict[str, Any]:
    return {
        "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    }


@contextmanager
def held(config: HttpConfig, start: str) -> Iterator[None]:
    """A request that starts so is sent, and stays open."""
    tls, url = config.tls, urlsplit(config.url)
    length = 1000 if start.startswith("POST") else 0  # of which nothing is sent
    assert tls is not None
    assert tls.cert is not None
    context = ssl.create_default_context(cafile=tls.ca)
    context.load_cert_chain(tls.cert, tls.key)
    with (
        socket.create_connection((str(url.hostname), int(url.port or 443)), timeout=SOON) as line,
        context.wrap_socket(line, server_hostname=url.hostname) as secure,
    ):
        secure.sendall(f"{start} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {length}\r\n\r\n".encode())
        yield


@contextmanager
def traffic(plane: ControlPlane) -> Iterator[HttpConfig]:
    """Requests of each kind: three open watches, one request refused and one queued; gives the admin's connection."""
    admin = connection(plane, "kubernetes-admin", "system:masters")
    make(admin, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", CRD)
    for name, response in (
        ("refused", {"type": "Reject"}),
        ("queued", {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 10}}),
    ):
        for kind, body in level(name, name, response):
            make(admin, f"/apis/flowcontrol.apiserver.k8s.io/v1/{kind}", body)
    for number in range(30):
        make(admin, "/api/v1/namespaces/default/configmaps", {"metadata": {"name": f"c{number}"}, "data": {"a": "b"}})
        assert ask(admin, "GET", f"/api/v1/namespaces/default/configmaps/c{number}").status == 200
    assert ask(admin, "GET", "/api/v1/namespaces/default/configmaps/nope").status == 404
    assert ask(admin, "GET", "/api/v1/configmaps").status == 200
    eventually(lambda: ask(admin, "GET", WIDGETS).status == 200, within=SOON)
    make(admin, WIDGETS, {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}})
    for user in ("refused", "queued"):
        make(admin, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", bound(user, "cluster-admin"))
    refused = connection(plane, "refused")
    with held(refused, POST):
        eventually(lambda: ask(refused, "GET", "/api/v1/pods").status == 429, within=SOON, retry=Denied)
    with ExitStack() as open_ones:
        for _ in range(3):
            open_ones.enter_context(held(admin, "GET /api/v1/configmaps?watch=1"))
        yield admin


@contextmanager
def queueing(plane: ControlPlane) -> Iterator[None]:
    """One request waits in a queue, until flow control turns it away after 15 seconds."""
    with held(connection(plane, "queued"), "GET /api/v1/pods"):
        yield


def page(config: HttpConfig) -> str:
    """The whole page."""
    return ask(config, "GET", "/metrics").body.decode()


def excerpt(text: str) -> str:
    """Of a page what the collector reads, and of the rest the durations of what ConfigMaps were asked for."""
    ours = re.compile(rf"(?:# (?:HELP|TYPE) )?(?:{'|'.join(METRICS)})[ {{]")
    others = re.compile(r'apiserver_request_duration_seconds.*resource="configmaps"')
    return "".join(line for line in text.splitlines(keepends=True) if ours.match(line) or others.match(line))


class Balancer:
    """Gives each connection to the next apiserver in turn, as a load balancer does."""

    def __init__(self, urls: list[str]) -> None:
        self._targets = [(str(urlsplit(url).hostname), int(urlsplit(url).port or 443)) for url in urls]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    @contextmanager
    def running(self) -> Iterator[str]:
        with ExitStack() as connections:
            accepting = threading.Thread(target=self._serve, args=(connections,))
            accepting.start()
            try:
                yield self.url
            finally:
                self._listener.shutdown(socket.SHUT_RDWR)
                accepting.join()
                self._listener.close()

    def _serve(self, connections: ExitStack) -> None:
        for target in cycle(self._targets):
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            carrying = threading.Thread(target=_carry, args=(client, target))
            carrying.start()
            connections.callback(carrying.join)


def _carry(client: socket.socket, target: tuple[str, int]) -> None:
    """Both ways, until both ends have said all."""
    with client, socket.create_connection(target, timeout=SOON) as server:
        client.settimeout(SOON)
        answering = threading.Thread(target=_pass_on, args=(server, client))
        answering.start()
        _pass_on(client, server)
        answering.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
