"""Apiservers, and what stands before them, that misbehave: each fault is one clear error, in time."""

import gzip
import threading
from pathlib import Path

import pytest

from kube_ballast.clients.errors import (
    BadResponse,
    ClientError,
    Compacted,
    Conflict,
    Denied,
    NoSpace,
    Timeout,
    Unavailable,
)
from kube_ballast.clients.kubernetes import (
    Collection,
    Kubernetes,
    PartialObjectMetadata,
    TooManyRequests,
)
from kube_ballast.clients.kubernetes import (
    client as client_module,
)
from tests.lib.apiservers import Asked, Say, ScriptedApiserver, client, items, refusal
from tests.lib.fakes import RawServer

PATH = "/api/v1/nodes"
NODES = Collection(PATH, PartialObjectMetadata)
HTML = b"<html><body>Service is down for maintenance</body></html>"


def names(found: tuple[PartialObjectMetadata, ...]) -> list[str]:
    return [each.metadata.name for each in found]


def read(kubernetes: Kubernetes) -> object:
    return kubernetes.get(f"{PATH}/a", PartialObjectMetadata, timeout=5)


def change(kubernetes: Kubernetes) -> object:
    return kubernetes.patch(f"{PATH}/a", {"spec": {"unschedulable": True}}, PartialObjectMetadata, timeout=5)


@pytest.mark.parametrize(
    ("say", "reading", "acting", "words"),
    [
        (Say(401, refusal(401, "Unauthorized", "Unauthorized")), Denied, Denied, "401 Unauthorized"),
        (Say(403, refusal(403, "Forbidden", 'User "x" cannot')), Denied, Denied, 'User "x" cannot'),
        (Say(404, refusal(404, "NotFound", "nodes a not found")), Conflict, Conflict, "nodes a not found"),
        (Say(404, b"404 page not found"), BadResponse, BadResponse, "does not serve this path"),
        (Say(409, refusal(409, "Conflict", "modified")), Conflict, Conflict, "409 Conflict: modified"),
        (Say(410, refusal(410, "Expired", "too old")), Compacted, Compacted, "too old"),
        (Say(422, refusal(422, "Invalid", "spec")), BadResponse, BadResponse, "422 Invalid: spec"),
        (Say(429, b"slow down", {"Retry-After": "7"}), TooManyRequests, TooManyRequests, "come again in 7 s"),
        (Say(500, refusal(500, "InternalError", "boom")), BadResponse, Timeout, "500 InternalError: boom"),
        (Say(500, refusal(500, "", "etcdserver: mvcc: database space exceeded")), NoSpace, NoSpace, "space exceeded"),
        (Say(502, HTML), Unavailable, Timeout, "maintenance"),
        (Say(503, HTML), Unavailable, Unavailable, "maintenance"),
        (Say(504, refusal(504, "Timeout", "in time")), Unavailable, Timeout, "504 Timeout: in time"),
        (Say(200, HTML), BadResponse, BadResponse, "not what was asked for .*maintenance"),
        (Say(200, {"metadata": {}}), BadResponse, BadResponse, "missing required field `name`"),
        (Say(302, b"", {"Location": "https://login.example"}), BadResponse, BadResponse, "redirect to https://login"),
    ],
)
def test_what_a_refusal_means(
    say: Say, reading: type[ClientError], acting: type[ClientError], words: str, tmp_path: Path
) -> None:
    with ScriptedApiserver(lambda _: say) as server:
        kubernetes = client(server.url, tmp_path)
        for kind, ask in ((reading, read), (acting, change)):
            with pytest.raises(kind, match=words) as caught:
                ask(kubernetes)
            assert type(caught.value) is kind
            assert server.url in str(caught.value)
            unknown = "it is unknown whether the request took effect" in str(caught.value)
            assert unknown is (kind is Timeout)


def test_nothing_there_is_no_error_where_it_is_looked_for(tmp_path: Path) -> None:
    with ScriptedApiserver(lambda _: Say(404, refusal(404, "NotFound", "no"))) as server:
        assert client(server.url, tmp_path).find(f"{PATH}/a", PartialObjectMetadata, timeout=5) is None
    with (
        ScriptedApiserver(lambda _: Say(404, b"404 page not found")) as server,
        pytest.raises(BadResponse, match="does not serve"),
    ):
        client(server.url, tmp_path).find(f"{PATH}/a", PartialObjectMetadata, timeout=5)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\n", b"X-Again: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    ],
)
def test_a_trickle_ends_at_the_deadline(first: bytes, then: bytes, tmp_path: Path) -> None:
    server: RawServer
    with RawServer(lambda connection: server.trickle(connection, first, then)) as server:
        kubernetes = client(server.url, tmp_path)
        with pytest.raises(Timeout, match=r"GET /api/v1/nodes/a: no whole answer within 0\.3 s$"):
            kubernetes.get(f"{PATH}/a", PartialObjectMetadata, timeout=0.3)
        with pytest.raises(Timeout, match="it is unknown whether the request took effect"):
            kubernetes.create(PATH, {}, PartialObjectMetadata, timeout=0.3)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
