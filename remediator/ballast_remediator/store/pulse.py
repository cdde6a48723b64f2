"""Whether the store answers now, told within a limit that a hanging database knows nothing of."""

import threading
import time
from concurrent.futures import Future

import structlog

from ballast_remediator.store import reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable

log = structlog.get_logger()


class Pulse:
    """Asks in a thread of its own, one question at a time, however many want to know. Thread safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._answer: Future[str | None] = Future()
        self._answer.set_result(None)
        self._asked_at = 0.0

    def problem(self, *, within: float) -> str | None:
        """Why it gives no data, in words; None when it gave some. Takes ``within`` seconds at most."""
        with self._lock:
            if self._answer.done():
                self._answer, self._asked_at = Future(), time.monotonic()
                threading.Thread(target=self._ask, args=(self._answer,), name="pulse", daemon=True).start()
            answer, asked_at = self._answer, self._asked_at
        try:
            return answer.result(within)
        except TimeoutError:
            return f"the store has not answered for {time.monotonic() - asked_at:.1f} s"

    def _ask(self, answer: Future[str | None]) -> None:
        try:
            self._store.read(reading.backlog)
        except StoreUnavailable as error:
            answer.set_result(str(error))
        except Exception as error:
            # Whoever asks has to be told, and nobody else hears of it.
            log.exception("pulse_fault")
            answer.set_result(f"reading the store failed: {error!r}")
        else:
            answer.set_result(None)
