"""Sizes: some of them, or none."""

from collections.abc import Callable

from ballast_exporter.census import Counter
from drills.stack import EtcdCluster
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Put
from tests.exporter.counting import SMALL, SOON, everything, fill, stored, told


def test_without_sizes_only_keys_are_known(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 1000)
    census = counters(own_etcd, measure=0).run()
    assert (census.keys, census.stored, census.error, census.exact) == (1000, None, None, False)


def test_a_sample_tells_its_error_and_what_is_known_of_it_stays_known(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    sizes = [10, 3000, 200, 40]
    for number in range(6000):
        if number % 120 == 0:
            writes = [
                Put(f"/registry/pods/ns-{each // 50:04}/{each:05}".encode(), bytes(sizes[each // 37 % 4]))
                for each in range(number, number + 120)
            ]
            client.txn([], writes, timeout=SOON)
    client.put(b"/registry/secrets/a/b", bytes(777), timeout=SOON)
    kvs = everything(client)
    true = sum(map(stored, kvs))
    counter = counters(own_etcd, SMALL, page_keys=50, measure=true // 3)
    counter.run()
    census = counter.run()
    assert not census.exact
    assert census.stored is not None
    assert census.error is not None
    assert 0 < abs(census.stored - true) <= 2 * census.error < 2 * true
    assert told(census, "stored")["secrets"] == stored(kvs[-1]), "small resources are not sampled"
    for _ in range(12):
        census = counter.run()
    assert census.error is not None
    assert census.error < true / 20, "nothing was written: each census adds to what is known"
