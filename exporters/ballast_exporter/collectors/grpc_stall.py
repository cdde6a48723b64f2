"""Whether each apiserver's channels to etcd work, and if not, who is to blame.

Gives, per apiserver (HELP and TYPE lines left out; one line for each verdict, probe and kind of answer there is)::

    ballast_grpc_stall_verdict{apiserver="10.0.0.1:6443",verdict="ok"} 0.0
    ballast_grpc_stall_verdict{apiserver="10.0.0.1:6443",verdict="channel_stalled"} 1.0
    ballast_grpc_stall_resource_stalled{apiserver="10.0.0.1:6443",resource="configmaps"} 1.0
    ballast_grpc_stall_probe_duration_seconds{apiserver="10.0.0.1:6443",probe="ping"} 0.012
    ballast_grpc_stall_probes_total{answer="timeout",apiserver="10.0.0.1:6443",probe="configmaps"} 7.0
    ballast_grpc_stall_canary_last_success_timestamp_seconds{apiserver="10.0.0.1:6443"} 1.7e+09
    ballast_grpc_stall_delivery_seconds{apiserver="10.0.0.1:6443"} 0.004
    ballast_grpc_stall_member_used{apiserver="10.0.0.1:6443",member="10.0.0.1:2379"} 1.0
    ballast_grpc_stall_calls_in_flight{apiserver="10.0.0.1:6443",method="Range"} 13.0
    ballast_grpc_stall_oldest_call_seconds{apiserver="10.0.0.1:6443"} 31.0
    ballast_grpc_stall_calls_ended_total{apiserver="10.0.0.1:6443",code="OK"} 40213.0
    ballast_grpc_stall_etcd_requests_total{apiserver="10.0.0.1:6443",resource="leases.coordination.k8s.io"} 8121.0
    ballast_grpc_stall_storage_size_known{apiserver="10.0.0.1:6443"} 0.0

and per etcd member::

    ballast_grpc_stall_member_probe_duration_seconds{member="10.0.0.1:2379",probe="linearizable"} 0.003
    ballast_grpc_stall_member_probes_total{answer="ok",member="10.0.0.1:2379",probe="linearizable"} 912.0

What is unknown is absent:

* Exactly one ``verdict`` is 1: docs/grpc-stall.md has them, and the table by which they are given. ``resource_stalled``
  is there only for the resources of a stalled channel. The reasons stand on the status page and in ``/evidence``.
* A ``probe_duration`` is there while the last answer was a success, or late; that of the ping is an apiserver's own
  time to answer, the others go through it to etcd. ``canary_last_success`` is absent before the first success, the
  ``delivery`` while news is overdue.
* ``calls``, ``oldest_call``, ``calls_ended``, ``etcd_requests`` and ``storage_size_known`` are of the apiserver's own
  page of metrics, read every 15 s with 30 s of time, since it takes 20 s while its etcd is not reached. They leave when
  no page came for a minute. ``oldest_call`` is a lower bound: docs/grpc-stall.md. Requests are counted when they end.

Cost: about 2.9 requests a second to each apiserver (half of one is a write), 1 a second to each etcd member; one watch
and one Lease an apiserver. Series: about 100 an apiserver and one for each resource that it has asked etcd for, of
which 500 are told by name; 16 an etcd member. With ``apiservers.kubernetes`` there is one LIST a minute more.

Reads: ``/readyz/ping`` and ``/readyz/etcd-readiness``; one object that nobody has, named ``ballast-canary``, of each
resource in ``ballast_exporter.stall_apiserver.READS``; Leases in the namespace ``kube-ballast``, which it also writes;
``kube_ballast.analysis.stall_page.METRICS`` of ``/metrics``; one key of etcd.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Protocol

from ballast_exporter.apiservers import Apiservers, Discovered, Listed
from ballast_exporter.config import Config
from ballast_exporter.contract import Finding, KubernetesRule, RequestCounter, Snapshot
from ballast_exporter.stall_apiserver import OBJECT, Server
from ballast_exporter.stall_canary import NAMESPACE
from ballast_exporter.stall_families import families
from ballast_exporter.stall_probes import Probes
from ballast_exporter.stall_report import Report
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.apiserver_addresses import apiserver_urls
from kube_ballast.clients.kubernetes import Kubernetes
from kube_ballast.config import HttpConfig

NAME = "grpc_stall"
VALID_SECONDS: Final = 5.0
RULES = (
    KubernetesRule(("get",), urls=("/readyz/ping", "/readyz/etcd-readiness", "/metrics")),
    KubernetesRule(("get",), ("nodes",), names=(OBJECT,)),
    KubernetesRule(("get",), ("pods", "configmaps", "secrets"), namespace="default", names=(OBJECT,)),
    KubernetesRule(("get",), ("endpointslices",), group="discovery.k8s.io", namespace="default", names=(OBJECT,)),
    KubernetesRule(("list",), ("endpointslices",), group="discovery.k8s.io", namespace="default"),
    KubernetesRule(
        ("get", "list", "watch", "create", "patch"), ("leases",), group="coordination.k8s.io", namespace=NAMESPACE
    ),
)


class Judging(Protocol):
    """What the collector needs of `Probes`."""

    def run(self, stop: threading.Event) -> None: ...
    def report(self) -> Report: ...
    def close(self) -> None: ...


class GrpcStall:
    """The collector; see the module's text for what it gives."""

    def __init__(self, probes: Judging, clock: Callable[[], float] = time.time) -> None:
        self._probes = probes
        self._clock = clock

    def run(self, stop: threading.Event) -> None:
        """Probe until ``stop`` is set."""
        self._probes.run(stop)

    def snapshot(self) -> Snapshot:
        """The verdicts as of now, and what was measured."""
        report = self._probes.report()
        now, notes, evidence = self._clock(), list(report.notes), []
        for apiserver, each in report.apiservers.items():
            judgement = each.judgement
            if judgement.verdict is not Verdict.OK or each.suspicious:
                notes.append(f"{apiserver}: {judgement.verdict}: {'; '.join(judgement.reasons)}")
            evidence.append(Finding(NAME, apiserver, judgement.verdict, judgement.reasons, now, now + VALID_SECONDS))
        return Snapshot(tuple(families(report)), tuple(notes), tuple(evidence))

    def close(self) -> None:
        """Let go of the connections."""
        self._probes.close()


def build(config: Config, requests: RequestCounter) -> GrpcStall:
    """The collector for the apiservers that are listed, or that the cluster names, and the first etcd."""
    settings, uses = config.apiservers, config.collectors.grpc_stall.uses
    assert settings is not None, "the configuration is refused without apiservers"
    kubernetes = None if settings.kubernetes is None else Kubernetes(settings.kubernetes, agent="ballast-stall")
    own = settings.tls or settings.bearer_token_file

    def connect(url: str) -> Server:
        server = Server(HttpConfig(url=url, tls=settings.tls, bearer_token_file=settings.bearer_token_file))
        return replace(server, members=uses.get(server.name), through=None if own else kubernetes)

    apiservers: Apiservers[Server] = Listed([connect(url) for url in settings.urls or ()])
    if kubernetes is not None:

        def find(timeout: float) -> Sequence[str]:
            requests.count("apiserver", kubernetes.target)
            return apiserver_urls(kubernetes, timeout=timeout)

        apiservers = Discovered(find, connect)
    return GrpcStall(Probes(apiservers, config.etcd[0], requests))
