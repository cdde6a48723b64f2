"""A keyspace like that of a real cluster: so many of each resource, sizes with long tails, real paths.

    plant(etcd, nodes=500)                # some 66,000 keys
    churn(etcd, nodes=500, writes=5000)   # history: Leases, nodes and pods are written again
    plant_strangers(etcd, nodes=500)      # what is not Kubernetes', and a Secret that is nearly too large
    flood(etcd, per_second=900, stop=stop)  # a controller that cannot stop to tell of its failure

The proportions are those of a busy cluster of 5,000 nodes with thirty pods on each, with Argo CD and Cilium; values
are noise behind the apiserver's magic, which is all that etcd sees of them. The same seed gives the same keyspace.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice

from drills.filling import client
from drills.stack import EtcdCluster
from kube_ballast.clients.errors import NoSpace
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Put

TIMEOUT = 30.0
_BATCH_BYTES = 256 * 1024
_WRITERS = 16
_MAGIC = b"k8s\0"
_NOISE = os.urandom(4 * 1024 * 1024)
_LARGEST = 1_400_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource: how many there are ``per_node``, the median of their sizes in bytes, and how far these spread.

    ``spread`` is the sigma of a log-normal distribution: 0.1 is all alike, 1.5 has a long tail. ``path`` stands behind
    the prefix; ``namespaced`` objects are dealt out among the namespaces.
    """

    path: str
    per_node: float
    median: int
    spread: float
    namespaced: bool = True


KINDS = (
    Kind("pods", 30, 5_800, 0.45),
    Kind("events", 40, 780, 0.25),
    Kind("replicasets", 14, 3_200, 0.4),
    Kind("cilium.io/ciliumendpoints", 28, 1_500, 0.2),
    Kind("configmaps", 4, 1_900, 1.5),
    Kind("secrets", 5, 2_600, 1.4),
    Kind("endpointslices", 1.6, 3_000, 1.1),
    Kind("deployments", 2.4, 4_200, 0.4),
    Kind("serviceaccounts", 1.6, 420, 0.1),
    Kind("services/specs", 1.4, 1_100, 0.3),
    Kind("services/endpoints", 1.4, 1_700, 1.1),
    Kind("argoproj.io/applications", 0.6, 26_000, 0.9),
    Kind("cilium.io/ciliumidentities", 0.8, 900, 0.2, namespaced=False),
    Kind("minions", 1, 13_500, 0.2, namespaced=False),
    Kind("csinodes", 1, 820, 0.1, namespaced=False),
    Kind("cilium.io/ciliumnodes", 1, 2_100, 0.2, namespaced=False),
    Kind("jobs", 0.8, 2_900, 0.3),
    Kind("persistentvolumeclaims", 0.5, 1_400, 0.2),
    Kind("persistentvolumes", 0.5, 1_900, 0.2, namespaced=False),
    Kind("rolebindings", 0.7, 650, 0.2),
    Kind("clusterroles", 0.1, 2_000, 1.0, namespaced=False),
    Kind("poddisruptionbudgets", 0.3, 900, 0.2),
    Kind("horizontalpodautoscalers", 0.3, 1_800, 0.3),
    Kind("apiextensions.k8s.io/customresourcedefinitions", 0.05, 48_000, 1.0, namespaced=False),
)
_CHURNING = ("leases/kube-node-lease", "minions", "pods")


