"""Reading a keyspace in pieces: nothing is left out, nothing is read twice, and the pieces stay small."""

from bisect import bisect_left
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.keyspace import Layout
from kube_ballast.analysis.ranges import END, FIRST, Kept, Walk, merged, remember, spans
from kube_ballast.clients.etcd.types import Scan

KEYS = st.lists(
    st.tuples(
        st.sampled_from([b"/registry/pods/ns-1/", b"/registry/pods/ns-2/", b"/registry/x.io/y/", b"", b"\xff\xff"]),
        st.binary(max_size=70),
    )
    .map(b"".join)
    .filter(bool),
    unique=True,
).map(sorted)


LAYOUT = Layout(["/registry", "/registry/x.io"])


class Store:
    """Sorted keys that are asked as etcd is."""

    def __init__(self, keys: list[bytes]) -> None:
        self.keys = keys
        self.counted: list[int] = []

    def scan(self, start: bytes, end: bytes, limit: int) -> Scan:
        found = self.keys[bisect_left(self.keys, start) : len(self.keys) if end == END else bisect_left(self.keys, end)]
        self.counted.append(len(found))
        keys = tuple(found[:limit])
        ones = (1,) * len(keys)
        return Scan(keys, ones, ones, ones, tuple(map(len, keys)), len(found), len(found) > limit, 1, hash(keys))


def walk(store: Store, start: bytes, end: bytes, limit: int) -> list[Kept]:
    made: list[Kept] = []
    walk = Walk(start, end)
    while True:
        until = walk.end_from(start)
        scan = store.scan(start, until, limit)
        walk.learn(start, scan, limit)
        following = scan.keys[-1] + b"\0" if scan.more else until
        made += remember(start, following, scan, LAYOUT, changed=0, mask=0, most_keys=limit, most_bytes=10**9)
        if not scan.more and until == end:
            return made
        assert following > start
        start = following


@given(KEYS, st.integers(1, 20))
def test_a_walk_meets_every_key_once(keys: list[bytes], limit: int) -> None:
    ranges = walk(Store(keys), FIRST, END, limit)
    assert sum(each.keys for each in ranges) == len(keys)
    assert [hash(key) for key in keys] == [each for kept in ranges for each in kept.hashes]


@given(KEYS, st.integers(1, 20), st.integers(1, 40), st.integers(1, 2000))
def test_remembered_ranges_cover_everything_without_a_gap(
    keys: list[bytes], limit: int, most_keys: int, most_bytes: int
) -> None:
    ranges = [*merged(walk(Store(keys), FIRST, END, limit), most_keys, most_bytes)]
    assert (ranges[0].start, ranges[-1].end) == (FIRST, END)
    assert all(one.end == other.start for one, other in pairwise(ranges))
    store = Store(keys)
    for each in ranges:
        scan = store.scan(each.start, each.end, len(keys) + 1)
        assert each.known() == {hash(key): 1 for key in scan.keys}
        assert each.sizes_of(scan.keys) == [*map(len, scan.keys)]
        assert each.sizes_of((*scan.keys, b"nowhere")) == [*map(len, scan.keys), None]
        assert each.stored == sum(map(len, scan.keys))


def test_a_walk_over_a_cluster_counts_little_more_than_it_reads() -> None:
    keys = sorted(
        f"/registry/{resource}/namespace-{number // 20:05}/{resource}-{number * 7919 % 1000003:06x}".encode()
        for resource in ("configmaps", "events", "leases", "pods", "secrets", "x.example.com/widgets")
        for number in range(20_000)
    )
    store = Store(keys)
    ranges = [kept for start, end in spans([b"/registry/"], whole=True) for kept in walk(store, start, end, 500)]
    assert sum(each.keys for each in ranges) == len(keys)
    assert len(store.counted) < 5 * len(keys) / 500
    assert max(store.counted) <= 20_000
    assert sum(store.counted) < 7 * len(keys)


@given(st.sets(st.sampled_from([b"/", b"/registry/", b"/registry/x.io/", b"/a/"]), min_size=1), st.booleans())
def test_spans_leave_no_gap_and_do_not_overlap(prefixes: set[bytes], whole: bool) -> None:  # noqa: FBT001
    found = spans(prefixes, whole=whole)
    limits = [(start, None if end == END else end) for start, end in found]
    assert all(end is None or start < end for start, end in limits)
    assert all(end is not None and end <= start for (_, end), (start, _) in pairwise(limits))
    for key in (b"\0", b"/registry/pods/a", b"/registry/~", b"/registry0", b"/b", b"\xff\xff"):
        inside = sum(start <= key and (end is None or key < end) for start, end in limits)
        assert inside == (whole or any(key.startswith(prefix) for prefix in prefixes))


def test_what_has_grown_is_split() -> None:
    keys = [b"%05d" % number for number in range(1000)]
    scan = Store(keys).scan(FIRST, END, 1000)
    pieces = [*remember(FIRST, END, scan, LAYOUT, changed=0, mask=0, most_keys=300, most_bytes=10**9)]
    assert [piece.keys for piece in pieces] == [333, 333, 334]
    assert [(piece.start, piece.end) for piece in pieces] == [(FIRST, b"00333"), (b"00333", b"00666"), (b"00666", END)]
    by_bytes = remember(
        FIRST, END, scan, LAYOUT, changed=0, mask=0, most_keys=1000, most_bytes=1250
    )  # a size is five bytes here
    assert [piece.keys for piece in by_bytes] == [250, 250, 250, 250]
