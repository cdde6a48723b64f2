"""What the stall's drills run on: etcd, relays, two apiservers, the exporter, Prometheus and Alertmanager, all real."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ruamel.yaml import YAML

from drills.relay import PASS, Fault, RelayTLS
from drills.relay.apart import RelayProcess
from drills.stack import ControlPlane, EtcdCluster, Scrape, Service, Stack
from drills.stack.faketime import Clock
from drills.stack.kubernetes import ADMINS
from drills.stack.process import ROOT
from drills.stall.audit_webhook import AuditWebhook
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig, TLSFiles
from tools.mixin import build

MANIFESTS: Final = ("rbac.yaml", "flow-control.yaml")
PLACES: Final[Mapping[str, str]] = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings",
    "PriorityLevelConfiguration": "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
}
ACCOUNT, ACCOUNTS = "system:serviceaccount:monitoring:ballast-exporter", "system:serviceaccounts"
"""Who the exporter is to the apiservers, so that the shipped roles and flow control hold for it."""
TIMEOUT: Final = 10.0
KNOBS: Final[Mapping[str, object]] = {"pathKeepFiringFor": "0s"}
"""An alert ends with its fault, so that the next one of the same name begins anew; what it takes to fire stays."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The first apiserver is the one that gets sick; ``relays`` are before all of its members."""

    stack: Stack
    etcd: EtcdCluster
    control: ControlPlane
    relays: RelayProcess
    exporter: Service
    clock: Clock
    """The exporter's."""
    prometheus: Service
    alertmanager: Service
    audit: AuditWebhook | None
    shared: bool
    """Whether the other apiserver uses the same members: then a bad one is bad for both."""

    @property
    def names(self) -> tuple[str, str]:
        """The apiservers as verdicts and alerts name them."""
        first, second = (urlsplit(each.url).netloc for each in self.control.apiservers)
        return first, second

    def set(self, fault: Fault) -> None:
        """On the first apiserver's whole way to etcd."""
        self.relays.set(fault)

    def heal(self) -> None:
        """As the cure would: what is left of its connections is cut."""
        self.set(PASS)
        self.relays.sever()

    def admin(self, number: int = 0) -> HttpClient:
        """May do everything, through the apiserver of that number."""
        return HttpClient(HttpConfig(url=self.control.apiservers[number].url, tls=_admin(self.control)))


def _admin(control: ControlPlane) -> TLSFiles:
    folder = control.authority.ca.parent
    cert, key = folder / "drill.pem", folder / "drill-key.pem"
    if cert.exists():
        return TLSFiles(ca=control.authority.ca, cert=cert, key=key)
    return control.authority.issue("drill", organization=ADMINS)


@contextmanager
def running(*, local: bool, audited: bool = False) -> Iterator[Ground]:
    """All of it; with ``local`` each apiserver has one member of its own, else all; with ``audited`` a webhook too."""
    with ExitStack() as exits:
        stack = exits.enter_context(Stack())
        etcd = stack.etcd(members=3, tls=True)
        assert etcd.authority is not None
        tls = RelayTLS(etcd.authority.issue("relay"), etcd.authority.issue("relay-client"))
        used = [etcd.endpoints[number : number + 1] if local else etcd.endpoints for number in range(2)]
        relays = [RelayProcess(stack, endpoints, tls) for endpoints in used]
        stores = [each.urls for each in relays]
        audit = exits.enter_context(closing(AuditWebhook(stack.data("audit")))) if audited else None
        control = stack.kube_apiserver(etcd, n=2, stores=stores, flags=audit.flags if audit else None)
        clock = Clock(stack.data("clock") / "faketime")
        exporter = _exporter(stack, etcd, control, used, clock)
        prometheus, alertmanager = _monitoring(stack, exporter)
        parts = (relays[0], exporter, clock, prometheus, alertmanager, audit)
        yield Ground(stack, etcd, control, *parts, shared=not local)


def _exporter(
    stack: Stack, etcd: EtcdCluster, control: ControlPlane, used: Sequence[Sequence[str]], clock: Clock
) -> Service:
    """With the rights that ship with it, and as a process of its own, as the quick collectors are meant to run."""
    admin = HttpClient(HttpConfig(url=control.apiservers[0].url, tls=_admin(control)))
    make(admin, {"kind": "Namespace", "metadata": {"name": "monitoring"}})
    for name in MANIFESTS:
        for item in YAML(typ="safe").load_all(ROOT / "deploy" / "kubernetes" / name):
            make(admin, item)
    urls = [each.url for each in control.apiservers]
    return stack.exporter(
        config={
            "etcd": [etcd.config],
            "apiservers": {"urls": urls, "tls": control.authority.issue(ACCOUNT, organization=ACCOUNTS)},
            "collectors": {
                "etcd_keyspace": {"enabled": False},
                "apiserver_requests": {"enabled": False},
                "grpc_stall": {
                    "enabled": True,
                    "uses": {urlsplit(url).netloc: list(members) for url, members in zip(urls, used, strict=True)},
                },
            },
        },
        env=clock.environment,
    )


def make(admin: HttpClient, item: Mapping[str, Any]) -> None:
    """Create an object, unless it is there."""
    path = PLACES[item["kind"]].format(namespace=item["metadata"].get("namespace"))
    answer = admin.request("POST", path, timeout=TIMEOUT, body=json.dumps(item).encode())
    if answer.status not in {201, 409}:
        raise SystemExit(f"POST {path}: {answer.status} {answer.text()}")


def _monitoring(stack: Stack, exporter: Service) -> tuple[Service, Service]:
    """Scraped and evaluated every 5 s; Alertmanager takes alerts at once, so that what is measured is the rules'."""
    alertmanager = stack.alertmanager(
        config={"route": {"receiver": "drill", "group_wait": "0s"}, "receivers": [{"name": "drill"}]}
    )
    return (
        stack.prometheus(
            scrape=[Scrape(job="ballast-exporter", targets=[exporter.address])],
            rules=rules(stack.data("mixin")),
            alertmanagers=[alertmanager.url],
        ),
        alertmanager,
    )


def rules(folder: Path) -> list[Path]:
    """The mixin's rule files, evaluated every 5 s."""
    built = build(folder, KNOBS)
    return [path for path in built if path.name.startswith("ballast-") and path.suffix == ".yaml"]
