"""Receivers that misbehave: what is sent again, what is not, and that no secret is told."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ballast_remediator.config import NoticesConfig
from ballast_remediator.notices import NotTaken, Receiver
from drills.stack.certificates import Authority
from kube_ballast.config import TLSFiles
from tests.lib.fakes import RawServer, http

BODY = {"version": "1", "id": "ab12", "words": "größer"}


def receiver(url: str, **more: object) -> Receiver:
    return Receiver(NoticesConfig.model_validate({"url": url, "timeout": 0.5, **more}))


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    """Answers, and stays until the client goes: closing over what was not read would take the answer back."""

    def say(connection: socket.socket) -> None:
        connection.sendall(answer)
        while connection.recv(65536):
            pass

    return say


def refused(answer: bytes) -> NotTaken:
    with (
        RawServer(saying(answer)) as server,
        pytest.raises(NotTaken) as caught,
    ):
        receiver(server.url).send("ab12", BODY)
    return caught.value


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    return file


def test_what_is_sent(token: Path) -> None:
    with RawServer(saying(http("200 OK", b""))) as server:
        receiver(f"{server.url}/hook", bearer_token_file=token).send("ab12", BODY)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hook HTTP/1.1"
    assert {"Idempotency-Key: ab12", "Authorization: Bearer s3cret", "Content-Type: application/json"} <= set(lines)
    if body:  # it may come in a packet of its own
        assert json.loads(body) == BODY


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
def test_any_2xx_says_that_it_was_taken(status: str) -> None:
    with RawServer(saying(http(status, b""))) as server:
        receiver(server.url).send("ab12", BODY)


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found", "422 No"])
def test_what_was_refused_is_not_sent_again(status: str) -> None:
    error = refused(http(status, b"go away"))
    assert error.final
    assert status[:3] in str(error)


@pytest.mark.parametrize("status", ["408 Timeout", "429 Slow down", "500 Oops", "502 Bad Gateway", "503 Later"])
def test_what_may_pass_later_is_sent_again(status: str) -> None:
    assert not refused(http(status, b"")).final


def test_a_redirect_is_not_followed() -> None:
    error = refused(http("302 Found", b"", "Location: http://127.0.0.1:1/"))
    assert not error.final
    assert "redirect" in str(error)


def test_a_huge_answer_is_not_read() -> None:
    """It was taken: what else is said is of no interest, and neither waited for nor kept."""
    server: RawServer
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    with RawServer(lambda connection: server.trickle(connection, endless, b"x" * 65536)) as server:
        receiver(server.url, timeout=30).send("ab12", BODY)


def test_a_slow_receiver_is_left_in_time() -> None:
    silent = threading.Event()

    def wait(_: socket.socket) -> None:
        silent.wait(30)

    with RawServer(wait) as server:
        with pytest.raises(NotTaken, match=r"no whole answer within 0\.5 s"):
            receiver(server.url).send("ab12", BODY)
        silent.set()


def test_nobody_is_there() -> None:
    with pytest.raises(NotTaken) as caught:
        receiver("http://127.0.0.1:1").send("ab12", BODY)
    assert not caught.value.final


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Authority]]:
    """A TLS server, and the authority that vouches for it."""
    (tmp_path / "tls").mkdir(mode=0o700)
    authority = Authority(tmp_path / "tls")
    files = authority.issue("receiver")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert files.cert is not None
    context.load_cert_chain(files.cert, files.key)
    server = RawServer(saying(http("200 OK", b"")))
    server._listener = context.wrap_socket(server._listener, server_side=True)
    with server:
        yield server.url.replace("http", "https"), authority


def test_a_certificate_that_nobody_vouches_for_is_told_and_tried_again(secure: tuple[str, Authority]) -> None:
    with pytest.raises(NotTaken, match="certificate is not accepted") as caught:
        receiver(secure[0], timeout=10).send("ab12", BODY)
    assert not caught.value.final


def test_a_certificate_that_is_vouched_for(secure: tuple[str, Authority]) -> None:
    receiver(secure[0], timeout=10, tls=TLSFiles(ca=secure[1].ca)).send("ab12", BODY)


@pytest.mark.parametrize("answer", [b"", b"no HTTP at all\r\n\r\n", http("500 Oops", b"s3cret")])
def test_no_secret_is_told(answer: bytes, token: Path) -> None:
    with (
        RawServer(saying(answer)) as server,
        pytest.raises(NotTaken) as caught,
    ):
        receiver(f"{server.url}/hooks/T0/s3cret", bearer_token_file=token).send("ab12", BODY)
    assert "s3cret" not in str(caught.value)
