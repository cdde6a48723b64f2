r"""What fills etcd: keys and bytes by Kubernetes resource, what is written, and where the rest of the file is.

Gives, per etcd (HELP and TYPE lines left out)::

    ballast_etcd_keyspace_keys{etcd_cluster="main",group="",resource="events"} 90000.0
    ballast_etcd_keyspace_live_bytes{etcd_cluster="main",group="",resource="events"} 6.3e+07
    ballast_etcd_keyspace_sampling_error_bytes{etcd_cluster="main",group="",resource="events"} 0.0
    ballast_etcd_keyspace_largest_bytes{etcd_cluster="main",group="",resource="events"} 4096.0
    ballast_etcd_keyspace_writes_per_second{etcd_cluster="main",group="",resource="events"} 12.5
    ballast_etcd_keyspace_unattributed_writes_per_second{etcd_cluster="main"} 11.0
    ballast_etcd_keyspace_foreign_keys{etcd_cluster="main",owner="cilium"} 1200.0
    ballast_etcd_keyspace_foreign_bytes{etcd_cluster="main",owner="cilium"} 240000.0
    ballast_etcd_keyspace_space_bytes{etcd_cluster="main",part="live"} 9.4371e+07
    ballast_etcd_keyspace_space_bytes{etcd_cluster="main",part="half_empty"} 5242880.0
    ballast_etcd_keyspace_space_bytes{etcd_cluster="main",part="history"} 2.097152e+07
    ballast_etcd_keyspace_space_bytes{etcd_cluster="main",part="free"} 1.048576e+07
    ballast_etcd_keyspace_census_success{etcd_cluster="main"} 1.0
    ballast_etcd_keyspace_census_timestamp_seconds{etcd_cluster="main"} 1.7e+09
    ballast_etcd_keyspace_census_duration_seconds{etcd_cluster="main"} 31.5
    ballast_etcd_keyspace_census_revision{etcd_cluster="main"} 4711.0
    ballast_etcd_keyspace_census_exact{etcd_cluster="main"} 1.0
    ballast_etcd_keyspace_census_restarts{etcd_cluster="main"} 0.0
    ballast_etcd_keyspace_object_bytes{etcd_cluster="main",group="",key="/registry/…",resource="secrets"} 1.2e+06

* All numbers are those of the last whole census (``census_timestamp_seconds``), at one revision; a census that came to
  nothing changes ``census_success`` alone. After three times ``every`` without one, nothing is told any more.
* ``live_bytes`` are what etcd stores for the keys as they are. ``sampling_error_bytes`` is 0 where all sizes were read;
  otherwise the truth is within it with 95 % confidence. Both are absent where no size was read.
* ``group`` and ``resource`` are the API's. The ``top`` resources with the largest share of bytes, keys or writes are
  told, all others together as ``resource="(other)"``; the 10 largest strangers likewise.
* ``writes_per_second`` is the mean between the last two censuses, of keys that are still there; a gauge and no counter,
  since resources come into the top and leave it. ``unattributed_writes_per_second`` are the revisions of keys that are
  gone or were made anew meanwhile: Events, above all. Both are absent until there are two.
* ``space_bytes`` are the four parts of the database file of the member that was read: ``live`` (with what pages leave
  empty at their best), ``half_empty`` (what a defragmentation gives back besides the free pages), ``history`` (what a
  compaction gives back) and ``free``.
* ``object_bytes`` names the 20 largest objects; only with ``object_names``, since names can be secrets.

Cost: see ``ballast_exporter.census``: per census (every 10 minutes) and 250 keys one read from a follower, no write and
nothing through raft; after the first one, values only of ranges in which something was written. At most 5 series for
each of the ``top`` + 1 resources, 2 for each of 11 strangers, 12 others and 20 objects, per etcd.

Reads: etcd's KV API (Range, serializable, count_only or keys_only or with values), Status, and
``etcd_disk_defrag_inflight`` and the Snapshot streams of each member's metrics.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from ballast_exporter.census import Cancelled, CensusError, Counter, Pace, Progress, Settings
from ballast_exporter.census_members import connect
from ballast_exporter.config import Config
from ballast_exporter.contract import RequestCounter, Snapshot
from ballast_exporter.keyspace_families import Known, families
from kube_ballast.analysis import space
from kube_ballast.analysis.census import Census
from kube_ballast.clients.errors import ClientError, Denied

NAME = "etcd_keyspace"
RETRY_SECONDS = 60.0
STALE_AFTER_CENSUSES = 3
_WATCH_SECONDS = 0.5


class Counts(Protocol):
    """What is asked of a counter of one etcd."""

    def run(self, *, progress: Callable[[Progress], None], cancel: threading.Event) -> Census: ...
    def close(self) -> None: ...


class Etcd:
    """One etcd: counted again and again."""

    def __init__(self, name: str, counts: Counts, *, every: float, now: Callable[[], float] = time.time) -> None:
        self.name = name
        self._counts = counts
        self._every = every
        self._now = now
        self._known = Known()

    def run(self, stop: threading.Event) -> None:
        """Count until ``stop`` is set."""
        while not stop.is_set():
            began = time.monotonic()
            pause = self._every if self._attempt(stop) else min(self._every, RETRY_SECONDS)
            stop.wait(max(0.0, pause - (time.monotonic() - began)))

    def close(self) -> None:
        """Let go of the connections."""
        self._counts.close()

    @property
    def known(self) -> Known:
        """What is known and not too old to be told."""
        known = self._known
        if known.census is not None and self._now() - known.census.ended > STALE_AFTER_CENSUSES * self._every:
            return Known(error=known.error, progress=known.progress)
        return known

    @property
    def notes(self) -> Iterator[str]:
        """What a person should know, in words."""
        known = self.known
        if known.error is not None:
            yield f"{self.name}: the last census came to nothing: {known.error}"
        elif known.census is None:
            yield f"{self.name}: no census yet, or none that is young enough; one is under way"
        if known.progress is not None and known.progress.state == "waiting":
            yield f"{self.name}: the census waits: {known.progress.words}"

    def _attempt(self, stop: threading.Event) -> bool:
        try:
            census = self._counts.run(progress=self._tell, cancel=stop)
        except Cancelled:
            return False
        except (CensusError, ClientError) as error:
            self._known = replace(self._known, error=error, progress=None)
            return False
        before = self._known.census
        seconds = None if before is None or census.since != before.revision else census.began - before.began
        self._known = Known(census, seconds, space.split(census))
        return True

    def _tell(self, progress: Progress) -> None:
        self._known = replace(self._known, progress=progress)


class EtcdKeyspace:
    """The collector; see the module's text for what it gives."""

    def __init__(self, etcds: Sequence[Etcd], *, top: int, object_names: bool) -> None:
        self._etcds = etcds
        self._top = top
        self._object_names = object_names

    def run(self, stop: threading.Event) -> None:
        """Count every etcd, each in a thread of its own, until ``stop`` is set. Raises what one of them raises."""
        over = threading.Event()
        raised: list[Exception] = []

        def count(etcd: Etcd) -> None:
            try:
                etcd.run(over)
            except Exception as error:  # noqa: BLE001 - raised again below, in the thread that core.py watches
                raised.append(error)

        for etcd in self._etcds:
            # Daemons: an answer that does not come must not keep the process from ending.
            threading.Thread(target=count, args=(etcd,), name=f"{NAME}-{etcd.name}", daemon=True).start()
        while not raised and not stop.wait(_WATCH_SECONDS):
            pass
        over.set()
        if raised:
            raise raised[0]

    def snapshot(self) -> Snapshot:
        """The last whole census of each etcd. Raises Denied when every etcd turned our credentials away."""
        known = {etcd.name: etcd.known for etcd in self._etcds}
        denied = [each.error for each in known.values() if isinstance(each.error, Denied)]
        if len(denied) == len(known):
            raise denied[0]
        notes = tuple(note for etcd in self._etcds for note in etcd.notes)
        return Snapshot(tuple(families(known, self._top, object_names=self._object_names)), notes)

    def close(self) -> None:
        """Let go of the connections."""
        for etcd in self._etcds:
            etcd.close()


def build(config: Config, requests: RequestCounter) -> EtcdKeyspace:
    """The collector for every configured etcd."""
    wanted = config.collectors.etcd_keyspace
    settings = Settings(
        prefixes=wanted.prefixes,
        pace=Pace(wanted.keys_per_second, wanted.bytes_per_second),
        measure=wanted.exact_bytes,
    )
    return EtcdKeyspace(
        [
            Etcd(each.name, Counter(connect(each), settings, count=partial(requests.count, "etcd")), every=wanted.every)
            for each in config.etcd
        ],
        top=wanted.top,
        object_names=wanted.object_names,
    )
