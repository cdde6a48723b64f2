"""Every collector there is: its name, its settings and what makes it. A new one is a file here and a line below."""

from collections.abc import Callable
from typing import NamedTuple

from ballast_exporter.collectors import apiserver_clients, apiserver_requests, etcd_keyspace, etcd_quota, grpc_stall
from ballast_exporter.config import CollectorConfig, Config
from ballast_exporter.contract import KubernetesRule, Poll, RequestCounter, Stream


class Kind(NamedTuple):
    """``name`` is the module's, the flag's, the golden file's, and the metrics' subsystem.

    ``rules`` are all that it has to be allowed to ask of an apiserver.
    """

    name: str
    settings: Callable[[Config], CollectorConfig]
    build: Callable[[Config, RequestCounter], Poll | Stream]
    rules: tuple[KubernetesRule, ...] = ()


COLLECTORS = (
    Kind(etcd_quota.NAME, lambda config: config.collectors.etcd_quota, etcd_quota.build),
    Kind(etcd_keyspace.NAME, lambda config: config.collectors.etcd_keyspace, etcd_keyspace.build),
    Kind(apiserver_requests.NAME, Config.apiserver_requests, apiserver_requests.build, apiserver_requests.RULES),
    Kind(apiserver_clients.NAME, Config.apiserver_clients, apiserver_clients.build),
    Kind(grpc_stall.NAME, lambda config: config.collectors.grpc_stall, grpc_stall.build, grpc_stall.RULES),
)
