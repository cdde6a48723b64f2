"""The floods that the dashboards are looked at with."""

import threading
from concurrent.futures import ThreadPoolExecutor

from drills.filling import client
from drills.keyspace import flood, plant_strangers
from drills.stack import EtcdCluster, Stack
from kube_ballast.analysis.keyspace import Layout, Resource
from kube_ballast.clients.etcd.types import prefix_end
from tests.waiting import eventually

ENOUGH = 128


def keys(etcd: EtcdCluster, prefix: bytes) -> int:
    with client(etcd) as one:
        return one.range(prefix, prefix_end(prefix), count_only=True, timeout=10.0).count


def test_a_flood_is_made_of_events_and_stops_when_told(stack: Stack) -> None:
    etcd = stack.etcd()
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        flooding = pool.submit(flood, etcd, per_second=5000.0, stop=stop)
        try:
            eventually(lambda: keys(etcd, b"/registry/events/") >= ENOUGH, within=20.0)
        finally:
            stop.set()
        assert flooding.result(timeout=20.0) == keys(etcd, b"/registry/events/")


def test_a_flood_ends_when_etcd_is_full(stack: Stack) -> None:
    etcd = stack.etcd(quota_bytes=1024 * 1024)
    assert flood(etcd, per_second=1e6, stop=threading.Event()) > 0


def test_strangers_are_strangers_and_one_object_is_nearly_too_large(stack: Stack) -> None:
    etcd = stack.etcd()
    assert plant_strangers(etcd, nodes=1) == keys(etcd, b"/cilium/") + keys(etcd, b"/registry/secrets/") == 31
    assert Layout().place(b"/cilium/state/ip/v1/default/10.0.0.1").resource is None
    assert Layout().place(b"/registry/secrets/team-000/x").resource == Resource("", "secrets")
