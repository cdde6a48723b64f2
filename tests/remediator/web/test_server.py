"""The real server under what misbehaving networks and people send."""

import json
import socket
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.remediator.web.setting import INGEST, Site

HEAD = f"POST {INGEST} HTTP/1.1\r\nHost: ballast\r\n"
TOKEN = "Authorization: Bearer ingest-secret\r\n"


def connect(site: Site) -> socket.socket:
    return socket.create_connection(("127.0.0.1", site.port), timeout=10)


@contextmanager
def half_sent(site: Site, count: int, text: str) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        lines = [stack.enter_context(connect(site)) for _ in range(count)]
        for line in lines:
            line.sendall(text.encode())
        yield lines


def deliver(site: Site, body: bytes, token: str = "ingest-secret") -> int:
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{site.port}{INGEST}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def said(line: socket.socket) -> tuple[int, dict[str, str]]:
    """The status and JSON body of an answer after which the server closes."""
    text = b""
    while piece := line.recv(65536):
        text += piece
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def exposed(site: Site) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def rows(site: Site) -> int:
    connection = sqlite3.connect(site.config.store.path)
    try:
        return int(connection.execute("SELECT count(*) FROM notifications").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("count", "text"),
    [
        pytest.param(100, HEAD, id="half-sent headers"),
        pytest.param(1000, "", id="idle connections"),
        pytest.param(100, f"{HEAD}{TOKEN}Content-Length: 1000\r\n\r\n{{", id="half-sent bodies with a valid token"),
        pytest.param(100, f"{HEAD}Content-Length: 1000\r\n\r\n{{", id="half-sent bodies without a token"),
        pytest.param(100, f"{HEAD}{TOKEN}Transfer-Encoding: chunked\r\n\r\n5\r\n{{", id="half-sent chunks"),
    ],
)
def test_good_notifications_go_on(served: Site, body: bytes, count: int, text: str) -> None:
    with half_sent(served, count, text):
        assert [deliver(served, body) for _ in range(20)] == [202] * 20
    assert rows(served) == 20


def test_without_a_good_token_no_body_is_waited_for(served: Site) -> None:
    with half_sent(served, 1, f"{HEAD}Content-Length: 1000\r\n\r\n") as (line,):
        assert said(line) == (401, {"error": "a token is needed: send it as 'Authorization: Bearer TOKEN'"})


def test_with_another_role_no_body_is_waited_for(served: Site) -> None:
    other = TOKEN.replace("ingest", "admin")
    with half_sent(served, 1, f"{HEAD}{other}Content-Length: 1000\r\n\r\n") as (line,):
        assert said(line)[0] == 403


def test_a_body_that_announces_too_much_is_not_waited_for(served: Site) -> None:
    with half_sent(served, 1, f"{HEAD}{TOKEN}Content-Length: 65537\r\n\r\n") as (line,):
        code, answer = said(line)
    assert (code, "limits.body_bytes" in answer["error"]) == (413, True)


def test_a_chunked_body_is_cut_off_at_the_limit(served: Site) -> None:
    chunks = ("1000\r\n" + " " * 4096 + "\r\n") * 16 + "1\r\n \r\n"
    with half_sent(served, 1, f"{HEAD}{TOKEN}Transfer-Encoding: chunked\r\n\r\n" + chunks) as (line,):
        code, answer = said(line)
    assert (code, "limits.body_bytes" in answer["error"]) == (413, True)
    assert 'ballast_remediator_notifications_refused_total{code="413"} 1.0' in exposed(served)
    assert rows(served) == 0


def test_refusals_before_the_body_are_counted(served: Site, body: bytes) -> None:
    assert (deliver(served, body, token="guess"), deliver(served, body, token="viewer-secret")) == (401, 403)
    for code in ("401", "403"):
        assert f'ballast_remediator_notifications_refused_total{{code="{code}"}} 1.0' in exposed(served)
