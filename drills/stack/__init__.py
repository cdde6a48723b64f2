"""Real components on loopback, in a temporary folder: what the demo, tests, drills and benchmarks stand on.

    with Stack() as stack:
        etcd = stack.etcd(members=3, quota_bytes=64 * 2**20, tls=True)
        prometheus = stack.prometheus(scrape=[Scrape(job="etcd", targets=[m.metrics_url for m in etcd.members])])

Everything is ready when its call gives back, listens on 127.0.0.1 alone, and ends with the stack: at the end of
the block, on an error, on Ctrl-C, and when this process is killed. A new component is one function that declares a
`Component`, and one line in `Stack`.
"""

from drills.stack.ballast import start_exporter, start_remediator
from drills.stack.certificates import Authority
from drills.stack.etcd import EtcdCluster, EtcdMember, start_etcd
from drills.stack.ground import Ground, mountpoint
from drills.stack.kubernetes import (
    Apiserver,
    ControlPlane,
    start_kube_apiserver,
    start_kube_controller_manager,
    write_kubeconfig,
)
from drills.stack.kwok import Fleet, start_kwok
from drills.stack.monitoring import (
    Scrape,
    Service,
    start_alertmanager,
    start_alertmanager_pair,
    start_node_exporter,
    start_prometheus,
)
from drills.stack.postgresql import Postgresql, start_postgresql
from drills.stack.process import Component, Probe, Process, StackError, http_probe, tool
from drills.stack.sshd import Sshd, start_sshd

__all__ = [
    "Apiserver",
    "Authority",
    "Component",
    "ControlPlane",
    "EtcdCluster",
    "EtcdMember",
    "Fleet",
    "Ground",
    "Postgresql",
    "Probe",
    "Process",
    "Scrape",
    "Service",
    "Sshd",
    "Stack",
    "StackError",
    "http_probe",
    "mountpoint",
    "tool",
    "write_kubeconfig",
]


class Stack(Ground):
    """A ground with a method for each component."""

    etcd = start_etcd
    prometheus = start_prometheus
    alertmanager = start_alertmanager
    alertmanager_pair = start_alertmanager_pair
    node_exporter = start_node_exporter
    postgresql = start_postgresql
    kube_apiserver = start_kube_apiserver
    kube_controller_manager = start_kube_controller_manager
    kwok = start_kwok
    sshd = start_sshd
    exporter = start_exporter
    remediator = start_remediator
