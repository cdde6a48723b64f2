"""HTTP with a deadline that holds, against servers that misbehave."""

import socket
import threading
from pathlib import Path

import pytest

from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import Health, MemberMetrics
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import BasicAuth, HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

SOON = 10.0


def serving(answer: bytes) -> RawServer:
    return RawServer(lambda connection: connection.sendall(answer))


def client(server: RawServer) -> HttpClient:
    return HttpClient(HttpConfig(url=server.url))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nX-Endless: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X-Again: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhalf", b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_a_trickle_ends_at_the_deadline_and_leaves_no_thread(first: bytes, then: bytes) -> None:
    server: RawServer
    with RawServer(lambda connection: server.trickle(connection, first, then)) as server:
        with pytest.raises(Timeout, match=r"GET /slow: no whole answer within 0\.3 s$"):
            client(server).get("/slow", timeout=0.3)
        eventually(lambda: not any(server.url in thread.name for thread in threading.enumerate()))


def test_a_handshake_that_trickles_ends_at_the_deadline() -> None:
    server: RawServer
    with RawServer(lambda connection: server.trickle(connection, b"", b"\x16\x03\x03")) as server:
        url = server.url.replace("http", "https")
        with pytest.raises(ClientError):
            EtcdHttp(url).readyz(timeout=0.3)
        eventually(lambda: not any(url in thread.name for thread in threading.enumerate()))


def test_a_silent_handshake_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(Timeout):
            EtcdHttp(url).readyz(timeout=0.3)
        eventually(lambda: not any(url in thread.name for thread in threading.enumerate()))


def test_a_name_that_does_not_resolve_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def slow(*_: object, **__: object) -> list[object]:
        release.wait(SOON)
        raise socket.gaierror("gave up")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(Timeout):
        HttpClient(HttpConfig(url="http://prometheus:9090")).get("/", timeout=0.1)
    release.set()
    eventually(lambda: not any("prometheus:9090" in thread.name for thread in threading.enumerate()))


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"", Unavailable, "closed connection without response"),
        (http("200 OK", b"x" * 100)[:-50], Unavailable, "the answer broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Unavailable, "the answer broke off"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", BadResponse, "cannot be read"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", BadResponse, "cannot be read"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", BadResponse, "got more than 100 headers"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", BadResponse, "got more than 65536 bytes"),
        (http("302 Found", b"", "Location: http://elsewhere/"), BadResponse, "a redirect to http://elsewhere/"),
        (http("401 Unauthorized", b""), Denied, "GET /path: 401 Unauthorized"),
        (http("403 Forbidden", b"no"), Denied, "GET /path: 403 Forbidden"),
        (http("200 OK", b"x" * 2000), BadResponse, "the body is larger than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000, BadResponse, "the body is larger than 1000 bytes"),
    ],
)
def test_what_a_bad_answer_means(answer: bytes, kind: type[ClientError], words: str) -> None:
    with serving(answer) as server:
        with pytest.raises(ClientError, match=words) as caught:
            client(server).get("/path", timeout=SOON, limit=1000)
        assert type(caught.value) is kind
        assert str(caught.value).startswith(server.url)


def test_a_broken_answer_to_a_post_leaves_the_outcome_unknown() -> None:
    unknown = r"POST /runs: .*; it is unknown whether the request took effect"
    with serving(b"") as server, pytest.raises(Timeout, match=unknown):
        client(server).request("POST", "/runs", timeout=SOON, body=b"{}")
    with pytest.raises(Unavailable, match="Connection refused"):
        client(server).request("POST", "/runs", timeout=SOON, body=b"{}")


def test_a_post_carries_its_body() -> None:
    with serving(http("201 Created", b"made")) as server:
        answer = client(server).request("POST", "/runs", [("a", "b c")], timeout=SOON, body=b"{}")
        assert (answer.status, answer.body) == (201, b"made")
        (request,) = server.requests
        assert request.startswith(b"POST /runs?a=b+c HTTP/1.1\r\n")
        assert b"Content-Type: application/json\r\n" in request


def test_a_streamed_body_is_not_kept() -> None:
    pieces: list[bytes] = []
    with serving(http("200 OK", b"x" * 200_000)) as server:
        answer = client(server).get("/", timeout=SOON, consume=pieces.append)
    assert (answer.status, answer.body) == (200, b"")
    assert b"".join(pieces) == b"x" * 200_000
    assert len(pieces) > 1


