"""Tells people: what only time brings is noticed here, and the outbox is sent, in a thread that nothing waits for."""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

import structlog

from ballast_remediator.config import Config
from ballast_remediator.notices import PAUSES, NotTaken
from ballast_remediator.store import clockwork, notices
from ballast_remediator.store.clockwork import Expected
from ballast_remediator.store.database import Store
from ballast_remediator.store.notices import Notice
from ballast_remediator.store.writer import StoreUnavailable

EVERY: Final = 1.0
"""Seconds between two looks at the outbox while it is empty."""
LOOKS_EVERY: Final = 5.0
"""Seconds between two looks at what time brings."""
HEAD_EVERY: Final = 86400.0
"""Seconds between two times that people are told of the audit's head."""
UNSEEN_SHARE: Final = 1 / 3
"""Of the time that a plan waits for a person: with so much of it left, nobody has looked yet."""

log = structlog.get_logger()


class Takes(Protocol):
    """Who is told."""

    def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        """Raises `NotTaken`."""


def expected(config: Config) -> Expected:
    """What has to come in time, as the configuration says."""
    return Expected(
        clusters=tuple(config.clusters),
        alertname=config.heartbeat.alertname,
        absent_after=config.heartbeat.absent_after,
        remind_within=config.engine.approval_expires * UNSEEN_SHARE,
        head_every=HEAD_EVERY,
    )


class Notifier:
    """One thread. A receiver that is slow, or gone, keeps nothing but later notices waiting."""

    def __init__(
        self,
        store: Store,
        expected: Expected,
        *,
        receiver: Takes | None,
        on_duty: Callable[[], bool] = lambda: True,
        audit_problem: Callable[[], str | None] = lambda: None,
        kill_switch_file: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``on_duty``: one replica at a time does this. Without a ``receiver``, what time brings is still noticed.

        ``kill_switch_file`` is the file of this host while it exists: each replica tells of its own.
        """
        self._store = store
        self._expected = expected
        self._receiver = receiver
        self._on_duty = on_duty
        self._audit_problem = audit_problem
        self._told_of_audit: str | None = None
        self._kill_switch_file = kill_switch_file
        self._told_of_file: str | None = None
        self._since: float | None = None
        self._looked_at = float("-inf")
        self._unwritten: Callable[[], None] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="notices", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ends within ``timeout`` seconds; a notice under way is sent again by whoever comes next."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _loop(self) -> None:
        while not self._stopping.is_set():
            more = False
            try:
                self._look_at_file()
                if self._on_duty():
                    self._look()
                    more = self._send_one()
            except StoreUnavailable as error:
                log.warning("notices_wait", reason=str(error))
            except Exception:
                # People have to be told of the next thing, whatever was wrong with this one.
                log.exception("notices_fault")
            if not more:
                self._stopping.wait(EVERY)

    def _look_at_file(self) -> None:
        """What anybody may do with `touch` and `rm`; a restart tells once more of one that is still there."""
        file, told = self._kill_switch_file(), self._told_of_file
        if (file is None) != (told is None):
            where = str(file or told)
            self._store.write(notices.tell_file, file=where, host=socket.gethostname(), there=file is not None)
            self._told_of_file = file

    def _look(self) -> None:
        """What nobody does, but time: reminders, heartbeats that stay away, the day's head."""
        if self._since is None:
            self._since = self._store.now()
        if time.monotonic() < self._looked_at + LOOKS_EVERY:
            return
        self._looked_at = time.monotonic()
        broken = self._audit_problem()
        news = None if broken == self._told_of_audit else broken
        self._store.write(clockwork.look, self._expected, since=self._since, broken=news)
        self._told_of_audit = broken

    def _send_one(self) -> bool:
        """Sends what is due longest and writes down what became of it; whether there may be more.

        What could not be written down is written before anything else is sent: the receiver already has it.
        """
        self._write_down()
        notice = None if self._receiver is None else self._store.read(notices.due)
        if notice is None or self._receiver is None:
            return False
        try:
            self._receiver.send(notice.id, notice.body)
        except NotTaken as error:
            self._unwritten = partial(self._failed, notice, str(error), again=_again_in(notice, error))
        else:
            self._unwritten = partial(self._sent, notice)
        self._write_down()
        return True

    def _write_down(self) -> None:
        if self._unwritten is not None:
            self._unwritten()
            self._unwritten = None

    def _sent(self, notice: Notice) -> None:
        self._store.write(notices.sent, notice.id)

    def _failed(self, notice: Notice, words: str, *, again: float | None) -> None:
        self._store.write(notices.failed, notice.id, problem=words, again_in=again)
        tell = log.error if again is None else log.warning
        event = "notice_given_up" if again is None else "notice_not_taken"
        tell(event, notice=notice.id, kind=notice.kind, reason=words, tries=notice.tries + 1)


def _again_in(notice: Notice, error: NotTaken) -> float | None:
    return None if error.final or notice.tries >= len(PAUSES) else PAUSES[notice.tries]
