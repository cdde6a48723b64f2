from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ballast_exporter.census import FAST, Counter, Settings
from ballast_exporter.census_members import connect
from drills.stack import EtcdCluster, Stack
from kube_ballast.clients.etcd.client import EtcdClient
from tests.exporter.counting import SOON


@pytest.fixture(scope="module")
def own_etcd(session_stack: Stack) -> EtcdCluster:
    """One member that only these tests write to: a census sees everything."""
    return session_stack.etcd(quota_bytes=8 * 2**30)


@pytest.fixture
def client(own_etcd: EtcdCluster) -> Iterator[EtcdClient]:
    """Of an etcd without any key."""
    with EtcdClient(own_etcd.endpoints[0]) as client:
        client.delete_range(b"\0", b"\0", timeout=SOON)
        yield client


@pytest.fixture
def counters() -> Iterator[Callable[..., Counter]]:
    made: list[Counter] = []

    def make(etcd: EtcdCluster, settings: Settings = FAST, **changes: object) -> Counter:
        made.append(Counter(connect(etcd.config), replace(settings, **changes)))
        return made[-1]

    yield make
    for counter in made:
        counter.close()
