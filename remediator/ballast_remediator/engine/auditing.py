"""Checks the audit's chain all the time, a little at once: somebody may edit the store while nobody asks."""

import time
from collections.abc import Iterator
from typing import Final

import structlog

from ballast_remediator.chain import BEGINNING, Break, Chain, Entry, Head, Known, Page, Told, named_by
from ballast_remediator.store import verifying
from ballast_remediator.store.database import Store
from ballast_remediator.store.writer import StoreUnavailable

EVERY: Final = 300.0
"""Seconds between two checks of what was added."""
WHOLE_EVERY: Final = 86400.0
"""Seconds between two checks of everything."""
AGAIN: Final = 3600.0
"""Seconds until a chain that was found broken is checked again, as a whole."""
PART: Final = 500
"""Entries that are checked in one turn: some milliseconds of computing."""

log = structlog.get_logger()


class AuditCheck:
    """What is known of the audit. It remembers the last entry it saw, so that it notices an end that is cut off.

    ``problem`` says in words what is wrong, None while nothing is; ``verified_seq`` is the last entry up to which all
    held, at ``verified_at``, in seconds since the epoch, None before the first check has ended.
    """

    def __init__(self, store: Store) -> None:
        self.problem: str | None = None
        self.verified_seq = 0
        self.verified_at: float | None = None
        self._store = store
        self._chain = Chain()
        self._known = Known(())
        self._walk: Iterator[Entry | Break] | None = None
        self._due = self._whole_due = float("-inf")

    def turn(self) -> bool:
        """Does a part of what is due; whether there is more of it. Raises `StoreUnavailable`."""
        if self._walk is None:
            if time.monotonic() < self._due:
                return False
            self._walk = self._begun()
        try:
            for _ in range(PART):
                found = next(self._walk, None)
                if found is None or isinstance(found, Break):
                    self._end(found)
                    return False
                for head in named_by(found):
                    self._known.see(head)
        except StoreUnavailable:
            self._walk, self._due = None, time.monotonic() + EVERY
            raise
        return True

    def _begun(self) -> Iterator[Entry | Break]:
        """From the beginning when that is due, else from the last entry that was checked, if it is still there."""
        seen = self._chain.head
        self._known = Known(() if seen == BEGINNING else (seen,))
        if time.monotonic() >= self._whole_due:
            self._chain, self._whole_due = Chain(), time.monotonic() + WHOLE_EVERY
        return self._chain.follow(self._pages(self._chain.head))

    def _pages(self, start: Head) -> Iterator[Page]:
        """What is behind ``start``, which is looked at once more itself."""
        after = start.seq
        if after:
            for entry in self._store.read(verifying.page, after=after - 1, limit=1).entries:
                self._known.see(entry.head)
        while True:
            page = self._store.read(verifying.page, after=after, limit=PART)
            yield page
            if not page.entries:
                return
            after = page.entries[-1].seq

    def _end(self, broken: Break | None) -> None:
        problem = None
        if broken is not None:
            problem = f"entry {broken.seq} of the audit ({broken.kind}): {broken.words}"
        elif Told.MISSING in self._known.told(self._chain).values():
            problem = (
                f"entry {self.verified_seq} of the audit was there when it was checked last, and is gone: its end was "
                "cut off, or it was written anew"
            )
        now = time.monotonic()
        self._walk, self._due = None, now + (EVERY if problem is None else AGAIN)
        if problem is None:
            self.verified_seq, self.verified_at = self._chain.head.seq, self._store.now()
        else:
            self._whole_due = self._due
        if problem is not None and problem != self.problem:
            log.error("audit_broken", reason=problem, todo="ballastctl audit verify")
        self.problem = problem
