"""Watches: what is told once is not asked for again, and what cannot be told is said."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from drills.stack.certificates import Authority
from kube_ballast.clients.errors import BadResponse, Unavailable
from kube_ballast.clients.kubernetes import (
    Broken,
    Changed,
    Collection,
    Current,
    Listing,
    PartialObjectMetadata,
    follow,
    limits,
    line,
    watch,
)
from kube_ballast.clients.kubernetes.watch import News
from tests.lib.apiservers import Asked, Say, ScriptedApiserver, client, event, item, items, refusal
from tests.waiting import eventually

NODES = Collection("/api/v1/nodes", PartialObjectMetadata, (("labelSelector", "a=b"),))
PAUSES = (1, 2, 4, 8, 16, 30, 30, 30)
GONE = refusal(410, "Expired", "too old resource version")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LONGEST_PAUSE_SECONDS", 0.01)


def words(news: News[PartialObjectMetadata]) -> str:
    """News in a form that is easy to compare."""
    match news:
        case Listing():
            return f"list {','.join(each.metadata.name for each in news.items)} at {news.resource_version}"
        case Changed():
            return f"{news.kind} {news.item.metadata.name}"
        case Current():
            return f"current {news.resource_version}"
        case Broken():
            return f"broken {type(news.error).__name__}"


class Follower:
    """Follows the scripted apiserver: each watch gets the next of ``watches``, the ones after that stay silent."""

    def __init__(self, folder: Path, *watches: Say, idle: float = 60.0) -> None:
        self.stop = threading.Event()
        self._folder, self._watches, self._idle = folder, list(watches), idle
        self._lists = 0
        self.server = ScriptedApiserver(self._script)

    def _script(self, asked: Asked) -> Say:
        if "watch" not in asked.params:
            self._lists += 1
            return Say(200, items(f"{self._lists}0", "a", "b"))
        return self._watches.pop(0) if self._watches else Say(events=self.silence())

    def silence(self, *before: bytes) -> Iterator[bytes]:
        yield from before
        self.server.closing.wait(30)

    def take(self, count: int) -> list[str]:
        """The first news."""
        with self.server:
            source = follow(client(self.server.url, self._folder), NODES, stop=self.stop, idle=self._idle)
            told = [words(next(source)) for _ in range(count)]
            source.close()
        return told


def test_a_watch_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    follower = Follower(
        tmp_path,
        Say(events=[event("ADDED", item("c", "11")), event("BOOKMARK", item("", "15"))]),
        Say(events=[event("DELETED", item("a", "16")) + event("MODIFIED", item("b", "17"))]),
    )
    assert follower.take(8) == [
        *("list a,b at 10", "current 10", "ADDED c", "current 15"),
        *("current 15", "DELETED a", "MODIFIED b", "current 17"),
    ]
    assert follower.server.watched_from() == ["10", "15", "17"]
    assert {asked.params["labelSelector"] for asked in follower.server.asked} == {"a=b"}
    assert {asked.params.get("allowWatchBookmarks", "true") for asked in follower.server.asked} == {"true"}


@pytest.mark.parametrize("gone", [Say(410, GONE), Say(events=[event("ERROR", GONE)])])
def test_a_history_that_is_gone_is_listed_anew(gone: Say, tmp_path: Path) -> None:
    follower = Follower(tmp_path, gone)
    opened = ["current 10"] if gone.events else []
    expected = ["list a,b at 10", *opened, "list a,b at 20", "current 20"]
    assert follower.take(len(expected)) == expected


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Say(events=[event("ADDED", item("c", "11")), event("ADDED", item("d", "12"))[:20]]), Unavailable),
        (Say(events=[event("ADDED", item("c", "11")), b"<html>\n"]), BadResponse),
        (Say(events=[event("ADDED", item("c", "11")), event("ERROR", refusal(500, "X", "boom"))]), BadResponse),
        (Say(events=[event("ADDED", item("c", "11")), event("ADDED", {"metadata": {}})]), BadResponse),
    ],
)
def test_a_fault_in_the_middle_is_told_and_nothing_is_lost(fault: Say, kind: type[Exception], tmp_path: Path) -> None:
    follower = Follower(tmp_path, fault)
    told = follower.take(5)
    assert told == ["list a,b at 10", "current 10", "ADDED c", f"broken {kind.__name__}", "current 11"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Say(200, b"<html>"), ["current 10", "broken BadResponse"]),
        (Say(403, refusal(403, "Forbidden", "no")), ["broken Denied"]),
        (Say(500, refusal(500, "X", "boom")), ["broken BadResponse"]),
        (Say(503, b"<html>"), ["broken Unavailable"]),
        (Say(429, b"", {"Retry-After": "0"}), ["broken TooManyRequests"]),
    ],
)
def test_a_watch_that_is_refused_is_told_and_tried_again(fault: Say, told: list[str], tmp_path: Path) -> None:
    expected = ["list a,b at 10", *told, "current 10"]
    assert Follower(tmp_path, fault).take(len(expected)) == expected


class Recorder(threading.Event):
    """Keeps how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return self.is_set()


