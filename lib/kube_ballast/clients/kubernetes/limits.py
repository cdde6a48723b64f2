"""How long a call may take, all in all, and how it is ended from outside."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from kube_ballast.clients.errors import Timeout

T = TypeVar("T")


class Ended(Exception):
    """Somebody set the stop event. Never leaves this package."""


class Overdue(Exception):
    """The time is over. Never leaves this package."""


class Limit:
    """``seconds`` from now, for everything together; ``stop`` ends it earlier."""

    LOOK_SECONDS = 0.25
    """How often a wait looks at ``stop``."""

    def __init__(self, seconds: float, stop: threading.Event | None = None) -> None:
        self.seconds = seconds
        self._stop = stop
        self._end = time.monotonic() + seconds

    def check(self) -> float:
        """Seconds that are left. Raises Overdue when there are none, Ended when it shall stop."""
        if self._stop is not None and self._stop.is_set():
            raise Ended
        left = self._end - time.monotonic()
        if left <= 0:
            raise Overdue
        return left

    def step(self) -> float:
        """How long one wait may take before the next look. Raises like `check`."""
        left = self.check()
        return left if self._stop is None else min(left, self.LOOK_SECONDS)

    def renewed(self, seconds: float) -> "Limit":
        """Another one from now on, that the same event stops."""
        return Limit(seconds, self._stop)


class _Work(threading.Thread, Generic[T]):
    """Does something that has no end of its own."""

    def __init__(self, work: Callable[[], T], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.done = threading.Event()
        self.outcome: list[T] = []
        self.error: BaseException | None = None
        self._work = work

    def run(self) -> None:
        try:
            self.outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error
        finally:
            self.done.set()


def within(limit: Limit, work: Callable[[], T], target: str, what: str) -> T:
    """What ``work`` gives or raises, if that comes in time. Raises Timeout or Ended else; the work is left behind."""
    thread = _Work(work, f"{what} {target}")
    thread.start()
    try:
        while not thread.done.wait(limit.step()):
            pass
    except Overdue:
        raise Timeout(target, f"nothing was sent: {what} took longer than {limit.seconds:g} s") from None
    if thread.error is not None:
        raise thread.error
    return thread.outcome[0]
