"""A census of a real etcd agrees with an independent count, whatever the keys and values."""

import subprocess
from collections import Counter as Multiset
from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballast_exporter.census import Counter
from ballast_exporter.census_members import Source, connect
from drills.stack import EtcdCluster, tool
from kube_ballast.analysis.keyspace import Layout
from kube_ballast.clients.errors import BadResponse
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import KeyValue, Put
from tests.exporter.counting import SMALL, SOON, agrees, by_place, everything, fill, told

KEYS = st.one_of(
    st.builds(
        lambda resource, namespace, name: f"/registry/{resource}/ns-{namespace}/{name}".encode(),
        st.sampled_from(["pods", "services/specs", "services/endpoints", "minions", "x.example.com/widgets", "events"]),
        st.integers(0, 30),
        st.integers(0, 50),
    ),
    st.builds(lambda name: b"/registry/pods/ns-1/" + name, st.binary(min_size=1, max_size=80)),
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [b"/registry", b"/registry/", b"compact_rev_key", b"cilium/a", b"\xff\xff\xff", b"/registry/pods/"]
    ),
)
WRITES = st.dictionaries(KEYS, st.integers(0, 3000), max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(WRITES, WRITES), st.lists(st.integers(0, 200), max_size=10), st.sampled_from([1, 2]))
def test_any_keyspace_is_counted_exactly_again_and_again(
    own_etcd: EtcdCluster,
    client: EtcdClient,
    rounds: tuple[dict[bytes, int], dict[bytes, int]],
    gone: list[int],
    parallel: int,
) -> None:
    first, second = rounds
    client.delete_range(b"\0", b"\0", timeout=SOON)
    counter = Counter(connect(own_etcd.config), replace(SMALL, parallel=parallel))
    try:
        for key, size in first.items():
            client.put(key, bytes(size), timeout=SOON)
        one = counter.run()
        agrees(one, everything(client))
        assert (one.writes, one.unattributed) == (None, None)

        deleted = sorted(first)
        for index in gone:
            if index < len(deleted):
                client.delete_range(deleted[index], timeout=SOON)
        for key, size in second.items():
            client.put(key, bytes(size), timeout=SOON)
        kvs = everything(client)
        two = counter.run()
        agrees(two, kvs)
        assert two.since == one.revision
        assert told(two, "writes") == by_place(kvs, lambda kv: written(kv, one.revision, client))
        assert two.unattributed == two.revision - one.revision - (two.writes or 0)

        for three in (counter.run(), counter.run()):  # nobody has written since
            agrees(three, kvs)
            assert (three.writes, three.unattributed) == (0, 0)
        assert counter.sweep() == len(kvs)
    finally:
        counter.close()


def written(kv: KeyValue, since: int, client: EtcdClient) -> int:
    """Asked of etcd: the version now and then."""
    if kv.create_revision > since:
        return kv.version
    return kv.version - client.range(kv.key, revision=since, timeout=SOON).kvs[0].version


def test_it_agrees_with_etcdctl(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    fill(client, 5000)
    listed = subprocess.run(
        [tool("etcdctl"), "--endpoints", own_etcd.endpoints[0], "get", "/registry", "--prefix", "--keys-only"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    keys = [line for line in listed.stdout.splitlines() if line]
    census = counters(own_etcd).run()
    assert sum(usage.keys for usage in census.usage.values()) == len(keys) == 5000
    assert told(census, "keys") == Multiset(Layout().place(key).name for key in keys)


def test_an_empty_etcd_is_a_whole_census(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    assert not everything(client)
    counter = counters(own_etcd)
    for _ in range(2):
        census = counter.run()
        assert (census.keys, census.stored, census.error, dict(census.usage)) == (0, 0, 0, {})


def test_values_of_the_largest_size_are_read_a_few_at_a_time(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    for number in range(40):
        client.put(f"/registry/secrets/helm/release-{number}".encode(), bytes(1_500_000), timeout=SOON)
    counter = counters(own_etcd)
    for _ in range(3):
        census = counter.run()
        agrees(census, everything(client))
    assert max(kept.keys for kept in counter._kept) <= 3


def test_an_answer_too_large_to_be_received_is_asked_for_in_parts(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 60)
    counter = counters(own_etcd)
    source = counter._members._sources[0]
    limits = []

    class Narrow:
        def __getattr__(self, name: str) -> object:
            return getattr(source.reader, name)

        def scan(self, *bounds: bytes, limit: int, **more: object) -> object:
            limits.append(limit)
            if limit > 10:
                raise BadResponse(source.endpoint, "Range: larger than max; split it into smaller calls")
            return source.reader.scan(*bounds, limit=limit, **more)

    counter._members._sources = (Source(source.endpoint, Narrow(), source.http),)
    for _ in range(2):
        agrees(counter.run(), everything(client))
    assert max(limits) > 10 >= min(limits)


def test_a_hundred_thousand_namespaces(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    names = [f"{kind}/team-{number:06}" for kind in ("namespaces", "configmaps") for number in range(100_000)]
    writes = [Put(f"/registry/{name}/kube-root-ca.crt".encode(), b"certificate") for name in names]
    for start in range(0, len(writes), 120):
        client.txn([], writes[start : start + 120], timeout=SOON)
    counter = counters(own_etcd)
    cold = counter.run()
    warm = counter.run()
    for census in (cold, warm):
        assert told(census, "keys") == {"namespaces": 100_000, "configmaps": 100_000}
    assert cold.requests < 1000
    assert warm.requests < 250


def test_what_cannot_be_read_is_measured_all_the_same(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    client.put(b"/registry/secrets/a/b", b"k8s:enc:aescbc:v1:key1:" + bytes(range(256)), timeout=SOON)
    agrees(counters(own_etcd).run(), everything(client))


def test_a_prefix_without_slashes(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    for key in (b"/kubernetes.io/pods/a/b", b"/registry/pods/a/b", b"/kubernetes.io.old/pods/a/b"):
        client.put(key, b"", timeout=SOON)
    census = counters(own_etcd, prefixes=("kubernetes.io",)).run()
    assert told(census, "keys") == {"pods": 1, "/registry (foreign)": 1, "/kubernetes.io.old (foreign)": 1}
    below = counters(own_etcd, prefixes=("kubernetes.io",), whole=False).run()
    assert told(below, "keys") == {"pods": 1}
