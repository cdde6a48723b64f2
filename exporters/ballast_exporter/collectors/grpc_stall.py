"""Whether each apiserver's channels to etcd work, and if not, who is to blame.

Gives, per apiserver (HELP and TYPE lines left out; one line for each verdict there is)::

    ballast_grpc_stall_verdict{apiserver="10.0.0.1:6443",verdict="ok"} 0.0
    ballast_grpc_stall_verdict{apiserver="10.0.0.1:6443",verdict="channel_stalled"} 1.0
    ballast_grpc_stall_resource_stalled{apiserver="10.0.0.1:6443",resource="configmaps"} 1.0

Exactly one verdict is 1: docs/grpc-stall.md has them, and the table by which they are given. ``resource_stalled`` is
there only for the resources of a stalled channel. The reasons stand on the status page and in ``/evidence``.

Cost: about 2.6 requests a second to each apiserver (half of one is a write), 1 a second to each etcd member; one watch
and one Lease an apiserver. Series: 10 an apiserver.

Reads: ``/readyz/ping`` and ``/readyz/etcd-readiness``; one object that nobody has, named ``ballast-canary``, of each
resource in ``ballast_exporter.stall_probes.READS``; Leases in the namespace ``kube-ballast``, which it also writes; one
key of etcd.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from prometheus_client.core import GaugeMetricFamily

from ballast_exporter.config import Config
from ballast_exporter.contract import Finding, KubernetesRule, RequestCounter, Snapshot
from ballast_exporter.stall_canary import NAMESPACE
from ballast_exporter.stall_probes import OBJECT, Probes, Server
from kube_ballast.analysis.stall import Judgement, Verdict
from kube_ballast.config import HttpConfig

NAME = "grpc_stall"
VALID_SECONDS: Final = 5.0
RULES = (
    KubernetesRule(("get",), urls=("/readyz/ping", "/readyz/etcd-readiness")),
    KubernetesRule(("get",), ("nodes",), names=(OBJECT,)),
    KubernetesRule(("get",), ("pods", "configmaps", "secrets"), namespace="default", names=(OBJECT,)),
    KubernetesRule(("get",), ("endpointslices",), group="discovery.k8s.io", namespace="default", names=(OBJECT,)),
    KubernetesRule(("list", "watch", "create", "patch"), ("leases",), group="coordination.k8s.io", namespace=NAMESPACE),
)


class Judging(Protocol):
    """What the collector needs of `Probes`."""

    def run(self, stop: threading.Event) -> None: ...
    def judgements(self) -> Mapping[str, Judgement]: ...
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
        """The verdicts as of now."""
        verdicts = GaugeMetricFamily(
            f"ballast_{NAME}_verdict",
            "What is wrong between this apiserver and etcd: 1 for the verdict that holds.",
            labels=["apiserver", "verdict"],
        )
        stalled = GaugeMetricFamily(
            f"ballast_{NAME}_resource_stalled",
            "The resources whose channel to etcd is stalled.",
            labels=["apiserver", "resource"],
        )
        now, notes, evidence = self._clock(), [], []
        for apiserver, judgement in sorted(self._probes.judgements().items()):
            for verdict in Verdict:
                verdicts.add_metric([apiserver, verdict], verdict is judgement.verdict)
            for resource in judgement.resources:
                stalled.add_metric([apiserver, resource], 1)
            if judgement.verdict is not Verdict.OK:
                notes.append(f"{apiserver}: {judgement.verdict}: {'; '.join(judgement.reasons)}")
            evidence.append(Finding(NAME, apiserver, judgement.verdict, judgement.reasons, now, now + VALID_SECONDS))
        return Snapshot((verdicts, stalled), tuple(notes), tuple(evidence))

    def close(self) -> None:
        """Let go of the connections."""
        self._probes.close()


def build(config: Config, requests: RequestCounter) -> GrpcStall:
    """The collector for the apiservers that are listed, and the first etcd."""
    settings, uses = config.apiservers, config.collectors.grpc_stall.uses
    assert settings is not None, "the configuration is refused without apiservers"
    assert settings.urls is not None, "likewise without their addresses"
    configs = [HttpConfig(url=u, tls=settings.tls, bearer_token_file=settings.bearer_token_file) for u in settings.urls]
    servers = [Server(each) for each in configs]
    servers = [Server(each.config, uses.get(each.name)) for each in servers]
    return GrpcStall(Probes(servers, config.etcd[0], requests))
