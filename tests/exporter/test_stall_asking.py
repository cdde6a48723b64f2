"""How often a probe is made, and what its failures are called."""

import socket
import threading
from dataclasses import dataclass, field
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


def raised(error: ClientError, cause: Exception) -> ClientError:
    error.__cause__ = cause
    return error


SELDOM = Pace(every=3600.0, deadline=60.0)
PING = "/readyz/ping"


class Waits(threading.Event):
    """Lets nobody wait, notes how long they wanted to, and ends the probe after so many waits."""

    def __init__(self, most: int, stop: threading.Event) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._most = most
        self._stop = stop

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.seconds.append(timeout)
        if len(self.seconds) == self._most:
            self._stop.set()
        return True


@dataclass
class Seen:
    """For how long it waits after each; ``compared`` is how often others were asked too."""

    waits: list[float] = field(default_factory=list)
    compared: int = 0

    @property
    def again(self) -> list[bool]:
        """Whether it was asked again soon, after each."""
        soon = SELDOM.deadline + AGAIN_SECONDS
        assert all(each <= soon or each > SELDOM.every - 60 for each in self.waits)
        return [each <= soon for each in self.waits]


def seen(monkeypatch: pytest.MonkeyPatch, *errors: ClientError | None) -> Seen:
    """Where the probe ends so in turn."""
    answers, stop, requests, found = iter(errors), threading.Event(), RequestCounter(), Seen()
    waits = Waits(len(errors), stop)

    def ask(_seconds: float) -> None:
        error = next(answers)
        if error is not None:
            raise error

    def compare() -> None:
        found.compared += 1

    monkeypatch.setattr("ballast_exporter.stall_asking.Event", lambda: waits)
    probe = Probe("a", "pods", ask, SELDOM, "etcd", "a", compare=compare)
    Asker(History(lambda: 0.0, lambda: 0.0), requests).start(probe, stop)
    eventually(stop.is_set)
    assert requests.totals() == {("etcd", "a"): len(errors)}
    found.waits = waits.seconds
    return found


REFUSED: Final = raised(Unavailable("a", "[Errno 111] Connection refused"), ConnectionRefusedError())
HANGS: Final = Timeout("a", "no whole answer")


def test_who_listens_nowhere_is_asked_twice_at_once_and_then_no_oftener_than_if_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert seen(monkeypatch, REFUSED, REFUSED, REFUSED, None).again == [True, False, False, False]


def test_what_hangs_is_asked_until_it_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, *[HANGS] * 6).again == [True, True, True, False, False, False]


def test_each_first_failure_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, None, REFUSED, None, REFUSED).again == [False, True, False, True]
    assert seen(monkeypatch, REFUSED, HANGS).again == [True, True], "they confirm nothing of each other"


def test_who_refuses_is_asked_again_sooner_than_who_fails_as_if_that_had_taken_all_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else one that fails at once would have failed four times in a second."""
    refused, failed = seen(monkeypatch, REFUSED).waits[0], seen(monkeypatch, BadResponse("a", "500")).waits[0]
    assert refused == AGAIN_SECONDS
    assert SELDOM.deadline / 2 < failed <= SELDOM.deadline + AGAIN_SECONDS


def test_others_are_asked_after_the_first_failure_and_until_it_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen(monkeypatch, HANGS).compared == 1
    assert seen(monkeypatch, HANGS, None, None).compared == 2
    assert seen(monkeypatch, *[HANGS] * 9).compared == 4, "whatever fails may do so for hours"
    assert seen(monkeypatch, REFUSED, REFUSED, None).compared == 0


def test_one_that_waits_for_its_turn_can_be_asked_now() -> None:
    stop, asked = threading.Event(), threading.Semaphore(0)
    asker = Asker(History(lambda: 0.0, lambda: 0.0), RequestCounter())
    asker.start(Probe("a", "ping", lambda _seconds: asked.release(), SELDOM, "etcd", "a"), stop)
    for _ in range(3):
        assert asked.acquire(timeout=10.0)
        asker.hurry("a", "ping")
    stop.set()
    asker.hurry("a", "ping")
    asker.hurry("b", "ping")  # nobody


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


def test_an_answer_that_quotes_a_refusal_is_none() -> None:
    body = (
        b'{"kind": "Status", "message": "failed calling webhook: dial tcp 10.0.0.9:443: connect: connection refused"}'
    )
    with RawServer(lambda line: line.sendall(http("500 Internal Server Error", body))) as server:
        assert answered(said(server.url)) is Answer.ERROR


def test_each_error_says_what_it_can() -> None:
    expected: dict[Answer, ClientError] = {
        Answer.REJECTED: TooManyRequests("a", "429", 1.0),
        Answer.TIMEOUT: Timeout("a", "no whole answer"),
        Answer.REFUSED: REFUSED,
        Answer.ERROR: BadResponse("a", "500"),
        Answer.DENIED: Denied("a", "403"),
    }
    assert {answer: answered(error) for answer, error in expected.items()} == {answer: answer for answer in expected}


def test_what_could_not_be_sent_tells_nothing_of_what_comes_behind() -> None:
    """A lost packet, a server that takes no more connections: two of these are no two failures of the way to etcd."""
    unsent = Timeout("a", "connect to: no whole answer")
    unsent.unsent = True

    def fails(_seconds: float) -> None:
        raise unsent

    history = History(lambda: 0.0, lambda: 0.0)
    asker = Asker(history, RequestCounter())
    for reaches in (False, True):
        asker.once(Probe("a", "pods", fails, SELDOM, "apiserver", "a", reaches=reaches))
        assert history.told("a", "pods").answers[Answer.TIMEOUT] == 1 + reaches
        assert (history.measured("a", "pods") is not None) is reaches


def test_a_client_knows_what_it_could_not_send() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert said(f"https://127.0.0.1:{listener.getsockname()[1]}", 0.3).unsent
        assert not said(f"http://127.0.0.1:{listener.getsockname()[1]}", 0.3).unsent
    assert said("http://127.0.0.1:1").unsent


def test_late_is_not_well() -> None:
    history = History(lambda: 0.0, lambda: 0.0)
    probe = Probe("a", "read", lambda _seconds: None, Pace(1.0, 1.0, slow=-1.0), "etcd", "a")
    assert Asker(history, RequestCounter()).once(probe) == (Answer.SLOW, 1)
    assert history.told("a", "read").answers == {Answer.SLOW: 1}
