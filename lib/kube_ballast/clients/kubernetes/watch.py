"""Keeps up with a collection: lists it, then watches it, for as long as wanted.

What the API promises and what it does not: kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection
of changes".
"""

import random
import threading
from collections.abc import Generator, Iterator
from http.client import IncompleteRead
from typing import Final, Literal, TypeVar

import msgspec

from kube_ballast.clients.errors import BadResponse, ClientError, Compacted, Unavailable
from kube_ballast.clients.kubernetes.client import LIMIT_BYTES, Kubernetes, whole
from kube_ballast.clients.kubernetes.failures import Status, TooManyRequests, explain
from kube_ballast.clients.kubernetes.limits import Ended, Limit
from kube_ballast.clients.kubernetes.line import Response
from kube_ballast.clients.kubernetes.types import Broken, Changed, Collection, Current, Listing

T = TypeVar("T")
News = Listing[T] | Changed[T] | Current | Broken

ANSWER_SECONDS: Final = 30.0
"""For the beginning of a watch."""
IDLE_SECONDS: Final = 150.0
"""Without an event or a bookmark, of which one comes each minute, the connection is taken for dead."""
_WATCH_SECONDS: Final = (240, 480)
_LONGEST_PAUSE_SECONDS: Final = 30.0
_LINE_BYTES: Final = 16 * 1024 * 1024


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _Versioned(msgspec.Struct, frozen=True):
    metadata: _Version


class _Event(msgspec.Struct, frozen=True):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


def follow(
    kubernetes: Kubernetes,
    collection: Collection[T],
    *,
    stop: threading.Event,
    list_timeout: float = 120.0,
    idle: float = IDLE_SECONDS,
    longest_pause: float = _LONGEST_PAUSE_SECONDS,
) -> Generator[News[T], None, None]:
    """What is there and what becomes of it, until ``stop`` is set; it never ends by itself and raises no ClientError.

    First, and again whenever the history asked for is gone (410), comes a `Listing`, as etcd has it: all that is
    there, what was known before is to be forgotten. Then `Changed` for each change, and `Current` when a watch is
    opened and once a minute. When something fails comes `Broken`: what is known gets old until the next `Current`.
    Watches are opened again where the last one ended; failures are followed by pauses of 1 to ``longest_pause``
    seconds, or as long as the apiserver asks for.

    Args:
        kubernetes: the cluster.
        collection: what is followed.
        stop: looked at four times a second.
        list_timeout: seconds for a whole list.
        idle: seconds without news after which the connection is taken for dead.
        longest_pause: between two tries.
    """
    version, pauses = "", _Pauses(stop, longest_pause)
    while not stop.is_set():
        try:
            if not version:
                listing = whole(kubernetes.listed(collection, Limit(list_timeout, stop), None))
                version = listing.resource_version
                yield listing
            told = 0
            for told, (newest, news) in enumerate(_watched(kubernetes, collection, version, stop, idle)):
                version = newest
                yield news
                if told:
                    pauses.over()
            if not told:
                # It was closed as soon as it was open: asking again at once could go on for ever.
                pauses.make()
        except Ended:
            return
        except Compacted:
            version = ""
            pauses.make()
        except ClientError as error:
            yield Broken(error)
            pauses.make(error.retry_after if isinstance(error, TooManyRequests) else 0.0)


class _Pauses:
    """Between tries, each twice as long as the one before."""

    def __init__(self, stop: threading.Event, longest: float) -> None:
        self._stop, self._longest, self._made = stop, longest, 0

    def make(self, least_seconds: float = 0.0) -> None:
        longest = min(2.0**self._made, self._longest)
        self._made += 1
        # Not all clients of an apiserver that comes back should come at once.
        self._stop.wait(max(least_seconds, longest * random.uniform(0.5, 1.0)))  # noqa: S311 - no secret

    def over(self) -> None:
        self._made = 0


def _watched(
    kubernetes: Kubernetes, collection: Collection[T], version: str, stop: threading.Event, idle: float
) -> Iterator[tuple[str, Changed[T] | Current]]:
    """One watch, until the apiserver ends it: first that it is open, then what it tells, with the versions."""
    seconds = random.randint(*_WATCH_SECONDS)  # noqa: S311 - no secret
    query = (
        *collection.params,
        ("watch", "1"),
        ("allowWatchBookmarks", "true"),
        ("resourceVersion", version),
        ("timeoutSeconds", str(seconds)),
    )
    request = kubernetes.request("GET", collection.path, query, accept=collection.accept_one, packs=False)
    limit = Limit(ANSWER_SECONDS, stop)
    with kubernetes.asked(request, limit) as response:
        if not response.succeeded:
            raise response.refusal(response.body(limit, LIMIT_BYTES))
        yield version, Current(version)
        for line in _lines(response, limit, idle):
            yield _told(line, collection.kind, response)


def _lines(response: Response, limit: Limit, idle: float) -> Iterator[bytes]:
    rest = b""
    for piece in response.pieces(limit.renewed(idle)):
        *lines, rest = (rest + piece).split(b"\n")
        yield from filter(bytes.strip, lines)
        if len(rest) > _LINE_BYTES:
            raise BadResponse(response.target, f"{response.request.what}: an event of more than {_LINE_BYTES} bytes")
        # What the caller did with the events does not count.
        response.extend(limit.renewed(idle))
    if rest.strip() and not rest.lstrip().startswith(b"{"):
        yield rest  # a proxy's page, for example: whoever reads it says so
    elif rest.strip():
        what = f"{response.request.what}: the watch broke off within an event"
        raise Unavailable(response.target, what) from IncompleteRead(rest)


def _told(line: bytes, kind: type[T], response: Response) -> tuple[str, Changed[T] | Current]:
    what = f"{response.request.what} (watch)"
    try:
        event = msgspec.json.decode(line, type=_Event)
        if event.type == "ERROR":
            status = msgspec.json.decode(event.object, type=Status)
            raise explain(status, status.code, response.target, what, acts=False, retry_after=None)
        version = msgspec.json.decode(event.object, type=_Versioned).metadata.resource_version
        if event.type == "BOOKMARK":
            return version, Current(version)
        return version, Changed(event.type, msgspec.json.decode(event.object, type=kind))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        start = line[:300].decode(errors="replace")
        raise BadResponse(response.target, f"{what}: an event that cannot be read ({error}): {start!r}") from error
