"""Fake nodes that renew their Leases as kubelets do, and fake pods that start at once."""

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, TypeVar, cast

import msgspec

from drills.stack.ground import Ground, clean
from drills.stack.kubernetes import ADMINS, ControlPlane
from drills.stack.process import Component, Process, StackError, http_probe, tool
from kube_ballast.clients.kubernetes import Collection, Kubernetes, PartialObjectMetadata
from kube_ballast.config import KubernetesConfig

T = TypeVar("T")
END: Final = object()

LEASE_SECONDS, LONGEST_LEASE_SECONDS = 40, 320
"""As kubelets have it, who renew it every quarter of that; and the longest, on a machine that is too small."""
STAGES = ("node/fast", "node/heartbeat-with-lease", "pod/fast")
CONFIGURATION: Final = {
    "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
    "kind": "KwokConfiguration",
    "options": {
        "nodeLeaseParallelism": 256,
        "cidr": "10.0.0.0/24",
        "nodePlayStageParallelism": 4,
        "podPlayStageParallelism": 4,
        "podsOnNodeSyncParallelism": 1,
        "enablePodsOnNodeSyncListPager": True,
    },
}
"""By default 4 Leases are renewed at a time, and where those hang, so do all others, whose kubelets would go on.

The rest is as kwok has it by default: a configuration takes away the defaults of what it does not name.
"""
CONNECTIONS = 16
CALL_SECONDS = 60.0
LEASES_WITHIN_SECONDS = 180.0
BUSIEST = 0.7
MEASURED_SECONDS = 10.0
"""At least, and at least one period: nodes that began together renew together."""
SETTLES_IN, FALLS_BY = 4, 0.02
"""Measurements at most until it no longer falls, and what counts as falling."""

NODES = Collection("/api/v1/nodes", PartialObjectMetadata, metadata_only=True)


class LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a Lease's spec that says that somebody is alive."""

    renew_time: datetime | None = None


class Lease(msgspec.Struct, frozen=True):
    """A Lease, without who it is."""

    spec: LeaseSpec


LEASES = Collection("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", Lease)


@dataclass(frozen=True, slots=True)
class Fleet:
    """kwok and its nodes. Each renews its Lease every ``renewed_every`` seconds; ``busy`` of the machine is in use."""

    process: Process
    nodes: int
    renewed_every: float
    busy: float


def start_kwok(
    ground: Ground,
    kubernetes: ControlPlane,
    *,
    nodes: int,
    fit: bool = False,
    say: Callable[[str], object] = print,
) -> Fleet:
    """Start kwok and create nodes `node-00000` and so on; ready means that each has renewed its Lease since all exist.

    Args:
        ground: where it runs.
        kubernetes: the cluster.
        nodes: how many.
        fit: whether they renew half as often, down to every 80 s, as long as more than 70 % of the machine is in use,
            by whomever.
        say: is told how many there are, and how often they renew.

    Raises:
        StackError: a Lease is not renewed in time.
        ClientError: the apiserver does not take a node.
    """
    folder, seconds = ground.data("kwok"), LEASE_SECONDS
    process = ground.run(_component(ground, kubernetes, folder, seconds))[0]
    client = Kubernetes(KubernetesConfig(kubeconfig=kubernetes.admin), agent="ballast-stack")
    create_all(client, NODES, (_node(number) for number in range(nodes)))
    _await_leases(client, nodes)
    busy = settled(partial(_busy, seconds / 4)) if fit else _busy(seconds / 4)
    while fit and busy > BUSIEST and seconds < LONGEST_LEASE_SECONDS:
        process.stop()
        _delete_leases(client, nodes)
        seconds *= 2
        process = ground.run(_component(ground, kubernetes, folder, seconds))[0]
        _await_leases(client, nodes)
        busy = settled(partial(_busy, seconds / 4))
    say(f"{nodes} fake nodes renew their Leases every {seconds / 4:g} s; {busy:.0%} of the machine is in use")
    return Fleet(process, nodes, seconds / 4, busy)


