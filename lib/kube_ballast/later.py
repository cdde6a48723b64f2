"""Answers that wait for something, such as a commit, without a thread that waits for it: see `kube_ballast.wsgi`."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

A = TypeVar("A")
LATER: Final = "ballast.later"
"""The environ's entry for what the answer waits for: there, and None, where the server can wait for it."""


class Pending(Protocol):
    """What an answer may wait for, such as a write."""

    @property
    def patience(self) -> float:
        """Seconds after which `lose_patience` is called."""

    def on_end(self, tell: Callable[[], None]) -> None:
        """Calls ``tell``, in whichever thread, once it has ended."""

    def lose_patience(self) -> None:
        """It has taken `patience` seconds. Returns when it has as long again, and raises what it comes to when not."""

    def result(self) -> object:
        """Waits for the end. Raises what it came to."""


@dataclass(frozen=True, slots=True)
class Later(Generic[A]):
    """What an answer waits for, and what gives another one at its end."""

    pending: Pending
    end: Callable[[Exception | None], A | None]


def answer_after(environ: dict[str, Any], pending: Pending, end: Callable[[Exception | None], A | None]) -> None:
    """The answer to this request is sent when ``pending`` has ended well, and without a thread that waits for it.

    ``end`` is called then with what ``pending`` raised, or None, and gives the answer that is sent instead, or None.
    It must take microseconds. Where the server cannot do that, as for a path that is not quick, this waits itself, and
    raises what ``pending`` raises without calling ``end``.
    """
    if LATER in environ:
        environ[LATER] = Later(pending, end)
    else:
        pending.result()
        end(None)


class Teller:
    """Wakes a loop from other threads: once for all that ended until it looks, as when a commit ends many writes."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._ended: list[Callable[[], None]] = []

    def tell(self, settle: Callable[[], None]) -> None:
        """Calls ``settle`` in the loop. Thread safe."""
        with self._lock:
            self._ended.append(settle)
            is_first = len(self._ended) == 1
        if is_first:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        with self._lock:
            ended, self._ended = self._ended, []
        for settle in ended:
            settle()


async def end_of(pending: Pending, teller: Teller) -> None:
    """Raises what it came to."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None = None) -> None:
        if over.done():
            return
        if error is None:
            over.set_result(None)
        else:
            over.set_exception(error)

    def look() -> None:
        try:
            pending.lose_patience()
        except Exception as error:  # noqa: BLE001 - the application words it
            settle(error)
        else:
            timers.append(loop.call_later(pending.patience, look))

    timers = [loop.call_later(pending.patience, look)]
    pending.on_end(lambda: teller.tell(settle))
    try:
        await over
    finally:
        timers[-1].cancel()
    pending.result()
