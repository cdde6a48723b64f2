"""The server shared by exporter and remediator, in a process of its own."""

import contextlib
import json
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from drills.stack import Component, Stack, http_probe
from drills.stack.process import VENV
from kube_ballast.later import answer_after
from kube_ballast.wsgi import Answer, Environ, Limits, Service, serve
from tests.waiting import eventually

LIMITS = Limits(body_bytes=1000, body_seconds=2.0)


class Held:
    """Ends, from another thread, when it is told to; or with ``error``; or never, and the second look gives it up."""

    def __init__(self, error: Exception | None = None, *, never: bool = False) -> None:
        self.patience = 0.05 if never else 30.0
        self._error = error
        self._never = never
        self._looks = 0
        self._tell: list[Callable[[], None]] = []

    def on_end(self, tell: Callable[[], None]) -> None:
        self._tell.append(tell)
        if self._error is not None:
            self.release()

    def release(self) -> None:
        for tell in self._tell:
            threading.Thread(target=tell).start()

    def lose_patience(self) -> None:
        assert self._never
        self._looks += 1
        if self._looks == 2:
            raise TimeoutError("it does not end")

    def result(self) -> None:
        if self._error is not None:
            raise self._error


def service() -> Service:
    """Echoes the environ; /no is refused before the body, /boom raises, /own refuses bodies in its own words.

    /held is answered after /release, /failed and /never with what it comes to; they take no thread.
    """
    held: list[Held] = []
    pending: dict[str, Callable[[], Held]] = {
        "/held": Held,
        "/failed": lambda: Held(ValueError("no disk")),
        "/never": lambda: Held(never=True),
    }

    def end(error: Exception | None) -> Answer | None:
        return None if error is None else Answer.text(HTTPStatus.SERVICE_UNAVAILABLE, str(error))

    def application(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/boom":
            raise ValueError("boom")
        if environ["PATH_INFO"] in pending:
            held.append(pending[environ["PATH_INFO"]]())
            answer_after(environ, held[-1], end)
        if environ["PATH_INFO"] == "/release":
            environ["waiting"] = str(len(held))
            for one in held:
                one.release()
            held.clear()
        start_response("200 OK", [("Content-Type", "application/json")])
        plain = {key: value for key, value in environ.items() if isinstance(value, str | bool)}
        yield json.dumps({**plain, "body": len(environ["wsgi.input"].read())}).encode()

    def admit(environ: Environ) -> Answer | None:
        return Answer(401, (), b"no\n") if environ["PATH_INFO"] == "/no" else None

    def refused(environ: Environ, status: HTTPStatus, reason: str) -> Answer:
        own = environ["PATH_INFO"] == "/own"
        return Answer(status, (("X-Own", "1"),), f"own: {reason}".encode()) if own else Answer.text(status, reason)

    return Service(application, admit, refused=refused, quick=frozenset(pending))


PROGRAM = """
from pathlib import Path
import sys
sys.path.insert(0, {root!r})
from tests.lib.test_wsgi import LIMITS, service
from kube_ballast.wsgi import serve
serve(service, "127.0.0.1", {port}, limits=LIMITS, blocking_threads=4)
"""


@pytest.fixture(scope="module")
def address(session_stack: Stack) -> str:
    folder, port = session_stack.data("wsgi"), session_stack.port()
    program = folder / "program.py"
    program.write_text(PROGRAM.format(root=str(Path(__file__).parents[2]), port=port))
    url = f"http://127.0.0.1:{port}"
    session_stack.run(Component(name="wsgi", program=VENV / "python", arguments=(str(program),), ready=http_probe(url)))
    return f"127.0.0.1:{port}"


@contextlib.contextmanager
def connection(address: str, data: bytes) -> Iterator[socket.socket]:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as open_socket:
        open_socket.sendall(data)
        yield open_socket


def answer(open_socket: socket.socket) -> tuple[int, bytes]:
    """The status and body of all that comes until the server closes."""
    head, body = parts(open_socket)
    return int(head.split()[1]), body


def parts(open_socket: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of all that comes until the server closes."""
    received = b""
    while chunk := open_socket.recv(65536):
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    return head, body


def ask(address: str, request: bytes) -> tuple[int, bytes]:
    with connection(address, request) as open_socket:
        return answer(open_socket)


def post(path: str = "/", body: bytes = b"hello", *headers: str, length: int | None = None) -> bytes:
    fields = ["Host: x", "Connection: close", f"Content-Length: {len(body) if length is None else length}", *headers]
    return f"POST {path} HTTP/1.1\r\n{''.join(field + chr(13) + chr(10) for field in fields)}\r\n".encode() + body


def test_the_environ_is_wsgis(address: str) -> None:
    status, body = ask(address, post("/a%20b/%C3%A9?x=1&y=%20", b"hello", "X-Two: 1", "X-Two: 2", "X_Two: forged"))
    seen = json.loads(body)
    assert status == 200
    assert seen["body"] == 5
    assert seen["CONTENT_LENGTH"] == "5"
    assert seen["PATH_INFO"].encode("latin-1").decode() == "/a b/é"
    assert seen["QUERY_STRING"] == "x=1&y=%20"
    assert seen["HTTP_X_TWO"] == "1,2"
    assert seen["REMOTE_ADDR"] == "127.0.0.1"


def test_a_chunked_body_is_read_whole(address: str) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, body = ask(address, head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert (status, json.loads(body)["body"]) == (200, 5)


def test_a_body_over_the_limit_is_refused_before_and_while_it_arrives(address: str) -> None:
    assert ask(address, post(length=1001, body=b"")) == (413, b"the body is larger than 1000 bytes\n")
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert ask(address, head + b"3e9\r\n" + b"x" * 1001)[0] == 413


def test_who_is_refused_is_answered_before_the_body_is_sent(address: str) -> None:
    assert ask(address, post("/no", b"", length=900)) == (401, b"no\n")


def test_a_half_sent_body_ends_with_its_time_and_may_be_sent_again(address: str) -> None:
    with connection(address, post(length=900, body=b"half")) as open_socket:
        head, body = parts(open_socket)
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5" in head.lower().split(b"\r\n")
    assert body == b"the body did not arrive within 2 s\n"


def test_a_service_words_the_refusal_of_a_body_itself(address: str) -> None:
    assert ask(address, post("/own", b"", length=1001)) == (413, b"own: the body is larger than 1000 bytes")
    with connection(address, post("/own", b"half", length=900)) as open_socket:
        head, body = parts(open_socket)
    assert body == b"own: the body did not arrive within 2 s"
    assert {b"x-own: 1", b"retry-after: 5"} <= set(head.lower().split(b"\r\n"))


def test_half_sent_bodies_do_not_block_good_ones(address: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):  # many times the threads there are
            stack.enter_context(connection(address, post(length=900, body=b"half")))
        assert ask(address, post())[0] == 200


def test_a_body_that_breaks_off_harms_nobody(address: str) -> None:
    for _ in range(20):
        with connection(address, post(length=900, body=b"half")):
            pass
    assert ask(address, post())[0] == 200


def test_answers_that_wait_keep_no_thread_from_others(address: str) -> None:
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(connection(address, post("/held"))) for _ in range(40)]
        assert ask(address, post())[0] == 200
        told = 0
        while told < len(waiting):
            told += int(json.loads(ask(address, post("/release"))[1])["waiting"])
        assert [answer(one)[0] for one in waiting] == [200] * 40


@pytest.mark.parametrize(("path", "words"), [("/failed", b"no disk\n"), ("/never", b"it does not end\n")])
def test_what_an_answer_waited_for_in_vain_is_told_instead(address: str, path: str, words: bytes) -> None:
    assert ask(address, post(path)) == (503, words)


def test_an_error_in_the_application_is_a_500_and_no_more(address: str) -> None:
    assert ask(address, post("/boom"))[0] == 500
    assert ask(address, post())[0] == 200


def test_an_idle_connection_may_ask_again(address: str) -> None:
    with connection(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") as open_socket:
        assert open_socket.recv(65536).startswith(b"HTTP/1.1 200")
        open_socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer(open_socket)[0] == 200


def test_an_address_in_use_is_an_error(address: str) -> None:
    host, port = address.split(":")
    with pytest.raises(OSError, match="Address already in use"):
        serve(service, host, int(port))


def test_a_head_request_has_no_body(address: str) -> None:
    request = urllib.request.Request(f"http://{address}/", method="HEAD")
    with eventually(lambda: urllib.request.urlopen(request, timeout=10)) as response:
        assert (response.status, response.read()) == (200, b"")
