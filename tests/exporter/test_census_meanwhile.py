"""What happens while a census is under way: it shows one moment, whole, or nothing."""

import threading
from collections import Counter as Multiset
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ballast_exporter.census import FAST, Cancelled, Counter, Outrun, Pace, Postponed, Progress
from ballast_exporter.census_members import Source, connect
from drills.stack import EtcdCluster, Stack
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import MemberMetrics
from tests.exporter.counting import SMALL, SOON, agrees, between, everything, fill
from tests.waiting import eventually


def test_writes_meanwhile_do_not_show(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000)
    before = everything(client)
    counter = counters(own_etcd, SMALL)
    agrees(between(counter, lambda: fill(client, 1000, name="/registry/{}/later-{}/{}")), before)
    agrees(counter.run(), everything(client))


def test_compacted_meanwhile_it_begins_anew_and_is_whole(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000)

    def compact() -> None:
        revision = client.put(b"/registry/pods/a/b", b"", timeout=SOON).revision
        client.compact(revision, timeout=SOON)

    counter = counters(own_etcd, SMALL)
    census = between(counter, compact)
    assert (census.restarts, census.compacted) == (1, census.revision)
    agrees(census, everything(client))


def test_compacted_again_and_again_there_is_no_census(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000)
    counter = counters(own_etcd, SMALL)
    whole = counter.run()
    again = []

    def compact(step: Progress) -> None:
        again.append(step.state)
        client.compact(client.put(b"/registry/pods/a/b", b"", timeout=SOON).revision, timeout=SOON)

    with pytest.raises(Outrun, match="compacted away 3 times before all keys were read"):
        counter.run(progress=compact)
    assert again.count("again") == 3
    assert counter.last is whole
    after = counter.run()
    agrees(after, everything(client))
    assert after.since == whole.revision


def test_an_etcd_that_was_restored_is_counted_as_one_never_seen(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter], stack: Stack
) -> None:
    fill(client, 500, size=300)
    other = stack.etcd()
    with EtcdClient(other.endpoints[0]) as restored:
        fill(restored, 400, size=700)
        counter, of_other = counters(own_etcd), counters(other)
        for _ in range(2):
            counter.run()
        counter._members._sources = of_other._members._sources
        census = counter.run()
        agrees(census, everything(restored))
    assert census.since is None


def test_told_to_stop_it_stops(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    fill(client, 2000)
    cancel = threading.Event()
    for parallel in (1, 2):
        cancel.clear()
        counter = counters(own_etcd, SMALL, parallel=parallel, pace=Pace(keys=100))
        with pytest.raises(Cancelled):
            counter.run(progress=lambda _: cancel.set(), cancel=cancel)


def test_nobody_is_read_while_somebody_defragments(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 500)
    counter = counters(own_etcd, patience=0.0, look_every=0.0)
    source = counter._members._sources[0]

    class Busy:
        defragments, snapshots = 0, 0

        def metrics(self, *, timeout: float) -> MemberMetrics:
            assert timeout > 0
            return MemberMetrics(self.defragments, None, self.snapshots)

    busy = Busy()
    counter._members._sources = (Source(source.endpoint, source.reader, busy),)
    busy.defragments = 1
    with pytest.raises(Postponed, match=f"{source.endpoint} defragments"):
        counter.run()
    busy.defragments, busy.snapshots = 0, 1
    with pytest.raises(Postponed, match="somebody takes a snapshot"):
        counter.run()
    busy.snapshots = 0

    def begin() -> None:
        busy.defragments = 1

    with pytest.raises(Postponed):
        between(counter, begin)
    assert counter.last is None, "half a census is none"


def slow_snapshot(channel: Any) -> Any:
    """A snapshot of which only the first piece is fetched: it is under way until it is cancelled."""
    call = channel.unary_stream(
        "/etcdserverpb.Maintenance/Snapshot", request_serializer=rpc_pb2.SnapshotRequest.SerializeToString
    )(rpc_pb2.SnapshotRequest(), timeout=60.0)
    next(call)
    return call


def test_it_waits_until_a_snapshot_has_been_taken(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000, size=5000)
    counter = counters(own_etcd, look_every=0.0)
    reading = threading.Event()
    with EtcdClient(own_etcd.endpoints[0]) as reader, reader._channel.use() as channel:
        call = slow_snapshot(channel)
        http = EtcdHttp(own_etcd.members[0].metrics_url)
        eventually(lambda: http.metrics(timeout=SOON).snapshots_in_flight == 1)

        def waiting(step: Progress) -> None:
            if step.state == "waiting":
                assert "snapshot" in step.words
                call.cancel()
                reading.set()

        census = counter.run(progress=waiting)
    assert reading.is_set()
    assert census.keys == 2000


def test_it_waits_until_a_defragmentation_has_ended(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000, size=5000)
    counter = counters(own_etcd)
    told: list[str] = []
    with EtcdClient(own_etcd.endpoints[0]) as reader, reader._channel.use() as channel, ThreadPoolExecutor(1) as pool:
        call = slow_snapshot(channel)  # a defragmentation waits for whoever reads the file
        defragmented = pool.submit(client.defragment, timeout=60.0)
        http = EtcdHttp(own_etcd.members[0].metrics_url)
        eventually(lambda: http.metrics(timeout=SOON).defrag_inflight == 1)

        def waiting(step: Progress) -> None:
            if step.state == "waiting":
                told.append(step.words)
                call.cancel()

        census = counter.run(progress=waiting)
        defragmented.result()
    assert told[0] == f"{own_etcd.endpoints[0]} defragments"
    assert census.keys == 2000


def test_the_pace_is_kept(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    fill(client, 1000)
    census = counters(own_etcd, page_keys=100, pace=Pace(keys=1000)).run()
    assert census.ended - census.began >= 0.9


def test_each_request_is_counted(own_etcd: EtcdCluster, client: EtcdClient) -> None:
    fill(client, 100)
    asked: Multiset[str] = Multiset()
    counter = Counter(connect(own_etcd.config), FAST, count=lambda target: asked.update([target]))
    census = counter.run()
    counter.close()
    assert asked == {own_etcd.endpoints[0]: census.requests + 1}


def test_a_closed_counter_asks_nobody(own_etcd: EtcdCluster) -> None:
    counter = Counter(connect(own_etcd.config))
    counter.close()
    with pytest.raises((ClientError, RuntimeError)):
        counter.run()
