"""Group commit: one thread writes, and everybody who waits at the same time shares one fsync.

SQLite has one writer at a time. With many threads beginning transactions of their own, its busy handler
starves some of them (p99 above a second at 32 clients); behind one thread, as many writes as are waiting go
into one transaction. One that fails takes no other with it: the group is then done again without it.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
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
_Waiting = tuple[Operation[Any], Future[Any]]
_Attempt = Callable[[Connection, Operation[Any], Future[Any]], Callable[[], None]]

GROUP: Final = 256
"""Writes per transaction at most, so that the first of them does not wait for the last for long."""


_OF_THE_OPERATION: Final = (IntegrityError, DataError, InterfaceError, ProgrammingError)


class StoreUnavailable(Exception):
    """The store cannot take or give data now; the text says why. No write is made, unless it is `Undecided`."""


class Undecided(StoreUnavailable):
    """A write that has begun and does not end: it may still be committed, so it must not be sent a second time."""

    def __init__(self, words: str, outcome: Callable[[], Any]) -> None:
        """``outcome`` waits for the same write again: its value, its exception, or `Undecided` once more."""
        super().__init__(words)
        self.outcome = outcome


class Writer:
    """Runs operations on one connection, in groups. ``write`` returns when its effect is on disk."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, operation: Operation[R], *, timeout: float) -> R:
        """Runs ``operation(connection)`` in a transaction; returns its value once that is committed.

        Takes at most twice ``timeout`` seconds: once for its turn to come, once more to end if it has come.

        Raises:
            Undecided: its turn came and it has not ended; it may still be committed.
            StoreUnavailable: it was not committed and will not be.
            Exception: whatever ``operation`` raised; its own writes are rolled back.
        """
        if self._closed.is_set():
            raise StoreUnavailable("the store is closed")
        future: Future[R] = Future()
        self._queue.put((operation, future))
        wait((future,), timeout)
        if future.cancel():
            self._problem = f"not written: its turn did not come within {timeout:g} s; the disk is slow or stuck"
            raise StoreUnavailable(self._problem)
        return self._outcome(future, timeout)

    def _outcome(self, future: Future[R], timeout: float) -> R:
        wait((future,), timeout)
        if not future.done():
            self._problem = f"no commit within {timeout:g} s, though it may still come: the disk is slow or stuck"
            raise Undecided(self._problem, lambda: self._outcome(future, timeout))
        return future.result()

    def problem(self) -> str | None:
        """Why the last write failed, or does not end; None once another one was committed."""
        return self._problem

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
            # From here on nobody can withdraw a write: whoever waits for it has to wait for its outcome.
            begun = [waiting for waiting in group if waiting[1].set_running_or_notify_cancel()]
            if begun:
                self._commit(begun)

    def _commit(self, group: Sequence[_Waiting]) -> None:
        try:
            try:
                answers = self._transaction(group, _bare)
            except _OperationFailed:
                # Rare, so that the usual case need not pay for savepoints. Operations change nothing but the database.
                answers = self._transaction(group, _in_savepoint)
        except SQLAlchemyError as error:
            self._problem = f"the store refuses to write: {error.__cause__ or error}"
            reason = StoreUnavailable(self._problem)
            for _, future in group:
                future.set_exception(reason)
        else:
            self._problem = None
            for answer in answers:
                answer()

    def _transaction(self, group: Sequence[_Waiting], attempt: _Attempt) -> list[Callable[[], None]]:
        """Commits the group; returns what answers its callers."""
        with self._engine.begin() as connection:
            return [attempt(connection, operation, future) for operation, future in group]


class _OperationFailed(Exception):
    """One operation of a group raised: the others have to be done again without it."""


def _bare(connection: Connection, operation: Operation[R], future: Future[R]) -> Callable[[], None]:
    try:
        value = operation(connection)
    except Exception as error:
        if _is_of_the_store(error):
            raise
        raise _OperationFailed from error
    return lambda: future.set_result(value)


def _in_savepoint(connection: Connection, operation: Operation[R], future: Future[R]) -> Callable[[], None]:
    savepoint = connection.begin_nested()
    try:
        value = operation(connection)
    except Exception as error:
        if _is_of_the_store(error):
            raise  # nobody in the group is served
        savepoint.rollback()
        failure = error
        return lambda: future.set_exception(failure)
    savepoint.commit()
    return lambda: future.set_result(value)


def _is_of_the_store(error: Exception) -> bool:
    """The disk or the database is to blame, not the operation's own content."""
    return isinstance(error, DBAPIError) and not isinstance(error, _OF_THE_OPERATION)
