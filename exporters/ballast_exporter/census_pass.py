"""One attempt at a census: which ranges are read, with or without values, and what is made of the answers."""

import itertools
import random
import threading
import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from ballast_exporter.census_asking import Asker
from ballast_exporter.census_members import Members
from ballast_exporter.census_terms import Progress, Settings, State
from kube_ballast.analysis.census import Census, Tally
from kube_ballast.analysis.keyspace import Layout
from kube_ballast.analysis.ranges import Kept, Walk, merged, remember, spans
from kube_ballast.clients.errors import BadResponse
from kube_ballast.clients.etcd.types import Scan, Status

_FIRST_KEYS = 16
_FEW = 64
_MEASURED_AT_LEAST = 20
_MEASURED_BLINDLY = 5
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class _Task:
    """A range to read; ``kept`` is what is known of it, None where nothing is."""

    start: bytes
    end: bytes
    kept: Kept | None


class Pass:
    """See the module's text. Runs once."""

    def __init__(
        self,
        settings: Settings,
        members: Members,
        *,
        before: tuple[Census | None, tuple[Kept, ...]],
        count: Callable[[str], None],
        progress: Callable[[Progress], None],
        cancel: threading.Event | None,
    ) -> None:
        self._settings = settings
        self._layout = Layout(settings.prefixes)
        self._members = members
        self._last, self._kept = before
        self._progress = progress
        self._tally = Tally(self._last.revision, self._last.records.mask) if self._last else Tally(None)
        self._lock = threading.Lock()
        self._share = 1.0
        self._stretches = Multiset(self._layout.place(kept.start) for kept in self._kept)
        self._chance = random.Random(0)  # noqa: S311 - which ranges are sampled is no secret
        self._asker = Asker(
            members,
            count=count,
            cancel=cancel or threading.Event(),
            waiting=lambda reason: self.tell("waiting", reason),
            pace=settings.pace,
            timeout=settings.timeout,
            look_every=settings.look_every,
            patience=settings.patience,
        )

    def tell(self, state: State, words: str = "") -> None:
        """Say how far it is."""
        chosen = self._members.chosen
        expected = None if self._last is None else self._last.keys
        endpoint = "" if chosen is None else chosen.endpoint
        self._progress(Progress(state, self._tally.keys, expected, self._tally.stored, endpoint, words))

    def run(self, restarts: int) -> tuple[Census, tuple[Kept, ...]]:
        """The census, and what to remember for the next one. Raises Compacted when it has to begin anew."""
        began = time.time()
        revision = self._asker.pin()
        source, status = self._members.chosen, self._members.status
        assert source is not None
        assert status is not None
        if self._last is not None and _is_another(self._last, status, revision):
            self._forget()
        oldest = self._asker.oldest_revision(self._last.compacted if self._last else 1)
        self._share = self._share_to_measure(status)
        kept = [*itertools.chain.from_iterable(self._each(self._read))]
        census = Census(
            revision=revision,
            since=self._last.revision if self._last else None,
            compacted=oldest,
            began=began,
            ended=time.time(),
            member=source.endpoint,
            status=status,
            restarts=restarts,
            requests=self._asker.requests,
            usage=self._tally.usage(),
            foreign=self._tally.foreign(),
            records=self._tally.records,
        )
        mask = self._tally.records.mask
        thin = (each.thinned(mask) for each in kept)
        return census, tuple(merged(thin, self._settings.page_keys, self._settings.page_bytes))

    def _forget(self) -> None:
        self._last, self._kept = None, ()
        self._tally = Tally(None)
        self._stretches.clear()

    def sweep(self) -> int:
        """How many keys there are, from the index."""
        return sum(self._each(lambda task: self._asker.keys_in(task.start, task.end)))

    def _each(self, work: Callable[[_Task], ResultT]) -> list[ResultT]:
        """``work`` on every range, in order; the first that fails ends them all."""
        tasks = [_Task(each.start, each.end, each) for each in self._kept] or [
            _Task(start, end, None) for start, end in spans(self._layout.prefixes, whole=self._settings.whole)
        ]
        if self._settings.parallel == 1:
            return [work(task) for task in tasks]
        with ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="census") as pool:
            futures = [pool.submit(work, task) for task in tasks]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self._asker.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _read(self, task: _Task) -> list[Kept]:
        return [*(self._explore(task) if task.kept is None else self._look_again(task.kept))]

    def _look_again(self, kept: Kept) -> Iterator[Kept]:
        """A range that was read before: one answer, several where it has grown.

        Keys alone tell what was written. Where that was little the last time, values are not asked for at first.
        """
        limit = 2 * self._settings.page_keys
        wanted = self._wants_sizes(kept.start)
        sizes = wanted and (kept.sizes is None or kept.changed > _FEW)
        scan = self._fetch(kept.start, kept.end, limit, sizes=sizes, kept=kept)
        if scan is None or self._nothing_new(kept, scan):
            fingerprint = kept.fingerprint if scan is None else scan.fingerprint
            yield from self._take([replace(kept, fingerprint=fingerprint, changed=0)])
            return
        start = kept.start
        if wanted:
            scan = self._with_known_sizes(kept, scan)
        scan = self._with_sizes(start, kept.end, scan, wanted=wanted)
        while scan.more:
            following = scan.keys[-1] + b"\0"
            yield from self._digest(start, following, scan, kept)
            start, scan = following, self._scan(following, kept.end, limit)
        yield from self._digest(start, kept.end, scan, kept)

    def _nothing_new(self, kept: Kept, scan: Scan) -> bool:
        since = self._tally.since
        return since is not None and kept.still_holds(scan, since) and (kept.sizes is not None or scan.sizes is None)

    def _with_known_sizes(self, kept: Kept, scan: Scan) -> Scan:
        """``scan`` with the sizes that are known and, where they are few, those of what was written since."""
        since = self._tally.since
        if scan.sizes is not None or kept.sizes is None or since is None:
            return scan
        written = [index for index, modified in enumerate(scan.modified) if modified > since]
        if len(written) > _FEW:
            return scan
        sizes = kept.sizes_of(scan.keys)
        read = self._asker.stored_sizes([scan.keys[index] for index in written])
        self._asker.pause(len(written), sum(size or 0 for size in read))
        for index, size in zip(written, read, strict=True):
            sizes[index] = size
        known = tuple([size for size in sizes if size is not None])
        return replace(scan, sizes=known) if len(known) == len(scan.keys) else scan

    def _explore(self, task: _Task) -> Iterator[Kept]:
        """A span of which nothing is known; few keys at a time first, since they may be large."""
        walk, start, limit = Walk(task.start, task.end), task.start, _FIRST_KEYS
        while True:
            until = walk.end_from(start)
            scan = self._scan(start, until, limit)
            walk.learn(start, scan, limit)
            following = scan.keys[-1] + b"\0" if scan.more else until
            yield from self._digest(start, following, scan, None)
            if following == task.end:
                return
            start, limit = following, self._next_limit(limit, scan)

    def _next_limit(self, limit: int, scan: Scan) -> int:
        most = min(2 * limit, self._settings.page_keys)
        if scan.sizes:
            most = min(most, self._settings.page_bytes * len(scan.sizes) // sum(scan.sizes))
        return max(2, most)

    def _scan(self, start: bytes, end: bytes, limit: int) -> Scan:
        wanted = self._wants_sizes(start)
        scan = self._fetch(start, end, limit, sizes=wanted)
        assert scan is not None, "nothing was seen before"
        return self._with_sizes(start, end, scan, wanted=wanted)

    def _with_sizes(self, start: bytes, end: bytes, scan: Scan, *, wanted: bool) -> Scan:
        """``scan``, or the same keys with sizes: those of small resources, several to a range, are never sampled."""
        if scan.sizes is not None or not self._share or not scan.keys:
            return scan
        if not wanted and sum(1 for _ in itertools.islice(self._layout.runs(scan.keys), 2)) == 1:
            return scan
        again = self._fetch(start, end, len(scan.keys), sizes=True)
        assert again is not None, "nothing was seen before"
        return again

    def _fetch(self, start: bytes, end: bytes, limit: int, *, sizes: bool, kept: Kept | None = None) -> Scan | None:
        """One answer, a smaller one where the whole is too large to be received; None if it says what ``kept`` says."""
        while True:
            try:
                scan = self._asker.scan(start, end, limit, sizes=sizes, seen=kept.fingerprint if kept else None)
            except BadResponse:
                if limit <= 1:
                    raise
                limit //= 2
                continue
            if scan is not None:
                self._asker.pause(len(scan.keys), sum(scan.sizes or ()))
            elif kept is not None:
                self._asker.pause(kept.keys, (kept.stored or 0) if sizes else 0)
            return scan

    def _digest(self, start: bytes, end: bytes, scan: Scan, before: Kept | None) -> list[Kept]:
        settings, since = self._settings, self._tally.since
        changed = len(scan.keys) if since is None else sum(map(since.__lt__, scan.modified))
        ranges = [
            *remember(
                start,
                end,
                scan,
                self._layout,
                changed=changed,
                mask=self._tally.records.mask,
                most_keys=settings.page_keys,
                most_bytes=settings.page_bytes,
            )
        ]
        with self._lock:
            self._tally.add_writes(scan, before, self._layout)
        return self._take(ranges)

    def _take(self, ranges: list[Kept]) -> list[Kept]:
        with self._lock:
            for kept in ranges:
                self._tally.add(kept)
        self.tell("reading")
        return ranges

    def _share_to_measure(self, status: Status) -> float:
        """Of all ranges, those whose sizes may be read. What is in use holds all values, and as a rule more."""
        most = self._settings.measure
        if most is None:
            return 1.0
        stored = self._last.stored if self._last and self._last.stored else status.db_size_in_use
        return min(1.0, most / max(1.0, stored))

    def _wants_sizes(self, start: bytes) -> bool:
        """Chance decides, but of each resource enough is read to tell the error, where it has as much."""
        if self._share in {0.0, 1.0}:
            return bool(self._share)
        place = self._layout.place(start)
        with self._lock:
            known = self._stretches[place]
            if not known and self._tally.measured(place) < _MEASURED_BLINDLY:
                return True
            return self._chance.random() < max(self._share, _MEASURED_AT_LEAST / known if known else 0.0)


def _is_another(last: Census, status: Status, revision: int) -> bool:
    """Whether this etcd was restored from a snapshot, or put in the other's place, since the census before."""
    return status.cluster_id != last.status.cluster_id or revision < last.revision
