"""How this process ends: everything within one limit, and what is left is another replica's at once."""

import os
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from ballast_remediator.store.database import Store

WITHIN: Final = 8.0
"""Seconds from SIGTERM on for everything together; the server kills the worker after ten."""
NOTIFIER_SECONDS: Final = 1.0
"""For a notice under way; after that it is sent again, under the same id, by whoever comes next."""
CLOSING_SECONDS: Final = 1.0
"""That are left for the last words of the log and for the store, whatever else takes how long."""
DRAIN_SECONDS: Final = 3.0
"""For which notifications are still taken where other replicas are: until then whoever routes them has noticed."""

log = structlog.get_logger()


class Works(Protocol):
    """The engine, as far as its end goes."""

    def stop(self, timeout: float) -> bool:
        """Leaves the other replicas what it worked on; whether nothing goes on here any more."""


class Ends(Protocol):
    """A thread that can be told to end."""

    def stop(self, timeout: float) -> None: ...


class Shutdown:
    """Ends the parts in their order, in a thread of its own, while requests are still served."""

    def __init__(
        self,
        *,
        notifier: Ends,
        engine: Works,
        housekeeping: Ends,
        store: Store,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        """``leave`` ends the process with an exit code, whatever its threads do."""
        self._notifier = notifier
        self._engine = engine
        self._housekeeping = housekeeping
        self._store = store
        self._leave = leave
        self._begun = threading.Event()
        self._give_up = 0.0
        self._thread = threading.Thread(target=self._end, name="shutdown", daemon=True)

    @property
    def begun(self) -> bool:
        """Whether this process is about to end."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Nothing new is begun from now on. Returns at once, and may be called again."""
        if self.begun:
            return
        self._give_up = time.monotonic() + WITHIN
        self._begun.set()
        log.info("shutdown_begins", within_seconds=WITHIN)
        self._thread.start()
        # Whatever is in the way, a request that waits for the store or a call that hangs: who is killed says nothing.
        last = threading.Timer(WITHIN, self._cut_off)
        last.daemon = True
        last.start()

    def finish(self) -> None:
        """When no request is served any more: closes the store. Takes what is left of the time at most."""
        self.begin()
        self._thread.join(self._left())
        self._store.close(within=self._left())
        log.info("the remediator stopped")

    def _end(self) -> None:
        self._notifier.stop(NOTIFIER_SECONDS)  # first: whoever takes the duty sends what this one has not written down
        if not self._engine.stop(self._left() - CLOSING_SECONDS):
            # Others go on with those steps from now on, and threads cannot be ended one by one.
            self._cut_off()
        self._housekeeping.stop(self._left())  # last: the head that it logs is the last one

    def _cut_off(self) -> None:
        log.warning("the remediator stopped", reason="something did not end in time, and is cut off")
        self._leave(0)

    def _left(self) -> float:
        return max(0.0, self._give_up - time.monotonic())
