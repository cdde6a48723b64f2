"""How often a probe is made, and what its failures are called."""

import socket
import threading
from typing import Final

import pytest

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_asking import AGAIN_SECONDS, Asker, Pace, Probe, answered
from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import Answer
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.clients.kubernetes import Kubernetes, TooManyRequests
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

SELDOM = Pace(every=3600.0, deadline=1.0)
PING = "/readyz/ping"


class Waits(threading.Event):
    """Lets nobody wait, notes how long they wanted to, and is set after so many waits."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._most = most

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        if len(self.seconds) == self._most:
            self.set()
        return self.is_set()


def waits(*errors: ClientError | None) -> list[float]:
    """Between the probes, in seconds, where they end so in turn."""
    answers = iter(errors)

    def ask(_seconds: float) -> None:
        error = next(answers)
        if error is not None:
            raise error

    stop, requests = Waits(len(errors) + 1), RequestCounter()
    probe = Probe("a", "ping", ask, SELDOM, "etcd", "a", first=7.0)
    Asker(History(lambda: 0.0, lambda: 0.0), requests).start(probe, stop)
    eventually(stop.is_set)
    first, *between = stop.seconds
    assert first == 7.0
    assert requests.totals() == {("etcd", "a"): len(errors)}
    return between


REFUSED: Final = Unavailable("a", "Connection refused")


def test_a_failure_is_confirmed_at_once_and_then_asked_no_oftener_than_a_success() -> None:
    again, *others = waits(REFUSED, REFUSED, REFUSED, None)
    assert again == AGAIN_SECONDS
    assert all(seconds > SELDOM.every - 60 for seconds in others)


def test_each_first_failure_is_confirmed() -> None:
    between = waits(None, REFUSED, None, REFUSED)
    assert [seconds == AGAIN_SECONDS for seconds in between] == [False, True, False, True]


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


def test_late_is_not_well() -> None:
    history = History(lambda: 0.0, lambda: 0.0)
    probe = Probe("a", "read", lambda _seconds: None, Pace(1.0, 1.0, slow=-1.0), "etcd", "a")
    assert not Asker(history, RequestCounter()).once(probe)
    assert history.told("a", "read").answers == {Answer.SLOW: 1}