def test_an_apiserver_is_not_asked_before_the_time_it_named(tmp_path: Path) -> None:
    follower = Follower(tmp_path, Say(429, b"", {"Retry-After": "7"}))
    follower.stop = recorder = Recorder()
    follower.take(3)
    assert recorder.waits == [7.0]


def test_a_watch_that_is_closed_at_once_is_asked_for_less_and_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LONGEST_PAUSE_SECONDS", 30.0)
    follower = Follower(tmp_path, *(Say(events=[]) for _ in range(8)))
    follower.stop = recorder = Recorder()
    assert follower.take(10) == ["list a,b at 10", *["current 10"] * 9]
    assert all(0.5 * longest <= wait <= longest for wait, longest in zip(recorder.waits, PAUSES, strict=True))


def test_silence_is_taken_for_a_dead_connection(tmp_path: Path) -> None:
    follower = Follower(tmp_path, idle=0.3)
    assert follower.take(4) == ["list a,b at 10", "current 10", "broken Timeout", "current 10"]


def test_time_that_the_reader_takes_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed = threading.Event()
    taken = 0.0
    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + taken))

    def events() -> Iterator[bytes]:
        yield event("ADDED", item("c", "11"))
        resumed.wait(30)
        yield event("ADDED", item("d", "12"))

    follower = Follower(tmp_path, Say(events=events()))
    with follower.server:
        source = follow(client(follower.server.url, tmp_path), NODES, stop=follower.stop, idle=1.0)
        assert [words(next(source)) for _ in range(3)] == ["list a,b at 10", "current 10", "ADDED c"]
        taken = 60.0
        resumed.set()
        assert words(next(source)) == "ADDED d"
        source.close()


@pytest.mark.parametrize("before", [1, 2])
def test_a_stop_ends_it_wherever_it_waits(before: int, tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    if before == 1:
        follower._watches.append(Say(503, b"", {}))
    with follower.server:
        source = follow(client(follower.server.url, tmp_path), NODES, stop=follower.stop)
        for _ in range(before):
            next(source)
        rest: list[str] = []
        thread = threading.Thread(target=lambda: rest.extend(map(words, source)))
        thread.start()
        follower.stop.set()
        eventually(lambda: not thread.is_alive())
    assert all(each.startswith(("current", "broken")) for each in rest)


class StopAt(threading.Event):
    """Is set once it was looked at ``looks`` times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._looks = looks

    def is_set(self) -> bool:
        self._looks -= 1
        return self._looks < 0


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_stop_while_it_connects_leaves_no_socket_open(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[socket.socket] = []

    def recorded(family: int, kind: int, protocol: int) -> socket.socket:
        opened.append(socket.SocketType(family, kind, protocol))
        return opened[-1]

    Authority(tmp_path)
    monkeypatch.setattr(line, "socket", SimpleNamespace(**vars(socket) | {"socket": recorded}))
    with ScriptedApiserver(lambda _: Say(503, b"", {})) as server:
        url = server.url.replace("http:", f"{scheme}:")
        for looks in range(8):
            for _ in follow(client(url, tmp_path), NODES, stop=StopAt(looks)):
                pass
    assert opened
    assert [sock for sock in opened if sock.fileno() != -1] == []
