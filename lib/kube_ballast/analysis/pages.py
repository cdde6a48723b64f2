"""What keys take on etcd's pages: bbolt's rules, applied to a sample of the live revisions. Pure.

etcd appends each revision of a key to one B+ tree, in the order of revisions (bucket ``key``). So what surrounds a live
record on its page are its neighbours in time, and what a compaction gives back depends on how the superseded ones lie
between the live ones: a page goes only when all its records do, or when so few are left that they move in with a
neighbour. A defragmentation writes the records anew, densely.

Source: bbolt 1.3 and 1.4, node.go (``splitTwo``, ``splitIndex``, ``rebalance``) and page.go; etcd 3.5 and 3.6,
server/storage/backend (``FillPercent`` 0.9 for appends, defragmentation included).
"""

import math
from collections.abc import Iterable, Sequence

PAGE_BYTES = 4096
"""bbolt takes the operating system's page size; 4 KiB wherever Kubernetes' masters run."""
FILLED_BYTES = 3686
_HEADER = 16
_PER_RECORD = 16 + 17
"""The element's header, and the revision that is the record's key."""
_MIN_RECORDS = 2
_UNDERFULL_BYTES = PAGE_BYTES // 4
_OTHER_PAGES = 10
"""Roots, freelist and the buckets of etcd itself."""

SAMPLE = 65536
_BLOCK_BITS = 8
_TOO_MANY = 0.9


class Records:
    """A sample of live revisions in whole blocks of neighbouring ones, at most ``SAMPLE`` records and then thinned.

    What it computes holds for all of them. A record is a pair of the revision that wrote it and the bytes stored; those
    whose revision has a bit of ``mask`` are left out.
    """

    def __init__(self, mask: int = 0) -> None:
        self._sample: list[tuple[int, int]] = []
        self.mask = mask

    def __len__(self) -> int:
        return len(self._sample)

    def add(self, records: Iterable[tuple[int, int]]) -> None:
        """Live records."""
        mine = self.mask
        self._sample += [each for each in records if not each[0] & mine] if mine else records
        while len(self._sample) > SAMPLE:
            mask = self.mask << 1 | 1 << _BLOCK_BITS
            kept = [each for each in self._sample if not each[0] & mask]
            if len(kept) > _TOO_MANY * len(self._sample):  # transactions so large that all is in one block
                self._sample = self._sample[::2]
            else:
                self._sample, self.mask = kept, mask  # every second block goes

    def packed_bytes(self, keys: int) -> float:
        """What ``keys`` records such as these take once they have been compacted and defragmented."""
        return self._scaled(_written_pages([size for _, size in sorted(self._sample)]), keys)

    def bytes_after_compaction(self, keys: int, compacted: int) -> float:
        """What is in use after a compaction to the present, when the last one was to revision ``compacted``.

        An estimate: how densely the records before ``compacted`` lie is taken to be as if they were written anew.
        """
        ordered = sorted(self._sample)
        old = _written_pages([size for revision, size in ordered if revision <= compacted])
        return self._scaled(old + _left_pages([each for each in ordered if each[0] > compacted]), keys)

    def _scaled(self, pages: int, keys: int) -> float:
        scale = keys / len(self._sample) if self._sample else 0.0
        return (pages * scale + _OTHER_PAGES) * PAGE_BYTES


def _pages(content: int) -> int:
    return -(-content // PAGE_BYTES)


def _written_pages(sizes: Iterable[int], filled: int = FILLED_BYTES) -> int:
    """Pages of records written one after the other: at least two share a node, which then may take several pages."""
    pages, content, records = 0, _HEADER, 0
    for size in sizes:
        if records >= _MIN_RECORDS and content + size + _PER_RECORD > filled:
            pages += _pages(content)
            content, records = _HEADER, 0
        content += size + _PER_RECORD
        records += 1
    return pages + (_pages(content) if records else 0)


def _left_pages(records: Sequence[tuple[int, int]]) -> int:
    """Pages that stay when everything between these records goes.

    The neighbours that went are taken to have been as large as those that stay: that says how many revisions a page
    held, and with that which of them shared one.
    """
    nodes: list[list[int]] = []
    last, before, nth = None, None, 0
    for first in range(0, len(records), _MIN_RECORDS * 16):
        block = records[first : first + _MIN_RECORDS * 16]
        mean = math.fsum(size + _PER_RECORD for _, size in block) / len(block)
        held = max(_MIN_RECORDS, int((FILLED_BYTES - _HEADER) / mean))
        alike = len(block) / len({revision for revision, _ in block})
        for revision, size in block:
            # A transaction may write many at one revision, side by side. Which of them went is not known: none, then;
            # an apiserver writes one.
            nth = nth + 1 if revision == before else 0
            page = (held, int(revision * alike / held), nth // held)
            if nodes and last == page:
                nodes[-1].append(size)
            else:
                nodes.append([size])
            last, before = page, revision
    return sum(map(_node_pages, _rebalanced(nodes)))


def _rebalanced(nodes: Iterable[list[int]]) -> Iterable[list[int]]:
    """A node that is nearly empty, or has one record, moves in with the one before it, which takes one only."""
    left: list[list[int]] = []
    taken = True
    for node in nodes:
        underfull = len(node) < _MIN_RECORDS or _HEADER + sum(node) + len(node) * _PER_RECORD <= _UNDERFULL_BYTES
        if underfull and not taken:
            left[-1].extend(node)
            taken = True
        else:
            left.append(list(node))
            taken = False
    return left


def _node_pages(sizes: Sequence[int]) -> int:
    content = _HEADER + sum(sizes) + len(sizes) * _PER_RECORD
    if content <= PAGE_BYTES or len(sizes) <= 2 * _MIN_RECORDS:
        return _pages(content)
    return _written_pages(sizes, PAGE_BYTES // 2)
