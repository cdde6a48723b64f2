"""Where a cluster's apiservers are: the EndpointSlices of the Service `kubernetes`, which the apiservers write."""

from typing import Final

import msgspec

from kube_ballast.clients.kubernetes.client import Kubernetes
from kube_ballast.clients.kubernetes.types import Collection

_PATH: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
_OF_KUBERNETES: Final = (("labelSelector", "kubernetes.io/service-name=kubernetes"),)


class _Endpoint(msgspec.Struct, frozen=True):
    addresses: tuple[str, ...]


class _Port(msgspec.Struct, frozen=True):
    port: int | None = None


class _EndpointSlice(msgspec.Struct, frozen=True):
    endpoints: tuple[_Endpoint, ...] | None = None
    ports: tuple[_Port, ...] | None = None


_SLICES: Final = Collection(_PATH, _EndpointSlice, _OF_KUBERNETES)


def apiserver_urls(kubernetes: Kubernetes, *, timeout: float) -> tuple[str, ...]:
    """The apiservers' URLs in order, as the asked apiserver has them in memory; within ``timeout`` seconds.

    One that stops is taken off the list by the others within a minute. It takes the verb list on endpointslices in the
    namespace `default`; raises what ``Kubernetes.list`` does.
    """
    found = kubernetes.list(_SLICES, timeout=timeout, resource_version="0")
    urls = {
        f"https://{_host(address)}:{port.port}"
        for each in found.items
        for endpoint in each.endpoints or ()
        for address in endpoint.addresses
        for port in each.ports or ()
    }
    return tuple(sorted(urls))


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
