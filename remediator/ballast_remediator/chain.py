"""Checks the audit's chain of hashes, wherever its entries come from, without believing who gives them. No I/O.

Each entry's hash covers its content and the hash before it, and its number is the one after the last. What was edited,
taken out, put in or moved breaks that at a place that can be named. A whole chain can still have lost its end, or have
been computed anew by whoever may write to the store: that shows only against a head that was written down elsewhere.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from typing import Any, Final

from ballast_remediator.contract import canonical

GENESIS: Final = "0" * 64
"""What the first entry of all has for the hash before it."""
TRIMMED: Final = "audit_trimmed"
"""The event by which retention says, in the audit itself, at which checkpoint it begins from now on."""
LOOK_AHEAD: Final = 1000
"""Entries after a break that are searched for the one that belongs there, which tells moved from taken out."""


@dataclass(frozen=True, slots=True)
class Head:
    """The number and the hash of one entry; ``seq`` 0 is before the first."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


BEGINNING: Final = Head(0, GENESIS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it is kept. ``at`` is seconds since the epoch; ``data`` is what its JSON says."""

    seq: int
    at: float
    run_id: str | None
    event: str
    actor: str
    words: str
    data: Any
    previous_hash: str
    hash: str

    @property
    def head(self) -> Head:
        """What names it."""
        return Head(self.seq, self.hash)

    def covered(self) -> bool:
        """Whether its hash is the one of its content."""
        content = {
            "at": self.at,
            "run_id": self.run_id,
            "event": self.event,
            "actor": self.actor,
            "words": self.words,
            "data": self.data,
        }
        try:
            covered = hashlib.sha256(self.previous_hash.encode() + canonical(content)).hexdigest()
        except UnicodeEncodeError:  # half of a surrogate pair, which no entry was ever written with
            return False
        return covered == self.hash


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries in order, and the last entry that retention dropped, if it ever did."""

    checkpoint: Head | None
    entries: tuple[Entry, ...]


class Kind(StrEnum):
    """What was done to the chain."""

    EDITED = "edited"
    DROPPED = "dropped"
    INSERTED = "inserted"
    REORDERED = "reordered"


@dataclass(frozen=True, slots=True)
class Break:
    """Where the chain breaks first: at entry ``seq``. ``around`` are the entries before, at and after that place."""

    kind: Kind
    seq: int
    words: str
    around: tuple[Entry, ...]


class Told(StrEnum):
    """What the chain says of a head that somebody wrote down."""

    FOUND = "found"
    MISSING = "missing"
    """The end was cut off, or the chain was written anew."""
    BEFORE = "before"
    """It may lie before the checkpoint: this chain cannot tell."""


class Chain:
    """Follows the audit, entry by entry, in constant memory.

    ``head`` is the last entry that holds; ``entries`` are so many that were followed, ``first_at`` and ``last_at`` the
    times of the first and the last of them, in seconds since the epoch.
    """

    def __init__(self, start: Head = BEGINNING) -> None:
        """``start`` is an entry that is known to be genuine: what follows has to follow from it."""
        self.head = start
        self.checkpoint: Head | None = None
        self.entries = 0
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._before: Entry | None = None
        self._last: Entry | None = None
        self._unannounced: Head | None = None

    def follow(self, pages: Iterable[Page]) -> Iterator[Entry | Break]:
        """Gives each entry that holds, and in the end the first break if there is one.

        Retention may go on meanwhile: from a later checkpoint on, the chain is taken up again there.
        """
        following = iter(pages)
        for page in following:
            self._take_up(page.checkpoint)
            for number, entry in enumerate(page.entries):
                if not self._follows(entry):
                    rest = chain(page.entries[number + 1 :], (one for other in following for one in other.entries))
                    yield self._break(entry, list(islice(rest, LOOK_AHEAD)))
                    return
                self._advance(entry)
                yield entry
        if self._unannounced is not None:
            yield self._cut_at_the_beginning(self._unannounced)

    def _take_up(self, checkpoint: Head | None) -> None:
        if checkpoint is None or checkpoint == self.checkpoint:
            return
        self.checkpoint = checkpoint
        if checkpoint.seq > self.head.seq:  # else it was dropped after it was followed
            self.head, self._last, self._before = checkpoint, None, None
            self._unannounced = checkpoint

    def _follows(self, entry: Entry) -> bool:
        return (entry.seq, entry.previous_hash) == (self.head.seq + 1, self.head.hash) and entry.covered()

    def _advance(self, entry: Entry) -> None:
        self._before, self._last, self.head = self._last, entry, entry.head
        self.entries += 1
        self.first_at = entry.at if self.first_at is None else self.first_at
        self.last_at = entry.at
        if self._unannounced is not None and self._unannounced in named_by(entry):
            self._unannounced = None

    def _break(self, entry: Entry, rest: list[Entry]) -> Break:
        around = tuple(one for one in (self._before, self._last, entry, *rest[:1]) if one is not None)
        last = self.head.seq
        if not entry.covered():
            words = "its hash does not cover what it says: its content, or the hash, was changed after it was written"
            return Break(Kind.EDITED, entry.seq, words, around)
        if entry.previous_hash == self.head.hash:
            words = f"it follows from entry {last} and is numbered {entry.seq}: its number was changed"
            return Break(Kind.EDITED, entry.seq, words, around)
        belongs = next((one for one in rest if one.previous_hash == self.head.hash), None)
        if belongs is not None:
            words = f"the entry that follows from entry {last} stands at {belongs.seq}: the order was changed"
            return Break(Kind.REORDERED, entry.seq, words, around)
        if self._last is not None and entry.previous_hash == self._last.previous_hash:
            words = f"entry {entry.seq} does not follow from it, but from the one before: it was put in"
            return Break(Kind.INSERTED, last, words, around)
        return Break(Kind.DROPPED, entry.seq, _missing(last, entry.seq), around)

    def _cut_at_the_beginning(self, checkpoint: Head) -> Break:
        words = (
            f"everything up to entry {checkpoint.seq} is gone, and no entry says that retention dropped it: "
            "the beginning was cut off"
        )
        return Break(Kind.DROPPED, checkpoint.seq + 1, words, ())


def named_by(entry: Entry) -> tuple[Head, ...]:
    """What an entry proves to have been in the chain: itself, and the checkpoint that it tells of."""
    data = entry.data if entry.event == TRIMMED and isinstance(entry.data, Mapping) else {}
    seq, digest = data.get("seq"), data.get("hash")
    return (entry.head, Head(seq, digest)) if isinstance(seq, int) and isinstance(digest, str) else (entry.head,)


class Known:
    """Heads that somebody wrote down, by number and hash or by hash alone, and what the chain says of each."""

    def __init__(self, heads: Iterable[Head | str]) -> None:
        self._open = set(heads)
        self._found: set[Head | str] = set()

    def see(self, head: Head) -> None:
        """This one is in the chain."""
        for one in self._open & {head, head.hash}:
            self._open.discard(one)
            self._found.add(one)

    def told(self, followed: Chain) -> Mapping[Head | str, Told]:
        """Of each head, after the chain was followed to its end."""
        if followed.checkpoint is not None:
            self.see(followed.checkpoint)
        return dict.fromkeys(self._found, Told.FOUND) | {one: _lost(one, followed.checkpoint) for one in self._open}


def _lost(head: Head | str, checkpoint: Head | None) -> Told:
    if checkpoint is None or (isinstance(head, Head) and head.seq >= checkpoint.seq):
        return Told.MISSING
    return Told.BEFORE


def _missing(last: int, seq: int) -> str:
    if seq > last + 2:
        return f"entries {last + 1} to {seq - 1} are missing before it"
    if seq == last + 2:
        return f"entry {last + 1} is missing before it"
    before = f"entry {last}" if last else "the beginning"
    return (
        f"it does not follow from {before}: either what stood between them was taken out, or {before} was "
        "written anew with a hash of its own"
    )
