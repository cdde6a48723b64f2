"""The clients of one cluster, made from its configuration."""

import concurrent.futures
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from ballast_remediator.apiservers import Apiservers
from ballast_remediator.config import ClusterConfig
from ballast_remediator.contract import NotConfigured, Target
from kube_ballast.analysis.etcd import EtcdState, MemberState, quota_bytes
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.errors import ClientError, Timeout, Unavailable
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import Alarm, Member
from kube_ballast.clients.prometheus import Prometheus, Samples
from kube_ballast.config import DiskSource, EtcdConfig, EtcdMemberConfig

PROBE: Final = 3.0
"""Seconds for one question to one member. A healthy member answers in milliseconds."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EtcdEndpoint:
    """One configured member."""

    config: EtcdMemberConfig
    grpc: EtcdClient
    http: EtcdHttp


class EtcdCluster:
    """One etcd cluster, member by member. No call goes to "any" member by chance."""

    def __init__(self, config: EtcdConfig, prometheus: Prometheus, labels: Mapping[str, str]) -> None:
        """``labels`` are those of this cluster's series in ``prometheus``."""
        self.name = config.name
        self._prometheus = prometheus
        self._labels = labels
        self.endpoints = tuple(
            EtcdEndpoint(
                member,
                EtcdClient(member.endpoint, tls=config.tls, auth=config.auth),
                EtcdHttp(member.http_url, tls=config.tls),
            )
            for member in config.members
        )

    def state(self) -> EtcdState:
        """What every member says of itself, asked side by side; whoever does not answer is part of the answer."""
        with concurrent.futures.ThreadPoolExecutor(max_workers=4 * len(self.endpoints)) as pool:
            views = [_View(self, endpoint, pool) for endpoint in self.endpoints]
            listed = self._first(lambda etcd: etcd.member_list(timeout=PROBE)) or ()
            alarms = self._first(lambda etcd: etcd.alarms(timeout=PROBE))
            by_id = {member.id: member for member in listed}
            members = tuple(view.result(by_id) for view in views)
        known = {view.member_id for view in views}
        silent = sum(member.status is None for member in members)
        # A configured member that does not answer is one of those that etcd lists: only more of them are strangers.
        unseen = sorted(member.name or f"{member.id:x}" for member in listed if member.id not in known)
        return EtcdState(
            name=self.name,
            members=members,
            alarms=alarms,
            strangers=tuple(unseen) if len(unseen) > silent else (),
            names={member.id: member.name for member in listed},
        )

    def endpoint_of(self, member: MemberState) -> EtcdEndpoint:
        """Where that member is reached."""
        return next(endpoint for endpoint in self.endpoints if endpoint.config.endpoint == member.endpoint)

    def _first(self, ask: Callable[[EtcdClient], T]) -> T | None:
        """The first member's answer to ``ask``, or None when none gives one."""
        for endpoint in self.endpoints:
            try:
                return ask(endpoint.grpc)
            except ClientError:
                continue
        return None

    def query(self, wrap: str, metric: str, labels: Mapping[str, str]) -> tuple[str, Samples]:
        """What Prometheus has for ``metric`` of this cluster, put into ``wrap`` at its ``{}``; the question as well.

        Raises:
            ClientError: Prometheus does not answer, or not that.
        """
        expression = wrap.replace("{}", f"{metric}{{{self._matchers(labels)}}}")
        return expression, self._prometheus.query(expression, timeout=PROBE)

    def series(self, names: str, labels: Mapping[str, str]) -> Samples:
        """The newest sample of all metrics of this cluster whose names match the regular expression ``names``.

        Raises:
            ClientError: as `query`.
        """
        expression = f"{{__name__=~{json.dumps(names)},{self._matchers(labels)}}}"
        return self._prometheus.query(expression, timeout=PROBE)

    def _matchers(self, labels: Mapping[str, str]) -> str:
        return matchers({**self._labels, **labels})

    def any(self, ask: Callable[[EtcdClient], T]) -> T:
        """What the first member that is there answers to ``ask``; only who was not reached is passed over.

        Raises:
            ClientError: the last member's, when none is there; at once what any of them answers, and `Timeout`.
        """
        *others, last = self.endpoints
        for endpoint in others:
            try:
                return ask(endpoint.grpc)
            except Unavailable:
                continue
        return ask(last.grpc)

    def read(self, ask: Callable[[EtcdClient], T]) -> T:
        """As `any`, for what changes nothing: a member that hangs is passed over too.

        Raises:
            ClientError: the last member's, when none answers.
        """
        *others, last = self.endpoints
        for endpoint in others:
            try:
                return ask(endpoint.grpc)
            except (Unavailable, Timeout):
                continue
        return ask(last.grpc)

    def alarms(self) -> tuple[Alarm, ...]:
        """The armed alarms, listed now."""
        return self.read(lambda etcd: etcd.alarms(timeout=PROBE))


def matchers(labels: Mapping[str, str]) -> str:
    """Equal-matchers of a PromQL selector, without its braces."""
    return ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())