def test_an_error_is_kept_even_where_a_stream_was_wanted() -> None:
    pieces: list[bytes] = []
    with serving(http("503 Service Unavailable", b"later")) as server:
        answer = client(server).get("/", timeout=SOON, consume=pieces.append)
    assert (answer.status, answer.text(), pieces) == (503, "later", [])


def test_credentials_are_read_for_each_request(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("one\n")
    with serving(http("200 OK", b"")) as server:
        bearer = HttpClient(HttpConfig(url=server.url, bearer_token_file=secret))
        basic = HttpConfig(url=server.url, auth=BasicAuth(username="me", password_file=secret))
        bearer.get("/", timeout=SOON)
        secret.write_text("two\n")
        bearer.get("/", timeout=SOON)
        HttpClient(basic).get("/", timeout=SOON)
        first, second, third = server.requests
        assert b"Authorization: Bearer one\r\n" in first
        assert b"Authorization: Bearer two\r\n" in second
        assert b"Authorization: Basic bWU6dHdv\r\n" in third
        secret.unlink()
        with pytest.raises(Denied, match=r"nothing was sent: .*secret cannot be read"):
            bearer.get("/", timeout=SOON)
        assert len(server.requests) == 3


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with serving(http("200 OK", b"")) as server:
        assert client(server).get("/", timeout=SOON).status == 200


def by_path(answers: dict[bytes, bytes]) -> RawServer:
    server: RawServer

    def answer(connection: socket.socket) -> None:
        connection.sendall(answers.get(server.requests[-1].split(b" ")[1], http("404 Not Found", b"")))

    server = RawServer(answer)
    return server


def test_readyz_of_an_etcd_that_has_none() -> None:
    health = http("200 OK", b'{"health":"true","reason":""}')
    with by_path({b"/health?exclude=NOSPACE": health}) as server:
        assert EtcdHttp(server.url).readyz(timeout=SOON) == Health(ok=True, reason="")


def test_health_and_its_reason() -> None:
    sick = http("503 Service Unavailable", b'{"health":"false","reason":"ALARM NOSPACE"}')
    with by_path({b"/health": sick}) as server:
        assert EtcdHttp(server.url).health(timeout=SOON) == Health(ok=False, reason="ALARM NOSPACE")


@pytest.mark.parametrize(
    "answer", [http("200 OK", b"<html>"), http("500 Oops", b"{}"), http("200 OK", b'{"health":1}')]
)
def test_health_that_makes_no_sense(answer: bytes) -> None:
    with by_path({b"/health": answer}) as server, pytest.raises(BadResponse, match="GET /health: unexpected answer"):
        EtcdHttp(server.url).health(timeout=SOON)


SNAPSHOTS = b"""
# TYPE grpc_server_started_total counter
grpc_server_started_total{grpc_method="Snapshot",grpc_service="etcdserverpb.Maintenance"} 3
grpc_server_started_total{grpc_method="Status",grpc_service="etcdserverpb.Maintenance"} 9
grpc_server_handled_total{grpc_code="OK",grpc_method="Snapshot",grpc_service="etcdserverpb.Maintenance"} 1
grpc_server_handled_total{grpc_code="Canceled",grpc_method="Snapshot",grpc_service="etcdserverpb.Maintenance"} 1
"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", MemberMetrics(None, None, None)),
        (b"etcd_server_quota_backend_bytes -1\n", MemberMetrics(None, -1, None)),
        (b"etcd_server_quota_backend_bytes NaN\n", MemberMetrics(None, None, None)),
        (
            b"etcd_disk_defrag_inflight 1\netcd_server_quota_backend_bytes 8.589934592e+09\n",
            MemberMetrics(1, 2**33, None),
        ),
        (
            SNAPSHOTS,
            MemberMetrics(None, None, 1),
        ),
    ],
)
def test_metrics_that_are_not_told_are_none(body: bytes, expected: MemberMetrics) -> None:
    with by_path({b"/metrics": http("200 OK", body)}) as server:
        assert EtcdHttp(server.url).metrics(timeout=SOON) == expected


@pytest.mark.parametrize(
    "body", [b"etcd_disk_defrag_inflight one\n", b"etcd_disk_defrag_inflight \xff\n", b"x" * 2_000_000]
)
def test_metrics_that_are_none(body: bytes) -> None:
    unreadable = "GET /metrics: the answer cannot be read"
    with by_path({b"/metrics": http("200 OK", body)}) as server, pytest.raises(BadResponse, match=unreadable):
        EtcdHttp(server.url).metrics(timeout=SOON)
