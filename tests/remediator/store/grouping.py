"""Writes that share one commit."""

import threading
from collections.abc import Callable

from sqlalchemy import Connection

from ballast_remediator.store.database import Store


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - which one is what the test is about
        return error


def together(store: Store, *calls: Callable[[], object]) -> list[object]:
    """The outcomes of ``calls``, all of which wait while the writer is held up, so that they form one group."""
    entered, release = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        release.wait(10.0)

    outcomes: list[object] = [None] * len(calls)

    def run(number: int) -> None:
        outcomes[number] = outcome(calls[number])

    holder = threading.Thread(target=outcome, args=(lambda: store.write(hold),))
    holder.start()
    entered.wait(10.0)
    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for number, thread in enumerate(threads, start=1):
        thread.start()
        while store._writer._queue.qsize() < number:
            pass
    release.set()
    for thread in [holder, *threads]:
        thread.join(20.0)
    return outcomes