class _View:
    """The questions to one member, under way."""

    def __init__(
        self, cluster: EtcdCluster, endpoint: EtcdEndpoint, pool: concurrent.futures.ThreadPoolExecutor
    ) -> None:
        self._endpoint = endpoint
        self._status = pool.submit(endpoint.grpc.status, timeout=PROBE)
        self._ready = pool.submit(endpoint.http.readyz, timeout=PROBE)
        self._metrics = pool.submit(endpoint.http.metrics, timeout=PROBE)
        self._disk = pool.submit(_disk_free, cluster, endpoint.config.disk)
        self.member_id: int | None = None

    def result(self, listed: Mapping[int, Member]) -> MemberState:
        status, problem = _settled(self._status)
        ready, not_ready = _settled(self._ready)
        metrics, _ = _settled(self._metrics)
        disk_free, disk_words = self._disk.result()
        self.member_id = None if status is None else status.member_id
        member = None if self.member_id is None else listed.get(self.member_id)
        return MemberState(
            name=member.name if member is not None and member.name else _by_url(listed.values(), self._endpoint),
            endpoint=self._endpoint.config.endpoint,
            voter=not (member.is_learner if member is not None else status is not None and status.is_learner),
            status=status,
            problem=problem,
            ready=ready is not None and ready.ok,
            ready_reason=ready.reason if ready is not None else str(not_ready),
            defragmenting=_positive(None if metrics is None else metrics.defrag_inflight),
            snapshots_in_flight=None if metrics is None else metrics.snapshots_in_flight,
            quota=quota_bytes(status, metrics),
            disk_free=disk_free,
            disk_words=disk_words,
            named_domain=self._endpoint.config.failure_domain,
        )


def _settled(future: concurrent.futures.Future[T]) -> tuple[T, None] | tuple[None, str]:
    """What was answered, or why nothing was."""
    try:
        return future.result(), None
    except ClientError as error:
        return None, error.message


def _positive(count: int | None) -> bool | None:
    return None if count is None else count > 0


def _by_url(listed: Iterable[Member], endpoint: EtcdEndpoint) -> str:
    """A member that does not answer is recognised by its client URL, or else called by its address."""
    address = endpoint.config.endpoint
    for member in listed:
        if address in {url.rstrip("/") for url in member.client_urls}:
            return member.name
    return address.partition("://")[2]


def _disk_free(cluster: EtcdCluster, disk: DiskSource | None) -> tuple[float | None, str]:
    """Bytes available where the member's data lies, from node_exporter, and where that was looked for."""
    if disk is None:
        return None, "no disk is configured for it"
    labels = {"instance": disk.instance, "mountpoint": disk.mountpoint}
    try:
        query, samples = cluster.query("{}", "node_filesystem_avail_bytes", labels)
    except ClientError as error:
        return None, f"Prometheus was asked in vain: {error}"
    known = [sample.value for sample in samples if math.isfinite(sample.value)]
    if not known:
        return None, f"Prometheus has no sample of {query}"
    return min(known), query


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Who knows of one cluster's alerts; ``labels`` are those of its series in ``prometheus``."""

    prometheus: Prometheus
    labels: Mapping[str, str]
    alertmanagers: tuple[Alertmanager, ...]


class Connections:
    """Everything that the engine and its runbooks reach, by cluster and etcd name."""

    def __init__(self, clusters: Mapping[str, ClusterConfig]) -> None:
        self.monitoring = {
            name: Monitoring(
                Prometheus(cluster.prometheus),
                cluster.prometheus_labels,
                tuple(Alertmanager(one) for one in cluster.alertmanagers),
            )
            for name, cluster in clusters.items()
        }
        self._etcds = {
            (name, etcd.name): EtcdCluster(etcd, self.monitoring[name].prometheus, cluster.prometheus_labels)
            for name, cluster in clusters.items()
            for etcd in cluster.etcd
        }
        self._apiservers = {
            name: Apiservers(
                name,
                cluster,
                [endpoint for etcd in cluster.etcd for endpoint in self._etcds[name, etcd.name].endpoints],
            )
            for name, cluster in clusters.items()
        }

    @property
    def alertmanagers(self) -> Mapping[str, tuple[Alertmanager, ...]]:
        """Those of each cluster."""
        return {name: monitoring.alertmanagers for name, monitoring in self.monitoring.items()}

    def knows(self, target: Target) -> bool:
        """Whether the configuration has an etcd of that name in that cluster."""
        return (target.cluster, target.name) in self._etcds

    def apiservers(self, cluster: str) -> Apiservers:
        """Those of that cluster. Raises `NotConfigured` when there is no such cluster."""
        found = self._apiservers.get(cluster)
        if found is None:
            raise NotConfigured(f"there is no cluster {cluster!r} in the configuration")
        return found

    def keep(self, stop: threading.Event) -> None:
        """Keeps on disk, until ``stop`` is set, what has to be known when a cluster does not answer any more."""
        for cluster, apiservers in self._apiservers.items():
            threading.Thread(target=apiservers.keep, args=(stop,), name=f"nodes {cluster}", daemon=True).start()

    def nodes_at_work(self) -> Mapping[str, Mapping[str, str]]:
        """Of each cluster: the Nodes that somebody works on, as they were seen last; by name, how it shows."""
        return {cluster: apiservers.nodes_at_work() for cluster, apiservers in self._apiservers.items()}

    def etcds(self, cluster: str) -> int:
        """How many etcds that cluster is configured with."""
        return sum(name == cluster for name, _ in self._etcds)

    def etcd(self, target: Target) -> EtcdCluster:
        """Raises `NotConfigured` when the configuration has no etcd of that name in that cluster."""
        found = self._etcds.get((target.cluster, target.name))
        if found is None:
            known = ", ".join(sorted(name for cluster, name in self._etcds if cluster == target.cluster)) or "none"
            raise NotConfigured(f"clusters.{target.cluster}.etcd has no etcd named {target.name!r} (known: {known})")
        return found
