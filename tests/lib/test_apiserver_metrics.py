"""Reading an apiserver's page of metrics, from servers that misbehave."""

import gzip
import socket
import threading
import tracemalloc
from collections.abc import Callable

import pytest

from kube_ballast.clients import apiserver
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.clients.exposition import Sample
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

SOON = 10.0
PAGE = b"# TYPE wanted counter\nwanted 1\nunwanted 2\nwanted 3\n"


def read(url: str, timeout: float = SOON) -> list[float]:
    samples: list[Sample] = []
    ApiserverMetrics(HttpConfig(url=url)).read(("wanted",), samples.append, timeout=timeout)
    return [sample.value for sample in samples]


def answering(body: bytes, status: str = "200 OK", *headers: str) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(http(status, body, *headers))


@pytest.mark.parametrize("level", [0, 9])
def test_a_page_is_read_as_it_is_and_packed(level: int) -> None:
    body = PAGE * 5000
    with RawServer(answering(body)) as plain:
        assert read(plain.url) == [1.0, 3.0] * 5000
        assert b"Accept-Encoding: identity" in plain.requests[0]
    with RawServer(answering(gzip.compress(body, level), "200 OK", "Content-Encoding: gzip")) as packed:
        assert read(packed.url) == [1.0, 3.0] * 5000


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (http("403 Forbidden", b"no"), Denied, "403 Forbidden: it takes the verb get on the nonResourceURL /metrics"),
        (http("401 Unauthorized", b"no"), Denied, "GET /metrics: 401 Unauthorized"),
        (http("429 Too Many Requests", b"later"), Unavailable, "429, the apiserver has too much to do"),
        (http("503 Service Unavailable", b"later"), Unavailable, "status 503: 'later'"),
        (http("500 Internal Server Error", b"oh"), BadResponse, "unexpected answer, status 500: 'oh'"),
        (http("200 OK", PAGE)[:-5], Unavailable, "the answer broke off"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + PAGE[:-3], BadResponse, r"breaks off in the middle of a line: b'wanted'"),
        (http("200 OK", b'wanted{a="' + b"x" * 2**20 + b'"} 1\n'), BadResponse, "a line of more than 65536 bytes"),
        (http("200 OK", b"wanted{a=1} 1\n"), BadResponse, "labels that cannot be read"),
        (http("200 OK", gzip.compress(PAGE)[:-9]), BadResponse, "its gzip breaks off"),
        (http("200 OK", b"\x1f" + PAGE), BadResponse, "it begins as gzip does and is none"),
        (http("200 OK", gzip.compress(PAGE) * 2), BadResponse, "more follows its gzip"),
    ],
)
def test_a_bad_answer_is_named(answer: bytes, kind: type[ClientError], words: str) -> None:
    with RawServer(lambda connection: connection.sendall(answer)) as server:
        with pytest.raises(ClientError, match=words) as caught:
            read(server.url)
        assert type(caught.value) is kind
        assert str(caught.value).startswith(f"{server.url}: GET /metrics")


def test_nobody_there() -> None:
    with RawServer(answering(b"")) as server:
        pass
    with pytest.raises(Unavailable, match="Connection refused"):
        read(server.url)


def test_a_page_without_an_end_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiserver, "PAGE_LIMIT_BYTES", 2**20)

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"unwanted 1\n" * 5000)

    with RawServer(endless) as server, pytest.raises(BadResponse, match="body is larger than 1048576 bytes"):
        read(server.url)


def test_a_gzip_bomb_ends_at_the_limit_and_is_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiserver, "PAGE_LIMIT_BYTES", 32 * 2**20)
    bomb = gzip.compress(b"unwanted 1\n" * (8 * 2**20))
    with RawServer(answering(bomb)) as server:
        tracemalloc.start()
        with pytest.raises(BadResponse, match="unpacked it is larger than 33554432 bytes"):
            read(server.url)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_page_that_trickles_ends_at_the_deadline() -> None:
    server: RawServer
    with RawServer(
        lambda connection: server.trickle(connection, b"HTTP/1.1 200 OK\r\n\r\n", b"unwanted 1\n")
    ) as server:
        with pytest.raises(Timeout, match=r"GET /metrics: no whole answer within 0\.3 s"):
            read(server.url, timeout=0.3)
        eventually(lambda: not any(server.url in thread.name for thread in threading.enumerate()))
