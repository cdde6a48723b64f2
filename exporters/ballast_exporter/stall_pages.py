"""The apiservers' own pages of metrics, read in the background: what explains a verdict and never makes one."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from kube_ballast.analysis.stall_page import METRICS, Page, Progress, progress, same_process
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.exposition import Sample

EVERY_SECONDS: Final = 15.0
READ_SECONDS: Final = 30.0
"""An apiserver that is cut off from its etcd needs 20 s."""
VALID_SECONDS: Final = 60.0
_KEPT: Final = 21
"""Pages of one apiserver: an open call is seen to be five minutes old."""


class Source(Protocol):
    """An apiserver's page."""

    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None: ...


class Pages:
    """What was read of each apiserver. Thread safe; times are the clock's seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, deque[Page]] = {}
        self._trouble: dict[str, str] = {}

    def follow(self, name: str, source: Source, asks: Callable[[], None], stop: threading.Event) -> None:
        """Read this apiserver's page every 15 s until ``stop`` is set; ``asks`` is called before each request."""
        while not stop.is_set():
            began = self._clock()
            asks()
            self.read(name, source, READ_SECONDS)
            stop.wait(max(1.0, began + EVERY_SECONDS - self._clock()))

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

    def progress(self, name: str) -> Progress | None:
        """What its pages say now, None when there was none within a minute."""
        now = self._clock()
        with self._lock:
            kept = self._kept.get(name)
            return progress(tuple(kept), now) if kept and now - kept[-1].ended <= VALID_SECONDS else None

    def words(self, name: str) -> tuple[str, ...]:
        """What speaks of trouble in its pages, or that none can be had."""
        known = self.progress(name)
        with self._lock:
            trouble = self._trouble.get(name)
        return (*(known.words() if known else ()), *((trouble,) if trouble else ()))
