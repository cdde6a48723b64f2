"""How often a probe is made, and what its failures are called."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_asking import Asker, Pace, Probe, answered
from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import FAILURES, Answer
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, NoSpace, Timeout, Unavailable
from kube_ballast.clients.kubernetes import Kubernetes, TooManyRequests
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

SELDOM = Pace(every=3600.0, deadline=1.0)
PING = "/readyz/ping"


class Asked:
    """Fails as long as it is told to, and knows how often it was asked."""

    def __init__(self, error: ClientError | None) -> None:
        self.error = error
        self.times = 0

    def __call__(self, _seconds: float) -> None:
        self.times += 1
        if self.error is not None:
            raise self.error


@contextmanager
def asking(ask: Asked, pace: Pace) -> Iterator[RequestCounter]:
    requests, stop = RequestCounter(), threading.Event()
    Asker(History(lambda: 0.0, lambda: 0.0), requests).start(Probe("a", "ping", ask, pace, "a"), stop)
    try:
        yield requests
    finally:
        stop.set()


def test_a_failure_is_confirmed_at_once_and_then_asked_no_oftener_than_a_success() -> None:
    ask = Asked(Unavailable("a", "Connection refused"))
    with asking(ask, SELDOM) as requests:
        eventually(lambda: ask.times == FAILURES)
    assert ask.times == FAILURES
    assert requests.totals() == {"a": FAILURES}


def test_a_success_is_not_repeated_before_its_time() -> None:
    ask = Asked(None)
    with asking(ask, SELDOM):
        eventually(lambda: ask.times == 1)
    assert ask.times == 1


def said(url: str, seconds: float = 2.0) -> ClientError:
    with pytest.raises(ClientError) as caught:
        Kubernetes(HttpConfig(url=url)).text(PING, timeout=seconds)
    return caught.value


def test_429_is_a_rejection() -> None:
    with RawServer(lambda line: line.sendall(http("429 Too Many Requests", b"", "Retry-After: 1"))) as server:
        assert answered(said(server.url)) is Answer.REJECTED


def test_a_server_that_takes_connections_and_hangs_in_tls_gives_no_answer_and_the_words_say_where() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = said(f"https://127.0.0.1:{listener.getsockname()[1]}", 0.5)
    assert answered(error) is Answer.TIMEOUT
    assert "the connection was taken, the TLS handshake has no answer" in error.message


def test_nobody_at_the_address_is_a_refusal() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert answered(said(f"http://127.0.0.1:{port}")) is Answer.REFUSED


def test_each_error_says_what_it_can() -> None:
    expected: dict[Answer, ClientError] = {
        Answer.REJECTED: TooManyRequests("a", "429", 1.0),
        Answer.TIMEOUT: Timeout("a", "no whole answer"),
        Answer.REFUSED: Unavailable("a", "[Errno 111] Connection refused"),
        Answer.ERROR: BadResponse("a", "500"),
        Answer.DENIED: Denied("a", "403"),
    }
    assert {answer: answered(error) for answer, error in expected.items()} == {answer: answer for answer in expected}
    assert answered(NoSpace("a", "full")) is Answer.DENIED, "an etcd that is full has answered"


def test_late_is_not_well() -> None:
    history = History(lambda: 0.0, lambda: 0.0)
    probe = Probe("a", "read", lambda _seconds: None, Pace(1.0, 1.0, slow=-1.0), "a")
    assert not Asker(history, RequestCounter()).once(probe)
    assert history.told("a", "read").answers == {Answer.SLOW: 1}
