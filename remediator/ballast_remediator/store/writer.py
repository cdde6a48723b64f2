"""Group commit: one thread writes, and everybody who waits at the same time shares one fsync.

SQLite has one writer at a time. With many threads beginning transactions of their own, its busy handler
starves some of them (p99 above a second at 32 clients); behind one thread, as many writes as are waiting go
into one transaction, each in a savepoint, so that one that fails takes no other with it.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
)

R = TypeVar("R")
Operation = Callable[[Connection], R]

GROUP: Final = 256
"""Writes per transaction at most, so that the first of them does not wait for the last for long."""


_OF_THE_OPERATION: Final = (IntegrityError, DataError, InterfaceError, ProgrammingError)
"""What an operation's own content is to blame for; any other error is the disk's or the database's."""


class StoreUnavailable(Exception):
    """The store cannot take or give data now; the text says why."""


class Writer:
    """Runs operations on one connection, in groups. ``write`` returns when its effect is on disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[tuple[Operation[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, operation: Operation[R], *, timeout: float) -> R:
        """Runs ``operation(connection)`` in a transaction; returns its value once that is committed.

        Raises:
            StoreUnavailable: it was not committed, or not within ``timeout`` seconds (then it may still be).
            Exception: whatever ``operation`` raised; its own writes are rolled back.
        """
        if self._closed.is_set():
            raise StoreUnavailable("the store is closed")
        future: Future[R] = Future()
        self._queue.put((operation, future))
        try:
            return future.result(timeout)
        except TimeoutError as error:
            raise StoreUnavailable(f"no commit within {timeout:g} s: the disk is slow or stuck") from error

    def close(self) -> None:
        """Commits what waits and ends the thread."""
        self._closed.set()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                group.append(following)
            self._commit(group)

    def _commit(self, group: list[tuple[Operation[Any], Future[Any]]]) -> None:
        answers: list[Callable[[], None]] = []
        try:
            with self._engine.begin() as connection:
                answers.extend(_attempt(connection, operation, future) for operation, future in group)
        except SQLAlchemyError as error:
            reason = StoreUnavailable(f"the store refuses to write: {error.__cause__ or error}")
            for _, future in group:
                future.set_exception(reason)
        else:
            for answer in answers:
                answer()


def _attempt(connection: Connection, operation: Operation[R], future: Future[R]) -> Callable[[], None]:
    """Runs one operation in a savepoint; returns what answers its caller, to be called after the commit."""
    savepoint = connection.begin_nested()
    try:
        value = operation(connection)
    except Exception as error:
        if isinstance(error, DBAPIError) and not isinstance(error, _OF_THE_OPERATION):
            raise  # the disk or the database, not this operation: nobody in the group is served
        return _rolled_back(savepoint.rollback, future, error)
    savepoint.commit()
    return lambda: future.set_result(value)


def _rolled_back(rollback: Callable[[], None], future: Future[R], error: Exception) -> Callable[[], None]:
    rollback()
    return lambda: future.set_exception(error)
