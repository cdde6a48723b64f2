"""The apiservers of one cluster as runbooks reach them: evidence on each, their etcd, their hosts, themselves."""

import concurrent.futures
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import urlsplit

from ballast_remediator.config import ClusterConfig
from ballast_remediator.config_apiservers import ApiserverConfig, ApiserversConfig
from ballast_remediator.contract import NotConfigured
from kube_ballast.analysis.control_plane import ControlPlane, Load, MemberReads
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.errors import BadResponse, ClientError, Timeout, Unavailable
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import RangeResult
from kube_ballast.clients.exporter import Exporter, Finding
from kube_ballast.clients.exposition import Sample
from kube_ballast.clients.hosts import Apiserver, Busy, HostFailed, Hosts, ProcessGone, Sight
from kube_ballast.clients.kubernetes import Kubernetes
from kube_ballast.config import EtcdMemberConfig, HttpConfig

KIND: Final = "grpc_stall"
PROBE: Final = 3.0
METRICS_SECONDS: Final = 20.0
"""For an apiserver's page of metrics, which is tens of megabytes on a busy one."""
_KEY: Final = b"/registry/ballast-canary"
"""Nobody has it: that there is none is as good an answer as any."""
_IN_FLIGHT: Final = "apiserver_current_inflight_requests"
_MEMORY: Final = "process_resident_memory_bytes"

Evidence = Mapping[str, tuple[Finding, ...]]
"""By the exporter's URL: what it says of the apiservers."""


class Endpoint(Protocol):
    """An etcd member, as `connections.EtcdEndpoint`."""

    @property
    def config(self) -> EtcdMemberConfig: ...
    @property
    def grpc(self) -> EtcdClient: ...
    @property
    def http(self) -> EtcdHttp: ...


