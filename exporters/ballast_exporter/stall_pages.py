"""The apiservers' own pages of metrics, read in the background: what explains a verdict and never makes one.

They also tell which address is no apiserver's own: all pages of one look, at marks on one clock, are compared.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from kube_ballast.analysis.apiserver_identity import Identities
from kube_ballast.analysis.apiserver_requests import Tally
from kube_ballast.analysis.stall_page import METRICS, Page, Progress, progress, same_process
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.exposition import Sample

EVERY_SECONDS: Final = 15.0
READ_SECONDS: Final = 30.0
"""An apiserver that is cut off from its etcd needs 20 s."""
VALID_SECONDS: Final = 60.0
MOST_RESOURCES: Final = 500
"""So many are told by name, the busiest of the first page first; one that was not never is, so no counter goes down."""
OTHERS: Final = "(other)"
_KEPT: Final = 21
"""Pages of one apiserver: an open call is seen to be five minutes old."""


class Source(Protocol):
    """An apiserver's page."""

    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None: ...


class Pages:
    """What was read of each apiserver. Thread safe; times are the clock's seconds."""

    def __init__(self, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._began = clock()
        self._lock = threading.Lock()
        self._kept: dict[str, deque[Page]] = {}
        self._trouble: dict[str, str] = {}
        self._named: set[str] = set()
        self._identities = Identities()
        self._looks: dict[int, dict[str, Tally]] = {}
        """Pages by look, until they are compared."""

    def follow(self, name: str, source: Source, asks: Callable[[], None], stop: threading.Event) -> None:
        """Read this apiserver's page at each mark until ``stop`` is set; ``asks`` is called before each request."""
        while not stop.is_set():
            asks()
            self.read(name, source, READ_SECONDS)
            past = (self._clock() - self._began) % self._every
            stop.wait(self._every - past)

    def read(self, name: str, source: Source, seconds: float) -> None:
        """Read it once, in so many seconds."""
        page = Page(self._clock())
        try:
            source.read(METRICS, page.take, timeout=seconds)
        except ClientError as error:
            with self._lock:
                self._trouble[name] = f"its own metrics cannot be read: {error.message}"
            return
        page.ended = self._clock()
        with self._lock:
            self._trouble.pop(name, None)
            kept = self._kept.setdefault(name, deque(maxlen=_KEPT))
            if kept and not same_process(kept[-1], page):
                kept.clear()
            kept.append(page)
            self._name(page)
            if page.who.is_an_apiservers:
                self._looks.setdefault(self._look(page.began), {})[name] = page.who

    def unusable(self, asked: Collection[str]) -> Mapping[str, str] | None:
        """The addresses that are no apiserver's own, and why; None while there is nothing new to compare.

        ``asked`` are all there are: a look is over when all were read, or when the next one begins. Of two with one
        process that nothing else tells apart, the first of them is its own, whichever was read first.
        """
        now = self._look(self._clock())
        with self._lock:
            over = [look for look, pages in self._looks.items() if look < now or len(pages) >= len(asked)]
            looks = [self._looks.pop(look) for look in sorted(over)]
        found = [self._identities.unusable({name: pages[name] for name in asked if name in pages}) for pages in looks]
        return found[-1] if found else None

    def progress(self, name: str) -> Progress | None:
        """What its pages say now, None when there was none within a minute."""
        now = self._clock()
        with self._lock:
            kept = self._kept.get(name)
            if not kept or now - kept[-1].ended > VALID_SECONDS:
                return None
            found = progress(tuple(kept))
            told: dict[str, float] = {}
            for resource, count in found.succeeded.items():
                key = resource if resource in self._named else OTHERS
                told[key] = told.get(key, 0.0) + count
            return replace(found, succeeded=told)

    def started(self, name: str) -> float | None:
        """When its process began, in its own Unix seconds; None where no page says so."""
        with self._lock:
            kept = self._kept.get(name)
            return kept[-1].who.started or None if kept else None

    def words(self, name: str) -> tuple[str, ...]:
        """What speaks of trouble in its pages, or that none can be had."""
        known = self.progress(name)
        with self._lock:
            trouble = self._trouble.get(name)
        return (*(known.words() if known else ()), *((trouble,) if trouble else ()))

    def _name(self, page: Page) -> None:
        for resource in sorted(page.requests, key=lambda name: -page.requests[name]):
            if len(self._named) < MOST_RESOURCES:
                self._named.add(resource)

    def _look(self, at: float) -> int:
        return int((at - self._began) // self._every)
