"""What deploy/kubernetes gives Ballast's accounts, on a real apiserver."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ballast_exporter.apiservers import Listed
from ballast_exporter.collectors.apiserver_requests import ApiserverRequests
from ballast_exporter.contract import Deadline, RequestCounter
from drills.stack import ControlPlane, Stack
from drills.stack.kubernetes import write_kubeconfig
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.apiserver_addresses import apiserver_urls
from kube_ballast.clients.errors import BadResponse, Denied
from kube_ballast.clients.kubernetes.client import Kubernetes
from kube_ballast.config import HttpConfig, KubernetesConfig, TLSFiles
from tests.exporter.apiserver_traffic import ask, connection, make
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

DEPLOY = Path(__file__).parents[2] / "deploy" / "kubernetes"
SOON = 30.0
NAMESPACE = "/api/v1/namespaces/monitoring"
WHERE = {
    "ServiceAccount": "/api/v1",
    "Namespace": "/api/v1",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1",
    "PriorityLevelConfiguration": "/apis/flowcontrol.apiserver.k8s.io/v1",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1",
}


def objects(file: str) -> Iterator[Mapping[str, Any]]:
    yield from YAML(typ="safe").load_all((DEPLOY / file).read_text())


def place(thing: Mapping[str, Any]) -> str:
    """Where an object of its kind is made."""
    kind, namespace = thing["kind"], thing["metadata"].get("namespace")
    api = WHERE.get(kind, WHERE["ClusterRole"])
    return f"{api}/{f'namespaces/{namespace}/' if namespace else ''}{kind.lower()}s"


@pytest.fixture
def plane(stack: Stack) -> ControlPlane:
    plane = stack.kube_apiserver(stack.etcd())
    admin = connection(plane, "kubernetes-admin", "system:masters")
    make(admin, "/api/v1/namespaces", {"metadata": {"name": "monitoring"}})
    for file in ("rbac.yaml", "flow-control.yaml"):
        for thing in objects(file):
            make(admin, place(thing), thing)
    return plane


def token(plane: ControlPlane, account: str, folder: Path) -> Path:
    """Of that service account, in a file."""
    admin = connection(plane, "kubernetes-admin", "system:masters")
    answer = ask(admin, "POST", f"{NAMESPACE}/serviceaccounts/{account}/token", {"spec": {}})
    assert answer.status == 201, answer.text()
    file = folder / f"{account}.token"
    file.write_text(YAML(typ="safe").load(answer.body.decode())["status"]["token"])
    return file


def test_the_exporter_s_account_reads_what_its_collectors_need_and_says_what_it_misses(
    plane: ControlPlane, tmp_path: Path
) -> None:
    admin = connection(plane, "kubernetes-admin", "system:masters")
    bearer = token(plane, "ballast-exporter", tmp_path)
    http = HttpConfig(url=plane.apiservers[0].url, tls=TLSFiles(ca=plane.authority.ca), bearer_token_file=bearer)
    kubeconfig = tmp_path / "kubeconfig"
    write_kubeconfig(kubeconfig, http.url, plane.authority.ca, {"tokenFile": str(bearer)})
    cluster = Kubernetes(KubernetesConfig(kubeconfig=kubeconfig))
    collector = ApiserverRequests(Listed([ApiserverMetrics(http)]), RequestCounter(), 500)

    def found() -> tuple[str, ...]:
        return apiserver_urls(cluster, timeout=SOON)

    assert eventually(found, within=SOON, retry=(BadResponse, Denied))
    assert eventually(lambda: collector.collect(Deadline(time.monotonic() + SOON)).families, within=SOON, retry=Denied)
    for path in ("/api/v1/secrets", "/api/v1/namespaces/default/endpoints", "/apis/discovery.k8s.io/v1/endpointslices"):
        with pytest.raises(Denied):
            ask(http, "GET", path)

    roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"
    for whose in ("apiserver-requests", "grpc-stall"):  # either of them finds the apiservers by it
        assert ask(admin, "DELETE", f"{roles}/ballast-exporter-{whose}").status == 200
    with pytest.raises(
        Denied,
        match=r'cannot list resource "endpointslices" in API group "discovery\.k8s\.io" in the namespace "default"',
    ):
        eventually(lambda: not found(), within=SOON)


@pytest.mark.parametrize("account", ["ballast-exporter", "ballast-remediator"])
def test_ballast_s_requests_have_a_priority_level_of_their_own(
    plane: ControlPlane, tmp_path: Path, account: str
) -> None:
    admin = connection(plane, "kubernetes-admin", "system:masters")
    if account == "ballast-remediator":
        make(admin, f"{NAMESPACE}/serviceaccounts", {"metadata": {"name": account}})
    http = HttpConfig(
        url=plane.apiservers[0].url,
        tls=TLSFiles(ca=plane.authority.ca),
        bearer_token_file=token(plane, account, tmp_path),
    )

    def dispatched() -> float:
        wanted = 'apiserver_flowcontrol_dispatched_requests_total{flow_schema="ballast",priority_level="ballast"} '
        lines = ask(admin, "GET", "/metrics").body.decode().splitlines()
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    def asked() -> float:
        with pytest.raises(Denied):  # flow control comes before RBAC
            ask(http, "GET", "/api/v1/pods")
        return dispatched()

    assert dispatched() == 0
    assert eventually(asked, within=SOON) >= 1
