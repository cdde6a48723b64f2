"""A Lease that is written, and who is late to hear of it."""

import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import IncompleteRead
from typing import TypeVar, cast

import msgspec
import pytest

from ballast_exporter.stall_canary import DELIVERED_WITHIN_SECONDS, DELIVERY, OPENING_SECONDS, Canary, _broke_off
from ballast_exporter.stall_history import History
from kube_ballast.analysis.stall import Answer
from kube_ballast.clients.errors import ClientError, Conflict, Denied, Timeout, Unavailable
from kube_ballast.clients.kubernetes import Kubernetes, TooManyRequests
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

T = TypeVar("T")


def caused(error: ClientError, cause: Exception) -> ClientError:
    error.__cause__ = cause
    return error


NAME, LEASE = "10.0.0.1:6443", "canary-10.0.0.1-6443"


class Store:
    """An apiserver that has a namespace and a Lease, or not."""

    def __init__(self, *, namespace: bool = True, lease: bool = True) -> None:
        self.namespace = namespace
        self.lease = lease
        self.raced = False
        self.revision = 100
        self.asked: list[str] = []
        self.forbids: ClientError | None = None

    def patch(self, path: str, _change: object, kind: type[T], *, timeout: float) -> T:
        assert timeout > 0
        self.asked.append("PATCH")
        if self.forbids is not None:
            raise self.forbids
        if not self.lease:
            raise Conflict("a", f"PATCH {path}: 404 NotFound")
        self.revision += 1
        found = {"metadata": {"name": path.rpartition("/")[2], "resourceVersion": str(self.revision)}}
        return msgspec.convert(found, kind)

    def create(self, path: str, _item: object, _kind: object, *, timeout: float) -> None:
        assert timeout > 0
        what = path.rpartition("/")[2]
        self.asked.append(f"POST {what}")
        if what == "namespaces":
            self.namespace = True
        elif not self.namespace:
            raise Conflict("a", "POST: 404 NotFound: namespace")
        elif self.raced:
            self.lease = True
            raise Conflict("a", "POST: 409 AlreadyExists")
        else:
            self.lease = True


def canary(store: Store, history: History | None = None) -> Canary:
    made = Canary(history or History(lambda: 0.0, lambda: 0.0))
    made.join(NAME, cast("Kubernetes", store))
    return made


@pytest.mark.parametrize(
    ("store", "asked"),
    [
        (Store(), ["PATCH"]),
        (Store(lease=False), ["PATCH", "POST leases", "PATCH"]),
        (
            Store(namespace=False, lease=False),
            ["PATCH", "POST leases", "POST namespaces", "POST leases", "PATCH"],
        ),
    ],
)
def test_what_is_missing_is_made(store: Store, asked: list[str]) -> None:
    canary(store).write(NAME, 5.0)
    assert store.asked == asked


def test_somebody_else_may_be_faster() -> None:
    store = Store(lease=False)
    store.raced = True
    canary(store).write(NAME, 5.0)
    assert store.asked == ["PATCH", "POST leases", "PATCH"]


def test_what_is_forbidden_is_not_tried_otherwise() -> None:
    store = Store()
    store.forbids = Denied("a", "403")
    with pytest.raises(Denied):
        canary(store).write(NAME, 5.0)
    assert store.asked == ["PATCH"]


def test_who_has_left_is_not_written_through() -> None:
    store = Store()
    made = canary(store)
    made.leave(NAME)
    made.write(NAME, 5.0)
    assert store.asked == []


# -- delivery ------------------------------------------------------------------------------------------------------

LISTENER = "10.0.0.2:6443"
OTHER, OTHER_LEASE = "10.0.0.3:6443", "canary-10.0.0.3-6443"


class Listener:
    """An apiserver whose watch tells what it is given to tell, and a canary that listens there and writes elsewhere."""

    def __init__(self, *, breaks: bool = False) -> None:
        """With ``breaks`` the first watch ends within its first line."""
        self.now = 100.0
        self.breaks = breaks
        self.history = History(lambda: self.now, lambda: 0.0)
        self.canary = Canary(self.history, lambda: self.now)
        self.store = Store()
        self.news: queue.Queue[tuple[str, int] | None] = queue.Queue()
        self.listed = threading.Event()
        self.watching = threading.Event()

    @contextmanager
    def listening(self, seconds: float = 0.0) -> Iterator[None]:
        """For so long when it begins."""
        stop = threading.Event()
        with RawServer(self.answer) as server:
            for name in (NAME, OTHER):
                self.canary.join(name, cast("Kubernetes", self.store))
            self.canary.join(LISTENER, Kubernetes(HttpConfig(url=server.url)))
            thread = threading.Thread(target=self.canary.listen, args=(LISTENER, stop))
            thread.start()
            try:
                eventually(lambda: self.canary._listening and self.watching.is_set())
                self.passes(seconds)
                yield
            finally:
                stop.set()
                self.news.put(None)
                thread.join()

    def answer(self, line: socket.socket) -> None:
        """The list is empty, as it is at the first time; then a watch."""
        if not self.listed.is_set():
            self.listed.set()
            line.sendall(http("200 OK", b'{"metadata":{"resourceVersion":"5"},"items":[]}'))
            return
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        if self.breaks:
            self.breaks = False
            line.sendall(b'{"type":')
            return
        self.watching.set()
        while (news := self.news.get()) is not None:
            event = {"type": "MODIFIED", "object": {"metadata": {"name": news[0], "resourceVersion": str(news[1])}}}
            line.sendall(msgspec.json.encode(event) + b"\n")

    def passes(self, seconds: float) -> None:
        """Time, a quarter of a second after the other."""
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            self.history.tick()

    def tell(self, revision: int, lease: str = LEASE) -> None:
        self.news.put((lease, revision))

    def told(self) -> Mapping[Answer, int]:
        return self.history.told(LISTENER, DELIVERY).answers


