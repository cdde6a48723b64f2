r"""How a keyspace is read in bounded pieces: what to remember of each, and how to find pieces where nothing is known.

With ``limit``, etcd counts everything up to the range's end on every page, so reading page by page costs the square of
the number of keys, while a range that is bounded on both sides costs what it holds. A range is ``[start, end)``;
``END`` (``\0``) as its end means "to the last key", as it does to etcd. Pure.
"""

import heapq
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from string import ascii_lowercase
from typing import NamedTuple

from kube_ballast.analysis.keyspace import Layout, Place
from kube_ballast.clients.etcd.types import Scan, prefix_end

FIRST = b"\0"
END = b"\0"
LARGEST = 20
_WIDTH = 64
_BLIND_BYTES = 2
_GROW_EMPTY = 8
_GROW = 2


class Sized(NamedTuple):
    """A key and the bytes stored for it."""

    size: int
    key: bytes


class Part(NamedTuple):
    """What a range holds of one place: ``stored`` bytes and the ``LARGEST`` largest, None and none if not measured."""

    place: Place
    keys: int
    stored: int | None
    largest: tuple[Sized, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """What is remembered of a range from one census to the next: 20 bytes a key.

    ``hashes``, ``versions`` and ``sizes`` are of its keys, in their order; ``sizes`` None when they were not measured.
    ``sample`` are (revision, size) of some of its keys, as ``pages.Records`` takes them. ``fingerprint`` is of an
    answer that says all this, None when no single one did; ``changed`` how many keys had been written, or made, when it
    was last looked at.
    """

    start: bytes
    end: bytes
    hashes: "array[int]"
    versions: "array[int]"
    sizes: "array[int] | None"
    parts: tuple[Part, ...]
    sample: tuple[tuple[int, int], ...]
    changed: int
    fingerprint: int | None = None

    @property
    def keys(self) -> int:
        """How many there are."""
        return len(self.hashes)

    @property
    def stored(self) -> int | None:
        """Their bytes; None when not all were measured."""
        measured = [part.stored for part in self.parts if part.stored is not None]
        return sum(measured) if len(measured) == len(self.parts) else None

    def sizes_of(self, keys: Sequence[bytes]) -> list[int | None]:
        """The size that each key had; None for one that was not here, and of all when they were not measured."""
        if self.sizes is None:
            return [None] * len(keys)
        hashes = array("q", map(hash, keys))
        if hashes == self.hashes:
            return [*self.sizes]
        known = dict(zip(self.hashes, self.sizes, strict=True))
        return [known.get(each) for each in hashes]

    def known(self) -> Mapping[int, int]:
        """The version of each key by its hash, which holds within this process only."""
        return dict(zip(self.hashes, self.versions, strict=True))

    def thinned(self, mask: int) -> "Kept":
        """The same with a smaller sample."""
        return replace(self, sample=tuple([each for each in self.sample if not each[0] & mask]))

    def still_holds(self, scan: Scan, since: int) -> bool:
        """Whether ``scan`` shows nothing that was written or deleted after revision ``since``, when this was made."""
        return len(scan.keys) == self.keys and not scan.more and max(scan.modified, default=0) <= since


def remember(
    start: bytes, end: bytes, scan: Scan, layout: Layout, *, changed: int, mask: int, most_keys: int, most_bytes: int
) -> Iterator[Kept]:
    """``scan`` of ``[start, end)`` as ranges of about ``most_keys`` and ``most_bytes``: what has grown is split.

    ``changed`` of its keys are new or written anew. ``mask`` says which records to keep as a sample: those whose
    revision has none of its bits.
    """
    for_bytes = 0 if scan.sizes is None else -(-sum(scan.sizes) // most_bytes)
    pieces = max(1, min(len(scan.keys), max(round(len(scan.keys) / most_keys), for_bytes)))
    bounds = [len(scan.keys) * piece // pieces for piece in range(pieces + 1)]
    for first, last in pairwise(bounds):
        keys, modified = scan.keys[first:last], scan.modified[first:last]
        sizes = None if scan.sizes is None else scan.sizes[first:last]
        yield Kept(
            start if first == 0 else scan.keys[first],
            end if last == len(scan.keys) else scan.keys[last],
            array("q", map(hash, keys)),
            array("q", scan.versions[first:last]),
            None if sizes is None else array("I", sizes),
            tuple(_parts(keys, sizes, layout)),
            () if sizes is None else tuple([each for each in zip(modified, sizes, strict=True) if not each[0] & mask]),
            changed,
            fingerprint=scan.fingerprint if pieces == 1 else None,
        )


def _parts(keys: Sequence[bytes], sizes: Sequence[int] | None, layout: Layout) -> Iterator[Part]:
    for place, first, last in layout.runs(keys):
        if sizes is None:
            yield Part(place, last - first, None, ())
        else:
            some = sizes[first:last]
            yield Part(place, last - first, sum(some), _largest(some, keys[first:last]))


def _largest(sizes: Sequence[int], keys: Sequence[bytes]) -> tuple[Sized, ...]:
    """As ``largest_of``, of many that are often alike: keys are looked at only where sizes are large enough."""
    floor = sorted(sizes)[-LARGEST:][0]
    larger = [each for each in zip(sizes, keys, strict=True) if each[0] > floor]
    alike = ((size, key) for size, key in zip(sizes, keys, strict=True) if size == floor)
    return largest_of([*larger, *islice(alike, LARGEST - len(larger))])


def largest_of(sized: Iterable[tuple[int, bytes]]) -> tuple[Sized, ...]:
    """The ``LARGEST`` largest, the largest first."""
    return tuple([Sized(size, key) for size, key in heapq.nlargest(LARGEST, sized)])


def merged(ranges: Iterable[Kept], most_keys: int, most_bytes: int) -> Iterator[Kept]:
    """Neighbouring ranges put together as long as they stay within both limits: what has shrunk."""
    group: list[Kept] = []
    for each in ranges:
        if group and not (_fits([*group, each], most_keys, most_bytes) and group[-1].end == each.start):
            yield _joined(group)
            group = []
        group.append(each)
    if group:
        yield _joined(group)


def _fits(group: Sequence[Kept], most_keys: int, most_bytes: int) -> bool:
    return sum(each.keys for each in group) <= most_keys and sum(each.stored or 0 for each in group) <= most_bytes


def _joined(group: Sequence[Kept]) -> Kept:
    if len(group) == 1:
        return group[0]
    hashes, versions, sizes = array("q"), array("q"), array("I")
    for each in group:
        hashes.extend(each.hashes)
        versions.extend(each.versions)
        sizes.extend(each.sizes or ())
    parts: list[Part] = []
    for part in (part for each in group for part in each.parts):
        if parts and parts[-1].place == part.place:
            last = parts.pop()
            stored = None if last.stored is None or part.stored is None else last.stored + part.stored
            largest = () if stored is None else largest_of((*last.largest, *part.largest))
            parts.append(Part(part.place, last.keys + part.keys, stored, largest))
        else:
            parts.append(part)
    sample = tuple([record for each in group for record in each.sample])
    return Kept(
        group[0].start,
        group[-1].end,
        hashes,
        versions,
        sizes if len(sizes) == len(hashes) else None,
        tuple(parts),
        sample,
        changed=sum(each.changed for each in group),
    )


def spans(prefixes: Iterable[bytes], *, whole: bool) -> list[tuple[bytes, bytes]]:
    """Where to look, in order and without a gap: below each prefix, letter by letter, and with ``whole`` elsewhere too.

    A first guess that goes too far then counts the keys of one letter, not of the whole cluster.
    """
    inside = {*prefixes}
    marks: set[bytes] = set()
    for prefix in inside:
        marks |= {prefix, prefix_end(prefix), *(prefix + letter.encode() for letter in ascii_lowercase)}
    ordered = pairwise([FIRST, *sorted(marks), END])
    return [(start, end) for start, end in ordered if whole or any(start.startswith(prefix) for prefix in inside)]


class Walk:
    """Ends for bounded reads through ``[start, end)`` when nothing is known of its keys.

    Keys are taken as numbers; the distance that held the last keys is tried again, longer where few were found. A guess
    that falls short costs an empty answer, one that goes too far the counting of what lies in it, and no key is missed:
    the next read begins where the last one ended.
    """

    def __init__(self, start: bytes, end: bytes) -> None:
        self._last = None if end == END else end
        same = _common(start, end) if self._last else 0
        self._step = 256 ** max(0, _WIDTH - same - _BLIND_BYTES)

    def end_from(self, start: bytes) -> bytes:
        """The end of the next read; later than ``start``."""
        number = _number(start) + self._step
        if number >= 256**_WIDTH:
            return self._last or END
        end = number.to_bytes(_WIDTH, "big").rstrip(b"\0")
        return end if self._last is None or end < self._last else self._last

    def learn(self, start: bytes, scan: Scan, wanted: int) -> None:
        """What the read from ``start`` gave, when ``wanted`` keys were hoped for."""
        if scan.more:
            self._step = max(1, _number(scan.keys[-1]) - _number(start))
        elif not scan.keys:
            self._step *= _GROW_EMPTY
        elif len(scan.keys) * _GROW <= wanted:
            self._step *= _GROW


def _number(key: bytes) -> int:
    return int.from_bytes(key[:_WIDTH].ljust(_WIDTH, b"\0"), "big")


def _common(one: bytes, other: bytes) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length
