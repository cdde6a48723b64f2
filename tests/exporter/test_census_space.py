"""What the split of a database promises, against what compaction and defragmentation then give back."""

import os
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from ballast_exporter.census import Counter, Settings
from ballast_exporter.census_members import connect
from drills.stack import Stack
from kube_ballast.analysis import space
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Put
from tests.waiting import eventually

SOON = 20.0
Writes = Iterable[tuple[bytes, int]]


class Cluster:
    """Writes as a cluster does: many at a time, none larger than asked for."""

    def __init__(self, client: EtcdClient) -> None:
        self.client = client
        self.chance = random.Random(1)

    def put(self, writes: Writes) -> None:
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda each: self.client.put(each[0], os.urandom(each[1]), timeout=SOON), writes):
                pass

    def delete(self, keys: Iterable[bytes]) -> None:
        with ThreadPoolExecutor(16) as pool:
            for _ in pool.map(lambda key: self.client.delete_range(key, timeout=SOON), keys):
                pass

    def compact(self, keep: int = 0) -> None:
        self.client.compact(self.client.status(timeout=SOON).revision - keep, timeout=SOON)

    def size(self) -> int:
        return int(self.chance.lognormvariate(6.8, 0.9))


def leases(cluster: Cluster) -> None:
    """A few keys written over and over; nobody compacts."""
    cluster.put((b"/registry/leases/kube-node-lease/n%05d" % (number % 500), 400) for number in range(12_000))


def events(cluster: Cluster) -> None:
    """Many keys made and deleted again."""
    cluster.put((b"/registry/events/ns/e%05d" % number, 600) for number in range(12_000))
    cluster.delete(b"/registry/events/ns/e%05d" % number for number in range(9000))


def updates(cluster: Cluster) -> None:
    """Objects of all sizes, each written again now and then: live and dead records share pages."""
    cluster.put((b"/registry/pods/ns/p%05d" % number, cluster.size()) for number in range(6000))
    cluster.put((b"/registry/pods/ns/p%05d" % cluster.chance.randrange(6000), cluster.size()) for _ in range(9000))


def large(cluster: Cluster) -> None:
    """What the drills fill etcd with."""
    cluster.put((b"/registry/configmaps/drill/filler-%d" % (number % 8), 512 * 1024) for number in range(80))


def transactions(cluster: Cluster) -> None:
    """Many keys written at one revision each time, as a restore or an operator does, beside Leases."""
    for first in range(0, 12_000, 100):
        puts = [Put(b"/registry/events/ns/e%05d" % number, os.urandom(780)) for number in range(first, first + 100)]
        cluster.client.txn([], puts, timeout=SOON)
    cluster.put((b"/registry/leases/kube-node-lease/n%05d" % (number % 500), 400) for number in range(6000))


def compacted(cluster: Cluster) -> None:
    """A cluster that lives, with an apiserver that compacts: the usual case."""
    cluster.put((b"/registry/pods/ns/p%05d" % number, cluster.size()) for number in range(4000))
    for turn in range(5):
        cluster.put((b"/registry/leases/kube-node-lease/n%05d" % (number % 1000), 400) for number in range(3000))
        cluster.put((b"/registry/pods/ns/p%05d" % cluster.chance.randrange(4000), cluster.size()) for _ in range(600))
        cluster.put((b"/registry/events/ns/%d-%d" % (turn, number), 700) for number in range(600))
        if turn > 1:
            cluster.delete(b"/registry/events/ns/%d-%d" % (turn - 2, number) for number in range(600))
        if turn < 4:
            cluster.compact(keep=2000)


def in_use(client: EtcdClient) -> int:
    """Once it stays what it is."""
    readings: list[int] = []

    def settled() -> int:
        readings.append(client.status(timeout=SOON).db_size_in_use)
        return len(readings) > 5 and len(set(readings[-5:])) == 1 and readings[-1]

    return eventually(settled, within=20.0, every=0.1)


@pytest.mark.parametrize(
    "live", [leases, events, updates, large, transactions, compacted], ids=lambda live: live.__name__
)
def test_compaction_and_defragmentation_give_back_what_was_promised(
    stack: Stack, live: Callable[[Cluster], None]
) -> None:
    etcd = stack.etcd(quota_bytes=8 * 2**30)
    counter = Counter(connect(etcd.config), Settings(pace=None))
    with EtcdClient(etcd.endpoints[0], tls=etcd.tls) as client:
        cluster = Cluster(client)
        live(cluster)
        in_use(client)
        split = space.split(counter.run())
        assert split is not None
        before = client.status(timeout=SOON)
        assert split.size == before.db_size

        # etcd tells what a compaction freed once it has written something else.
        cluster.compact(keep=1)
        cluster.compact()
        left = in_use(client)
        client.defragment(timeout=SOON)
        after = client.status(timeout=SOON).db_size
    counter.close()

    both = before.db_size - after
    assert split.both_return == pytest.approx(both, rel=0.1)
    assert split.compaction_returns == pytest.approx(before.db_size_in_use - left, rel=0.1, abs=0.05 * before.db_size)
    assert split.free == before.db_size - before.db_size_in_use
    assert split.live == pytest.approx(after, rel=0.1, abs=0.01 * before.db_size)