def objects(nodes: int, *, prefix: str = "/registry", seed: int = 1) -> Iterator[tuple[bytes, bytes]]:
    """Every key of a cluster of so many nodes with a value of the size it would have; about 137 keys a node."""
    chance = random.Random(seed)  # noqa: S311 - a keyspace is no secret
    namespaces = [f"team-{number:03d}" for number in range(max(4, nodes // 10))]
    for namespace in namespaces:
        yield f"{prefix}/namespaces/{namespace}".encode(), _value(chance, 420)
    for number in range(nodes):
        yield f"{prefix}/leases/kube-node-lease/{_node(number)}".encode(), _value(chance, 390)
    for kind in KINDS:
        for number in range(max(1, round(kind.per_node * nodes))):
            where = f"{chance.choice(namespaces)}/" if kind.namespaced else ""
            name = _node(number) if kind.path.endswith("nodes") or kind.path == "minions" else _name(chance)
            size = min(_LARGEST, round(chance.lognormvariate(0, kind.spread) * kind.median))
            yield f"{prefix}/{kind.path}/{where}{name}".encode(), _value(chance, size)


def plant(
    etcd: EtcdCluster,
    nodes: int,
    *,
    seed: int = 1,
    batch: int = 1,
    progress: Callable[[int], None] = lambda _planted: None,
) -> int:
    """Writes ``objects(nodes)``; the number of keys. ``progress`` is called with those written so far.

    An apiserver writes one key a revision. A ``batch`` of more in one transaction is faster and shows etcd something
    that no cluster does: what samples by revision finds such a keyspace coarser than it is.
    """
    return _write(etcd, objects(nodes, seed=seed), batch, progress)


def churn(etcd: EtcdCluster, nodes: int, *, writes: int, seed: int = 1) -> int:
    """Writes Leases, nodes and pods again as their owners do, ``writes`` times in all: what history is made of."""
    stems = tuple(f"/registry/{path}/".encode() for path in _CHURNING)
    living = [each for each in objects(nodes, seed=seed) if each[0].startswith(stems)]
    chance = random.Random(seed)  # noqa: S311 - a keyspace is no secret
    return _write(etcd, (chance.choice(living) for _ in range(writes)), 1, lambda _written: None)


def plant_strangers(etcd: EtcdCluster, nodes: int, *, seed: int = 1) -> int:
    """Writes what else is found in such an etcd: a network plugin's own store, and a Helm release of 1.2 MB."""
    chance = random.Random(seed)  # noqa: S311 - a keyspace is no secret
    addresses = (
        (f"/cilium/state/ip/v1/default/10.{number // 65536}.{number // 256 % 256}.{number % 256}".encode(), 700)
        for number in range(nodes * 30)
    )
    release = b"/registry/secrets/team-000/sh.helm.release.v1.monitoring.v41"
    pairs = ((key, _value(chance, size)) for key, size in chain(addresses, [(release, 1_200_000)]))
    return _write(etcd, pairs, 1, lambda _written: None)


def flood(etcd: EtcdCluster, *, per_second: float, stop: threading.Event, seed: int = 2) -> int:
    """Writes new Events, as a controller in a loop does, until ``stop`` is set or etcd is full; their number."""
    chance = random.Random(seed)  # noqa: S311 - a keyspace is no secret
    began = time.monotonic()
    written = 0
    with client(etcd) as one, ThreadPoolExecutor(_WRITERS) as pool:
        while not stop.is_set():
            some = [(f"/registry/events/team-007/{_name(chance)}".encode(), _value(chance, 780)) for _ in range(64)]
            try:
                written += sum(pool.map(lambda each: _put(one, [each]), some))
            except NoSpace:
                break
            stop.wait(max(0.0, began + written / per_second - time.monotonic()))
    return written


def _write(etcd: EtcdCluster, pairs: Iterator[tuple[bytes, bytes]], batch: int, progress: Callable[[int], None]) -> int:
    written = 0
    with client(etcd) as one, ThreadPoolExecutor(_WRITERS) as pool:
        # A slice at a time: all values at once would not fit everywhere.
        batches = _batches(pairs, batch)
        while some := [*islice(batches, _WRITERS * 16)]:
            for count in pool.map(lambda each: _put(one, each), some):
                written += count
                progress(written)
    return written


def _put(one: EtcdClient, batch: Sequence[tuple[bytes, bytes]]) -> int:
    one.txn((), [Put(key, value) for key, value in batch], (), timeout=TIMEOUT)
    return len(batch)


def _batches(pairs: Iterator[tuple[bytes, bytes]], most: int) -> Iterator[Sequence[tuple[bytes, bytes]]]:
    size = 0
    batch: list[tuple[bytes, bytes]] = []
    for key, value in pairs:
        batch.append((key, value))
        size += len(value)
        if len(batch) >= most or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _node(number: int) -> str:
    return f"ip-10-{number // 62500}-{number // 250 % 250}-{number % 250}.eu-central-1.compute.internal"


def _name(chance: random.Random) -> str:
    return f"{chance.choice(_APPS)}-{chance.getrandbits(40):010x}-{chance.getrandbits(20):05x}"


def _value(chance: random.Random, size: int) -> bytes:
    begin = chance.randrange(len(_NOISE) - size)
    return _MAGIC + _NOISE[begin : begin + max(0, size - len(_MAGIC))]


_APPS = ("checkout", "ledger", "payments-api", "search", "risk-engine", "kafka-consumer", "node-exporter", "web")
