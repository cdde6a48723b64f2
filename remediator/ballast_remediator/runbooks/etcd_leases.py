"""etcd restored is not cluster restored: only Leases that are renewed again show that the control plane lives.

Under NOSPACE the controller manager and the scheduler cannot renew their Leases, give up and may wait in
back-off for minutes; kubelets cannot renew theirs either. Source: kubernetes, client-go tools/leaderelection.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.connections import PROBE, EtcdCluster
from ballast_remediator.contract import Done, StepContext, StepFailed
from ballast_remediator.runbooks.etcd_alarm import nospace
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import KeyValue, prefix_end

LEADERS: Final = ("kube-system/kube-controller-manager", "kube-system/kube-scheduler")
NODES: Final = "kube-node-lease/"
NODES_ALIVE: Final = 0.90
"""Some nodes of a large cluster are always down; their Leases will not come back."""
PAUSE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Renewals:
    """Leases by whether they were written after a revision."""

    waiting_leaders: tuple[str, ...]
    leaders: int
    nodes_renewed: int
    nodes: int

    @property
    def restored(self) -> bool:
        """All leaders and nearly all nodes are heard of again."""
        return not self.waiting_leaders and self.nodes_renewed >= NODES_ALIVE * self.nodes

    @property
    def words(self) -> str:
        waiting = f", still waiting for {', '.join(self.waiting_leaders)}" if self.waiting_leaders else ""
        leaders = self.leaders - len(self.waiting_leaders)
        return (
            f"{self.nodes_renewed} of {self.nodes} node Leases and {leaders} of {self.leaders} leader Leases were "
            f"renewed{waiting}"
        )


def renewals(kvs: tuple[KeyValue, ...], prefix: str, since: int) -> Renewals:
    """Judges Lease keys under ``prefix`` by their mod_revision against ``since``."""
    leases = {kv.key.decode(errors="replace").removeprefix(prefix): kv.mod_revision > since for kv in kvs}
    nodes = [renewed for name, renewed in leases.items() if name.startswith(NODES)]
    leaders = {name: leases[name] for name in LEADERS if name in leases}
    return Renewals(
        waiting_leaders=tuple(name for name, renewed in leaders.items() if not renewed),
        leaders=len(leaders),
        nodes_renewed=sum(nodes),
        nodes=len(nodes),
    )


def _leases(prefix: bytes, etcd: EtcdClient) -> tuple[KeyValue, ...]:
    return etcd.range(prefix, prefix_end(prefix), keys_only=True, timeout=PROBE).kvs


def await_cluster(cluster: EtcdCluster, settings: EtcdFreeSpaceSettings, context: StepContext) -> Done:
    """Waits until the control plane and the nodes renew their Leases; says so where there are none.

    Raises:
        StepFailed: not within ``cluster_restored_within``, with what is missing and what a person can do.
    """
    since = int(str(context.facts("disarm")["revision"]))
    prefix = settings.lease_prefix
    give_up = context.now() + settings.cluster_restored_within
    seen = Renewals((), 0, 0, 0)
    while True:
        try:
            if nospace(cluster.alarms()):
                raise StepFailed("NOSPACE is armed again while the cluster comes back: something writes too much")
            seen = renewals(cluster.read(partial(_leases, prefix.encode())), prefix, since)
            if not seen.leaders and not seen.nodes:
                return Done(f"etcd is restored. No Leases under {prefix}, so nothing is said about the cluster")
            if seen.restored:
                return Done(f"the cluster is restored: {seen.words} since NOSPACE was lifted")
        except ClientError:
            if context.now() > give_up:
                raise
        if context.now() > give_up:
            raise StepFailed(
                f"etcd is restored, the cluster is not, {duration(settings.cluster_restored_within)} later: "
                f"{seen.words}. Look at the components that wait (kubectl -n kube-system get pods): they may be in "
                "back-off; deleting a static pod's mirror does not help, restarting its container does"
            )
        context.wait(PAUSE)
