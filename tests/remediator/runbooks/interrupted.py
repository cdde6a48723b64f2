"""A member's client that does with its next Defragment what a test wants."""

from collections.abc import Callable
from dataclasses import replace

from ballast_remediator.contract import Target
from kube_ballast.clients.etcd.client import EtcdClient
from tests.remediator.chain import Chain


class Interrupted(EtcdClient):
    """A member's client whose next Defragment is surrounded by what a test wants."""

    def __init__(self, real: EtcdClient, defragment: Callable[[EtcdClient, float], None]) -> None:
        super().__init__(real.endpoint)
        self._real = real
        self._wanted: Callable[[EtcdClient, float], None] | None = defragment

    def defragment(self, *, timeout: float) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is None:
            super().defragment(timeout=timeout)
        else:
            wanted(self._real, timeout)


def interrupt(one: Chain, member: int, defragment: Callable[[EtcdClient, float], None]) -> None:
    """Has that member's next Defragment done by ``defragment(client, timeout)``."""
    cluster = one.connections.etcd(Target("here", one.runbook.name, "main"))
    endpoints = list(cluster.endpoints)
    endpoints[member] = replace(endpoints[member], grpc=Interrupted(endpoints[member].grpc, defragment))
    cluster.endpoints = tuple(endpoints)