def test_an_answer_that_breaks_off(answer: bytes, tmp_path: Path) -> None:
    with RawServer(lambda connection: connection.sendall(answer)) as server:
        kubernetes = client(server.url, tmp_path)
        with pytest.raises(Unavailable, match="broke off"):
            read(kubernetes)
        with pytest.raises(Timeout, match="it is unknown"):
            change(kubernetes)


def test_what_is_no_http(tmp_path: Path) -> None:
    with (
        RawServer(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH\r\n")) as server,
        pytest.raises(BadResponse, match="cannot be read"),
    ):
        read(client(server.url, tmp_path))


def test_nobody_listens(tmp_path: Path) -> None:
    with RawServer(lambda _: None) as server:
        kubernetes = client(server.url, tmp_path)
    for ask in (read, change):
        with pytest.raises(Unavailable, match="refused"):
            ask(kubernetes)


def test_a_bomb_is_left_alone_and_a_packed_answer_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b" " * 100_000_000)
    with ScriptedApiserver(lambda _: Say(200, bomb, packed)) as server:
        monkeypatch.setattr(client_module, "LIMIT_BYTES", 1_000_000)
        with pytest.raises(BadResponse, match="larger than 1000000 bytes"):
            read(client(server.url, tmp_path))
    plain = b'{"metadata": {"name": "a"}}'
    for body, error in ((gzip.compress(plain), None), (gzip.compress(plain)[:-9], "has no end"), (plain, "unpacked")):
        with ScriptedApiserver(lambda _, body=body: Say(200, body, packed)) as server:  # type: ignore[misc]  # mypy infers no default
            if error is None:
                assert names((client(server.url, tmp_path).get(PATH, PartialObjectMetadata, timeout=5),)) == ["a"]
                continue
            with pytest.raises(BadResponse, match=error):
                read(client(server.url, tmp_path))


def test_a_list_whose_snapshot_is_gone_begins_anew_as_etcd_has_it(tmp_path: Path) -> None:
    expired = Say(410, refusal(410, "Expired", "The provided continue parameter is too old"))
    script = [Say(200, items("7", "a", "b", following="x")), expired, Say(200, items("9", "b", following="y"))]
    script.append(Say(200, items("9", "c")))
    with ScriptedApiserver(lambda _: script.pop(0)) as server:
        kubernetes = client(server.url, tmp_path)
        listing = kubernetes.list(NODES, timeout=5, resource_version="0")
    assert (names(listing.items), listing.resource_version) == (["b", "c"], "9")
    places = [
        {key: asked.params[key] for key in ("resourceVersion", "continue") if key in asked.params}
        for asked in server.asked
    ]
    assert places == [{"resourceVersion": "0"}, {"continue": "x"}, {}, {"continue": "y"}]


def test_a_list_that_is_always_too_old_is_given_up(tmp_path: Path) -> None:
    def script(asked: Asked) -> Say:
        if "continue" in asked.params:
            return Say(410, refusal(410, "Expired", "too old"))
        return Say(200, items("7", "a", following="x"))

    with ScriptedApiserver(script) as server, pytest.raises(Compacted, match="too old"):
        client(server.url, tmp_path).list(NODES, timeout=5)
    assert len(server.asked) == 2 * (1 + client_module.RESTARTS)


def test_the_deadline_is_one_for_all_pages(tmp_path: Path) -> None:
    waiting = threading.Event()

    def script(asked: Asked) -> Say:
        waiting.wait(0.1)
        return Say(200, items("7", "a", following=asked.params.get("continue", "") + "x"))

    with ScriptedApiserver(script) as server, pytest.raises(Timeout, match=r"within 0\.5 s"):
        client(server.url, tmp_path).list(NODES, timeout=0.5)
    assert len(server.asked) > 1


def test_no_items_are_an_empty_list(tmp_path: Path) -> None:
    with ScriptedApiserver(lambda _: Say(200, {"metadata": {"resourceVersion": "5"}, "items": None})) as server:
        assert client(server.url, tmp_path).list(NODES, timeout=5).items == ()