class Apiservers:
    """Asks side by side, and each within seconds. Thread safe."""

    def __init__(self, cluster: str, config: ClusterConfig, endpoints: Sequence[Endpoint]) -> None:
        """``endpoints`` are the members of all its etcds."""
        self._cluster = cluster
        self._instances = {} if config.apiservers is None else {one.name: one for one in config.apiservers.instances}
        self._settings = config.apiservers or ApiserversConfig.model_construct(instances=())
        self._exporters = tuple(Exporter(one) for one in config.exporters)
        self._hosts = None if config.hosts is None else Hosts(config.hosts)
        self._endpoints = endpoints

    @property
    def names(self) -> tuple[str, ...]:
        """HOST:PORT of each."""
        return tuple(self._instances)

    def instance(self, name: str) -> ApiserverConfig:
        """Raises `NotConfigured` where the configuration lacks what it takes to cure that apiserver."""
        found = self._instances.get(name)
        place = f"clusters.{self._cluster}"
        if found is None:
            known = ", ".join(self.names) or "none"
            raise NotConfigured(f"{place}.apiservers has no {name!r} (known: {known})")
        if not self._exporters:
            raise NotConfigured(f"{place} has no exporters: nobody tells what is wrong with an apiserver")
        if self._hosts is None:
            raise NotConfigured(f"{place} has no hosts: nothing can be done there")
        return found

    @property
    def hosts(self) -> Hosts:
        """Raises `NotConfigured`."""
        if self._hosts is None:
            raise NotConfigured(f"clusters.{self._cluster} has no hosts")
        return self._hosts

    def keep(self, stop: threading.Event) -> None:
        """Keeps the Nodes on disk, where they are the hosts, until ``stop`` is set."""
        if self._hosts is not None:
            self._hosts.keep(stop)

    def nodes_at_work(self) -> Mapping[str, str]:
        """The Nodes that somebody works on, where Nodes are the hosts: by name, how it shows."""
        return {} if self._hosts is None else self._hosts.at_work()

    def where(self, name: str) -> Apiserver:
        """Where its process is looked for."""
        one = self.instance(name)
        return Apiserver(one.host_name, one.listening, self._settings.executable)

    def evidence(self) -> Evidence:
        """What each exporter says now, of every apiserver; one that does not answer is left out.

        Raises:
            ClientError: nobody answered.
        """
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(self._exporters))) as pool:
            asked = {one.url: pool.submit(one.evidence, KIND, timeout=PROBE) for one in self._exporters}
            found: dict[str, tuple[Finding, ...]] = {}
            problem: ClientError | None = None
            for url, answer in asked.items():
                try:
                    found[url] = answer.result()
                except ClientError as error:
                    problem = error
        if not found and problem is not None:
            raise problem
        return found

    def seen(self, name: str) -> Sight:
        """On its host: the process, and which connections would be cut. Raises as `Hosts.connections` does."""
        return self.hosts.connections(self.where(name))

    def state(self, name: str) -> ControlPlane:
        """What etcd and the exporters say now; the evidence, which is the first to grow old, is asked for last.

        Raises:
            ClientError: no exporter answers.
        """
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            asked = pool.submit(self._unready, name)
            members = self.members(name)
            unready = asked.result()
        evidence = self.evidence()
        return ControlPlane(
            target=name,
            names=self.names,
            told=by_apiserver(evidence.values()),
            silent=tuple(one.url for one in self._exporters if one.url not in evidence),
            tellers=tuple(url for url, told in evidence.items() if any(one.subject == name for one in told)),
            members=members,
            process=None,
            connections=None,
            unready=unready,
        )

    def _unready(self, target: str) -> Mapping[str, str]:
        """The others that do not say that they are ready, and why; asked side by side."""
        others = [name for name in self.names if name != target]
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(others))) as pool:
            problems = pool.map(self._not_ready, others)
            return {name: problem for name, problem in zip(others, problems, strict=True) if problem is not None}

    def _not_ready(self, name: str) -> str | None:
        try:
            self.ready(name)
        except ClientError as error:
            return error.message
        return None

    def members(self, name: str) -> tuple[MemberReads, ...]:
        """Every etcd member, asked directly."""
        uses = self.instance(name).etcd
        with concurrent.futures.ThreadPoolExecutor(max_workers=3 * len(self._endpoints)) as pool:
            asked = [
                (
                    one.config.endpoint,
                    pool.submit(one.grpc.range, _KEY, timeout=PROBE),
                    pool.submit(one.grpc.range, _KEY, timeout=PROBE, serializable=True),
                    pool.submit(_defragments, one),
                )
                for one in self._endpoints
            ]
            return tuple(
                MemberReads(endpoint, not uses or endpoint in uses, _problem(quorum, local), defragments.result())
                for endpoint, quorum, local, defragments in asked
            )

    def strangers(self, name: str, endpoints: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Those of ``endpoints`` (IP:PORT) that are none of the members, and the members that are not resolved here.

        None where the configuration says which members that apiserver uses: they may be reached by other addresses.
        """
        if self.instance(name).etcd:
            return (), ()
        known = {one.config.endpoint: _addresses(one.config.endpoint) for one in self._endpoints}
        strangers = tuple(one for one in endpoints if not any(one in addresses for addresses in known.values()))
        return strangers, tuple(str(urlsplit(url).hostname) for url, addresses in known.items() if not addresses)

    def ready(self, name: str) -> None:
        """Raises a client's error while it does not say on /readyz that it is."""
        Kubernetes(self._access(name), agent="ballast-remediator").text("/readyz", timeout=PROBE)

    def load(self, name: str) -> Load:
        """What it carries. Raises a client's error, BadResponse where its page does not tell."""
        in_flight: list[float] = []
        memory: list[float] = []

        def take(sample: Sample) -> None:
            (memory if sample.name == _MEMORY else in_flight).append(sample.value)

        access = self._access(name)
        ApiserverMetrics(access).read((_IN_FLIGHT, _MEMORY), take, timeout=METRICS_SECONDS)
        if not memory or not in_flight:
            raise BadResponse(access.url, f"its /metrics has no {_IN_FLIGHT} or no {_MEMORY}")
        return Load(sum(in_flight), memory[0])

    def _access(self, name: str) -> HttpConfig:
        settings = self._settings
        return HttpConfig(url=self.instance(name).url, tls=settings.tls, bearer_token_file=settings.bearer_token_file)


def _addresses(url: str) -> set[str]:
    """IP:PORT of whoever that URL names, as hosts tell it; none where its name is not resolved."""
    parts = urlsplit(url)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    hosts = {str(ip_address(one[4][0])) for one in found}
    return {f"[{host}]:{parts.port}" if ":" in host else f"{host}:{parts.port}" for host in hosts}


def by_apiserver(told: Iterable[tuple[Finding, ...]]) -> Evidence:
    """The same findings by the apiserver that they are about."""
    found: dict[str, tuple[Finding, ...]] = {}
    for findings in told:
        for one in findings:
            found[one.subject] = (*found.get(one.subject, ()), one)
    return found


def _defragments(endpoint: Endpoint) -> bool | None:
    try:
        in_flight = endpoint.http.metrics(timeout=PROBE).defrag_inflight
    except ClientError:
        return None
    return None if in_flight is None else in_flight > 0


def _problem(*asked: "concurrent.futures.Future[RangeResult]") -> str | None:
    for answer in asked:
        try:
            answer.result()
        except ClientError as error:
            return error.message
    return None


def may_pass(error: ClientError) -> bool:
    """Whether it may be otherwise in a minute: also of a process that changed while it was looked at."""
    return isinstance(error, Unavailable | Timeout | Busy | ProcessGone | HostFailed)
