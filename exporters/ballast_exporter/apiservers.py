"""The apiservers that are asked: those of a list, or those that the cluster itself names."""

import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from kube_ballast.clients.errors import BadResponse, ClientError

REMEMBERED_SECONDS: Final = 15 * 60.0
"""How long an apiserver is still asked that the cluster names no more: it may be the one that hangs."""

S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S")


class Apiservers(Protocol[S_co]):
    """Who is to be asked now."""

    def now(self, timeout: float) -> tuple[Sequence[S_co], tuple[str, ...]]:
        """The apiservers, and in words why these may not be all. Raises ClientError when none is known."""


class Listed(Generic[S]):
    """Always the same."""

    def __init__(self, sources: Sequence[S]) -> None:
        self._sources = sources

    def now(self, timeout: float) -> tuple[Sequence[S], tuple[str, ...]]:  # noqa: ARG002 -- asks nobody
        """As configured."""
        return self._sources, ()


class Discovered(Generic[S]):
    """What the cluster says, and for a while what it said.

    An apiserver that fails is taken off the cluster's own list just when it matters that it fails.
    """

    def __init__(
        self,
        find: Callable[[float], Sequence[str]],
        connect: Callable[[str], S],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._connect = connect
        self._clock = clock
        self._known: dict[str, tuple[S, float]] = {}

    def now(self, timeout: float) -> tuple[Sequence[S], tuple[str, ...]]:
        """What is known after one more look, which lasts ``timeout`` seconds at most."""
        notes: tuple[str, ...] = ()
        try:
            urls = self._find(timeout)
        except ClientError as error:
            if not self._known:
                raise
            notes = (f"{error}; those apiservers are asked that were known before",)
        else:
            self._learn(urls)
        if not self._known:
            raise BadResponse("the Service kubernetes", "has no endpoints: no apiserver is known")
        return [source for source, _ in self._known.values()], notes

    def _learn(self, urls: Sequence[str]) -> None:
        now = self._clock()
        for url in urls:
            source = self._known[url][0] if url in self._known else self._connect(url)
            self._known[url] = (source, now)
        self._known = {url: each for url, each in self._known.items() if now - each[1] <= REMEMBERED_SECONDS}