def renewing(kubernetes: ControlPlane, fleet: Fleet) -> float:
    """The share of its nodes that renewed their Leases within the last one and a half periods.

    Raises:
        StackError: kwok has ended.
        ClientError: the apiserver does not list the Leases.
    """
    if not fleet.process.running:
        raise StackError(f"{fleet.process.name} has ended.{fleet.process.tail()}")
    client = Kubernetes(KubernetesConfig(kubeconfig=kubernetes.admin), agent="ballast-stack")
    return _renewed(client, datetime.now(tz=UTC) - timedelta(seconds=1.5 * fleet.renewed_every)) / fleet.nodes


def _component(ground: Ground, kubernetes: ControlPlane, folder: Path, lease_seconds: int) -> Component:
    address, program = ground.address(), tool("kwok")
    configuration = folder / "kwok.yaml"
    configuration.write_text(json.dumps(CONFIGURATION))
    arguments = {
        "kubeconfig": str(kubernetes.kubeconfig("kwok", ADMINS)),
        "manage-all-nodes": "true",
        "node-lease-duration-seconds": str(lease_seconds),
        "server-address": address,
    }
    stages = program.resolve().parent / "stage"
    # Each folder also has a kustomization.yaml, which is no stage.
    files = (file for stage in STAGES for file in sorted((stages / stage).glob("*-*.yaml")))
    return Component(
        name=f"{folder.name}-{lease_seconds}",
        program=program,
        arguments=(*clean(arguments), *(f"--config={file}" for file in (configuration, *files))),
        ready=http_probe(f"http://{address}/healthz"),
        ready_within=60.0,
    )


def create_all(client: Kubernetes, collection: Collection[PartialObjectMetadata], items: Iterable[object]) -> None:
    """Create objects over several connections, as fast as the apiserver takes them. Raises what `create` raises."""

    def create(same: Kubernetes, item: object) -> None:
        same.create(collection.path, item, PartialObjectMetadata, timeout=CALL_SECONDS)

    _each(client, items, create)


def _each(client: Kubernetes, items: Iterable[T], act: Callable[[Kubernetes, T], None]) -> None:
    """Do it to all, on `CONNECTIONS` threads with a connection each."""
    source, lock = iter(items), Lock()

    def work() -> None:
        with client.kept() as same:
            while True:
                with lock:
                    item = next(source, END)
                if item is END:
                    return
                act(same, cast("T", item))

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for done in [pool.submit(work) for _ in range(CONNECTIONS)]:
            done.result()


def _delete_leases(client: Kubernetes, nodes: int) -> None:
    """The next kwok makes them anew at once; what another one holds it would leave until that expires."""

    def delete(same: Kubernetes, number: int) -> None:
        same.delete(f"{LEASES.path}/{_name(number)}", timeout=CALL_SECONDS)

    _each(client, range(nodes), delete)


def _await_leases(client: Kubernetes, nodes: int) -> None:
    begun = datetime.now(tz=UTC)
    deadline = time.monotonic() + LEASES_WITHIN_SECONDS
    while True:
        renewed = _renewed(client, begun)
        if renewed >= nodes:
            return
        if time.monotonic() >= deadline:
            raise StackError(f"after {LEASES_WITHIN_SECONDS:g} s {renewed} of {nodes} nodes renewed their Leases")
        time.sleep(1.0)


def _renewed(client: Kubernetes, since: datetime) -> int:
    """How many Leases were renewed since then."""
    leases = client.list(LEASES, timeout=CALL_SECONDS, resource_version="0").items
    return sum(lease.spec.renew_time is not None and lease.spec.renew_time > since for lease in leases)


def _node(number: int) -> dict[str, object]:
    name = _name(number)
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "type": "kwok"}
    return {"metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}}}


def _name(number: int) -> str:
    return f"node-{number:05d}"


def settled(measure: Callable[[], float]) -> float:
    """The share of the machine in use; measured again while it is too much and falls: each change of nodes is work."""
    busy = measure()
    for _ in range(SETTLES_IN):
        if busy <= BUSIEST:
            break
        before, busy = busy, measure()
        if busy > before - FALLS_BY:
            break
    return busy


def _busy(period: float) -> float:
    """The share of all processors' time that was used, by anything on this machine; ``period`` is of the renewals."""
    before = _times()
    time.sleep(max(MEASURED_SECONDS, period))
    idle, total = (after - first for after, first in zip(_times(), before, strict=True))
    return 1.0 - idle / total


def _times() -> tuple[int, int]:
    """Idle and total, in ticks: proc(5), /proc/stat."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
