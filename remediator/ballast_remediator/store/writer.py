"""Group commit: one thread writes, and everybody who waits at the same time shares one fsync.

SQLite has one writer at a time. With many threads beginning transactions of their own, its busy handler
starves some of them (p99 above a second at 32 clients); behind one thread, as many writes as are waiting go
into one transaction. One that fails takes no other with it: the group is then done again without it.

On PostgreSQL the answer to a commit may get lost with the connection. Then the server is asked whether it committed,
until it tells: nobody is told of a failure that was none. Where there is no ticket to ask by (`backend.Writable`), it
counts as failed.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    ProgrammingError,
    SQLAlchemyError,
)

from ballast_remediator.store import memory
from ballast_remediator.store.backend import Writable

R = TypeVar("R")
T = TypeVar("T")
Operation = Callable[[Connection], R]
Together = Callable[[Connection, Sequence[T]], Sequence[R]]
"""Gives one value for each item, in their order. Raises where it cannot be done for all: then each is done alone."""

GROUP: Final = 256
"""Writes per transaction at most, so that the first of them does not wait for the last for long."""
GATHER: Final = 0.002
"""Seconds for which a group waits, at most, for as many writes as the last one had: who was answered asks again. Each
transaction costs more than many writes in it."""
ASK_AGAIN: Final = 0.5
"""Seconds between two questions to the server whether it committed."""

_OF_THE_OPERATION: Final = (IntegrityError, DataError, InterfaceError, ProgrammingError)

log = structlog.get_logger()


class StoreUnavailable(Exception):
    """The store cannot take or give data now; the text says why. No write is made, unless it is `Undecided`."""


class Undecided(StoreUnavailable):
    """A write that has begun and does not end: it may still be committed, so it must not be sent a second time."""

    def __init__(self, words: str, outcome: Callable[[], Any]) -> None:
        """``outcome`` waits for the same write again: its value, its exception, or `Undecided` once more."""
        super().__init__(words)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One write that somebody waits for; ``item`` is its part of the call that those with the same one ``share``."""

    alone: Operation[Any]
    future: Future[Any]
    shared: Together[Any, Any] | None = None
    item: Any = None


class Submitted(Generic[R]):
    """A write that was handed over, for whoever waits for its end: with a thread (`result`), or told (`on_end`)."""

    def __init__(self, future: Future[R], patience: float, told: Callable[[str], None]) -> None:
        """``told`` is given the words of a failure that no commit has caused."""
        self.patience = patience
        """Seconds after which `lose_patience` is due, and so long again after it."""
        self._future = future
        self._told = told
        self._begun = False

    def on_end(self, tell: Callable[[], None]) -> None:
        """Calls ``tell``, in whichever thread, once it has ended; at once if it has."""
        self._future.add_done_callback(lambda _: tell())

    def lose_patience(self) -> None:
        """It has not ended within `patience`: it is withdrawn, or has as long again if its turn has come.

        Raises:
            Undecided: it had as long again; it may still be committed.
            StoreUnavailable: it is withdrawn.
        """
        if self._future.done():
            return
        if self._begun:
            words = f"no commit within {self.patience:g} s, though it may still come: the disk is slow or stuck"
            self._told(words)
            raise Undecided(words, self.result)
        if self._future.cancel():
            words = f"not written: its turn did not come within {self.patience:g} s; the disk is slow or stuck"
            self._told(words)
            raise StoreUnavailable(words)
        self._begun = True

    def result(self) -> R:
        """Waits for its value.

        Raises:
            Undecided: its turn came and it has not ended; it may still be committed.
            StoreUnavailable: it was not committed and will not be.
            Exception: whatever the operation raised; its own writes are rolled back.
        """
        while not _ended(self._future, self.patience):
            self.lose_patience()
        return self._future.result()


class _Lost(Exception):
    """The connection broke during the commit: only the server knows."""

    def __init__(self, ticket: str, words: str, answers: Sequence[Callable[[], None]]) -> None:
        super().__init__(words)
        self.ticket = ticket
        self.answers = answers