def test_news_that_comes_is_delivered() -> None:
    listener = Listener()
    with listener.listening():
        listener.canary.write(NAME, 5.0)
        listener.tell(listener.store.revision)
        eventually(lambda: listener.told() == {Answer.OK: 1})


def test_older_news_than_what_was_written_is_not_it_and_in_the_end_it_is_overdue() -> None:
    listener = Listener()
    with listener.listening():
        listener.canary.write(NAME, 5.0)
        listener.tell(listener.store.revision - 1)
        eventually(listener.news.empty)
        listener.passes(DELIVERED_WITHIN_SECONDS)
        listener.canary.overdue()
        assert listener.told() == {}
        listener.passes(0.25)
        listener.canary.overdue()
        assert listener.told() == {Answer.TIMEOUT: 1}


def test_each_write_is_overdue_in_its_own_time() -> None:
    listener = Listener()
    with listener.listening():
        listener.canary.write(NAME, 5.0)
        listener.passes(2.0)
        listener.canary.write(NAME, 5.0)
        listener.passes(0.75)
        listener.canary.overdue()
        assert listener.told() == {Answer.TIMEOUT: 1}
        listener.passes(2.0)
        listener.canary.overdue()
        assert listener.told() == {Answer.TIMEOUT: 2}


def test_no_news_is_awaited_for_a_while_of_a_watch_that_broke_and_has_told_nothing_since() -> None:
    """As of an apiserver that was started again and fills its caches."""
    listener = Listener(breaks=True)
    with listener.listening(OPENING_SECONDS - 0.25):
        listener.canary.write(NAME, 5.0)
        listener.passes(DELIVERED_WITHIN_SECONDS + 0.25)
        listener.canary.overdue()
        assert listener.told() == {}
        listener.canary.write(NAME, 5.0)
        listener.passes(DELIVERED_WITHIN_SECONDS + 0.25)
        listener.canary.overdue()
        assert listener.told() == {Answer.TIMEOUT: 1}


@pytest.mark.parametrize("breaks", [True, False])
def test_a_watch_that_breaks_off_shows_that_its_apiserver_may_have_been_started_again(*, breaks: bool) -> None:
    listener = Listener(breaks=breaks)
    with listener.listening():
        assert (listener.history.ended_at(LISTENER) is not None) is breaks


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (caused(Unavailable("a", "the answer broke off"), IncompleteRead(b"")), True),
        (caused(Unavailable("a", "Connection reset by peer"), ConnectionResetError()), True),
        (caused(Unavailable("a", "Connection timed out"), TimeoutError()), False),
        (Timeout("a", "no whole answer within 150 s"), False),
        (Denied("a", "403"), False),
        (TooManyRequests("a", "429: its cache is not ready", 1.0), False),
        (Unavailable("a", "503"), False),
    ],
)
def test_who_hangs_or_is_cut_off_has_not_ended(error: ClientError, *, ended: bool) -> None:
    assert _broke_off(error) is ended


def test_one_that_has_just_been_opened_for_the_first_time_is_expected_to_tell() -> None:
    listener = Listener()
    with listener.listening(0.0):
        listener.canary.write(NAME, 5.0)
        listener.passes(DELIVERED_WITHIN_SECONDS + 0.25)
        listener.canary.overdue()
        assert listener.told() == {Answer.TIMEOUT: 1}


def test_once_it_tells_something_more_is_awaited() -> None:
    listener = Listener(breaks=True)
    with listener.listening(0.0):
        listener.tell(7, OTHER_LEASE)
        eventually(lambda: listener.canary._heard)
        listener.canary.write(NAME, 5.0)
        listener.passes(DELIVERED_WITHIN_SECONDS + 0.25)
        listener.canary.overdue()
        assert listener.told() == {Answer.TIMEOUT: 1}


def test_what_somebody_else_wrote_later_is_news_of_ours_too() -> None:
    listener = Listener()
    with listener.listening():
        listener.canary.write(NAME, 5.0)
        listener.tell(listener.store.revision + 3)
        eventually(lambda: listener.told() == {Answer.OK: 1})


def test_news_may_come_before_the_answer_to_the_write() -> None:
    listener = Listener()
    with listener.listening():
        listener.canary.write(OTHER, 5.0)
        listener.tell(listener.store.revision + 1)
        listener.tell(listener.store.revision, OTHER_LEASE)
        eventually(lambda: listener.told() == {Answer.OK: 1})  # so what was told before is heard too
        listener.canary.write(NAME, 5.0)
        assert listener.told() == {Answer.OK: 2}
        assert listener.history.told(LISTENER, DELIVERY).seconds == 0.0
