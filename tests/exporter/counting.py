"""Fills an etcd, counts it independently, and compares a census with that."""

from collections import Counter as Multiset
from collections.abc import Callable, Mapping

from ballast_exporter.census import Counter, Progress, Settings
from kube_ballast.analysis.census import Census
from kube_ballast.analysis.keyspace import Layout
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import KeyValue, Put

SOON = 10.0
SMALL = Settings(pace=None, page_keys=8, page_bytes=20_000)
"""Many ranges of few keys."""


def everything(client: EtcdClient) -> tuple[KeyValue, ...]:
    return client.range(b"\0", b"\0", timeout=SOON).kvs


def stored(kv: KeyValue) -> int:
    return rpc_pb2.KeyValue(
        key=kv.key,
        value=kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        lease=kv.lease,
    ).ByteSize()


def by_place(kvs: tuple[KeyValue, ...], of: Callable[[KeyValue], int]) -> Mapping[str, int]:
    count: Multiset[str] = Multiset()
    for kv in kvs:
        place = Layout().place(kv.key)
        count[f"{place.name}{'' if place.resource else ' (foreign)'}"] += of(kv)
    return count


def told(census: Census, of: str) -> Mapping[str, int]:
    found = {str(resource): getattr(usage, of) for resource, usage in census.usage.items()}
    return found | {f"{name} (foreign)": getattr(usage, of) for name, usage in census.foreign.items()}


def agrees(census: Census, kvs: tuple[KeyValue, ...]) -> None:
    assert told(census, "keys") == by_place(kvs, lambda _: 1)
    assert told(census, "stored") == by_place(kvs, stored)
    assert (census.keys, census.stored, census.exact) == (len(kvs), sum(map(stored, kvs)), True)
    parts = [*census.usage.values(), *census.foreign.values()]
    largest = sorted((sized for usage in parts for sized in usage.largest), reverse=True)
    sizes = sorted(map(stored, kvs), reverse=True)
    assert [sized.size for sized in largest[:20]] == sizes[:20]
    assert {sized.key: sized.size for sized in largest}.items() <= {kv.key: stored(kv) for kv in kvs}.items()


def fill(client: EtcdClient, keys: int, size: int = 100, name: str = "/registry/{}/ns-{:05}/object-{:06}") -> None:
    """Objects of five resources, a hundred to a namespace."""
    resources = ("configmaps", "events", "pods", "secrets", "x.example.com/widgets")
    writes = [
        Put(name.format(resources[number * 5 // keys], number // 100, number).encode(), bytes(size))
        for number in range(keys)
    ]
    for start in range(0, keys, 120):
        client.txn([], writes[start : start + 120], timeout=SOON)


def between(counter: Counter, act: Callable[[], object], after: int = 3) -> Census:
    """A census during which ``act`` happens, after some answers."""
    seen: list[Progress] = []

    def progress(step: Progress) -> None:
        seen.append(step)
        if len(seen) == after:
            act()

    return counter.run(progress=progress)