class Writer:
    """Runs operations on one connection, in groups. ``write`` returns when its effect is on disk."""

    def __init__(self, backend: Writable) -> None:
        self._backend = backend
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def write(self, operation: Operation[R], *, timeout: float) -> R:
        """Runs ``operation(connection)`` in a transaction; returns its value once that is committed.

        Takes at most twice ``timeout`` seconds: once for its turn to come, once more to end if it has come. Raises as
        `Submitted.result` does.
        """
        future: Future[R] = Future()
        return self._put(_Waiting(operation, future), future, timeout).result()

    def submit(self, operation: Together[T, R], item: T, *, timeout: float) -> Submitted[R]:
        """As `write`, without waiting; ``operation(connection, items)`` is called for all in a group who share it.

        Raises `StoreUnavailable` where it is closed.
        """
        future: Future[R] = Future()
        alone = _Waiting(lambda connection: operation(connection, (item,))[0], future, operation, item)
        return self._put(alone, future, timeout)

    def _put(self, waiting: _Waiting, future: Future[R], timeout: float) -> Submitted[R]:
        if self._closed.is_set():
            raise StoreUnavailable("the store is closed")
        self._queue.put(waiting)
        return Submitted(future, timeout, self._trouble)

    def _trouble(self, words: str) -> None:
        self._problem = words

    def problem(self) -> str | None:
        """Why the last write failed, or does not end; None once another one was committed."""
        return self._problem

    def end(self) -> None:
        """Takes nothing more; commits what waits, and ends its thread."""
        self._closed.set()
        self._queue.put(None)

    def join(self, within: float) -> None:
        """Waits for that for ``within`` seconds at most."""
        self._thread.join(within)

    def _run(self) -> None:
        several = 1
        while (first := self._queue.get()) is not None:
            group = self._gathered(first, several)
            several = len(group)
            # From here on nobody can withdraw a write: whoever waits for it has to wait for its outcome.
            begun = [waiting for waiting in group if waiting.future.set_running_or_notify_cancel()]
            if begun:
                self._commit(begun)

    def _gathered(self, first: _Waiting, several: int) -> Sequence[_Waiting]:
        """``first`` and all that wait already; and for a moment those that come, until there are ``several``."""
        group = [first]
        until = time.monotonic() + GATHER
        while len(group) < GROUP:
            left = until - time.monotonic() if len(group) < several else 0.0
            try:
                following = self._queue.get(timeout=left) if left > 0.0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._queue.put(None)
                break
            group.append(following)
        return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        try:
            try:
                answers = self._transaction(self._backend.engine, group, _bare)
            except _OperationFailed:
                # Rare, so that the usual case need not pay for savepoints. Operations change nothing but the database.
                answers = self._transaction(self._backend.undoing, group, _in_savepoints)
        except _Lost as lost:
            self._problem = f"the connection broke during a commit: {lost}"
            if not self._settled(lost.ticket):
                self._refuse(group)
                return
            answers = lost.answers
        except Exception as error:
            # Whatever it is, nobody waits for ever: a password's file that is gone is no error of SQLAlchemy's.
            self._problem = f"the store refuses to write: {words_of(error)}"
            if not isinstance(error, SQLAlchemyError):
                log.exception("write_fault")
            self._refuse(group)
            return
        self._problem = None
        for answer in answers:
            answer()

    def _refuse(self, group: Sequence[_Waiting]) -> None:
        reason = StoreUnavailable(self._problem)
        for waiting in group:
            waiting.future.set_exception(reason)

    def _transaction(
        self, engine: Engine, group: Sequence[_Waiting], attempt: "_Attempt"
    ) -> Sequence[Callable[[], None]]:
        """Commits the group; returns what answers its callers. Raises `_Lost`."""
        ticket: str | None = None
        answers: Sequence[Callable[[], None]] | None = None
        try:
            with engine.begin() as connection:
                memory.begin(connection)
                ticket = self._backend.begin_writing(connection)
                answers = attempt(connection, group)
        except DBAPIError as error:
            if ticket is None or answers is None or not error.connection_invalidated:
                raise  # it had not come to the commit, or the commit was refused
            raise _Lost(ticket, words_of(error), answers) from error
        return answers

    def _settled(self, ticket: str) -> bool:
        """Whether the lost commit was one after all; asks until the server tells, or the store is closed."""
        while True:
            try:
                return self._backend.committed(ticket)
            except (SQLAlchemyError, OSError) as error:
                log.warning("commit_in_doubt", reason=words_of(error))
                if self._closed.wait(ASK_AGAIN):
                    return False  # whoever waits ends with this process


def _ended(future: Future[Any], timeout: float) -> bool:
    """Waits for it. `concurrent.futures.wait` would cost about twice the processor time for one."""
    with suppress(TimeoutError):
        future.exception(timeout)
    return future.done()


class _OperationFailed(Exception):
    """One operation of a group raised: the others have to be done again without it."""


_Attempt = Callable[[Connection, Sequence[_Waiting]], Sequence[Callable[[], None]]]


def _bare(connection: Connection, group: Sequence[_Waiting]) -> Sequence[Callable[[], None]]:
    """All of them as they came; those that share a call in one, where the first of them stands."""
    sharing: dict[Together[Any, Any], list[_Waiting]] = {}
    for waiting in group:
        if waiting.shared is not None:
            sharing.setdefault(waiting.shared, []).append(waiting)
    answers: list[Callable[[], None]] = []
    try:
        for waiting in group:
            if waiting.shared is None:
                answers.append(_giving(waiting.future, waiting.alone(connection)))
            elif waiting.shared in sharing:
                several = sharing.pop(waiting.shared)
                values = waiting.shared(connection, [one.item for one in several])
                answers += [_giving(one.future, value) for one, value in zip(several, values, strict=True)]
        # Now, and not in the commit: a row that cannot be inserted is its operation's mistake, and not the store's.
        memory.settle(connection)
    except Exception as error:
        if _is_of_the_store(error):
            raise
        raise _OperationFailed from error
    return answers


def _in_savepoints(connection: Connection, group: Sequence[_Waiting]) -> Sequence[Callable[[], None]]:
    return [_in_savepoint(connection, waiting) for waiting in group]


def _in_savepoint(connection: Connection, waiting: _Waiting) -> Callable[[], None]:
    savepoint = connection.begin_nested()
    try:
        value = waiting.alone(connection)
        memory.settle(connection)
    except Exception as error:
        if _is_of_the_store(error):
            raise  # nobody in the group is served
        savepoint.rollback()
        memory.begin(connection)
        failure = error
        return lambda: waiting.future.set_exception(failure)
    savepoint.commit()
    return _giving(waiting.future, value)


def _giving(future: Future[Any], value: object) -> Callable[[], None]:
    return lambda: future.set_result(value)


def _is_of_the_store(error: Exception) -> bool:
    """The disk or the database is to blame, not the operation's own content."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or not isinstance(error, _OF_THE_OPERATION))


def words_of(error: Exception) -> str:
    """What the database itself said, on one line."""
    return " ".join(str(error.__cause__ or error).split())
