"""A Kubernetes control plane without machines: kube-apiserver, one or several, and kube-controller-manager.

The flags are those of kubeadm 1.36 where they decide what a client sees: mutual TLS, Node and RBAC authorization, the
default admission plugins, service account tokens signed with a key of its own.
"""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from drills.stack.certificates import Authority
from drills.stack.etcd import EtcdCluster
from drills.stack.ground import LOOPBACK, Ground, clean
from drills.stack.process import Component, Probe, Process, http_probe, tool
from kube_ballast.config import TLSFiles

Flags = Mapping[str, str | None]

ADMINS = "system:masters"
READY_SECONDS = 90.0
LISTENS, ADVERTISED = "127.0.0.{number}", "192.0.2.{number}"
"""Each apiserver has its own address and all have the same port, as the EndpointSlice of the Service `kubernetes` wants
it. It takes no loopback address, so what it says of them is `ADVERTISED`, where nobody is."""


@dataclass(frozen=True, slots=True)
class Apiserver:
    """One kube-apiserver: `url` for its clients, `advertised` (IP:PORT) as the Service `kubernetes` has it."""

    url: str
    advertised: str
    process: Process


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """The apiservers of one cluster; all trust the same authority and the same service account key."""

    apiservers: tuple[Apiserver, ...]
    etcd: EtcdCluster
    authority: Authority
    folder: Path
    service_accounts: Path
    """The key that signs their tokens."""

    @property
    def admin(self) -> Path:
        """A kubeconfig that may do everything, through the first apiserver."""
        return self.kubeconfig("kubernetes-admin", ADMINS)

    def kubeconfig(self, name: str, group: str | None = None, *, through: int = 0) -> Path:
        """The path of a kubeconfig for that user, through the apiserver of that number; RBAC says what it may do."""
        path = self.folder / f"{name.replace(':', '-')}-{group}-{through}.kubeconfig"
        if not path.exists():
            files = self.authority.issue(name, organization=group)
            credential = {"client-certificate": str(files.cert), "client-key": str(files.key)}
            write_kubeconfig(path, self.apiservers[through].url, self.authority.ca, credential)
        return path


def write_kubeconfig(path: Path, server: str, authority: Path, user: Mapping[str, object]) -> None:
    """Write a kubeconfig with one context."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "stack", "cluster": {"server": server, "certificate-authority": str(authority)}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "stack", "context": {"cluster": "stack", "user": "user"}}],
        "current-context": "stack",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))


def start_kube_apiserver(
    ground: Ground,
    etcd: EtcdCluster,
    *,
    n: int = 1,
    version: str | None = None,
    flags: Flags | None = None,
    stores: Sequence[Sequence[str]] | None = None,
) -> ControlPlane:
    """Start apiservers on that etcd; ready means that each one's `/readyz` says so.

    Args:
        ground: where they run.
        etcd: their store; each apiserver knows all its members.
        n: how many.
        version: such as `1.33`, which `make tools-e2e MODULES=kubernetes-1.33` builds; None for the newest there is.
        flags: further flags without the dashes, such as those of an audit backend; None takes one away.
        stores: each apiserver's own URLs of etcd, such as those of relays before it; None for all members to all.
    """
    program = tool("kube-apiserver" if version is None else f"kube-apiserver-{version}")
    folder, authority = ground.data("kubernetes"), Authority(ground.data("kubernetes-certificates"))
    signer = authority.issue("service-accounts").key
    assert signer is not None
    port, numbers = ground.port(), range(1, n + 1)
    server = authority.issue("kube-apiserver", hosts=[LISTENS.format(number=number) for number in numbers])
    shared = {**_apiserver_flags(authority, etcd, signer), **_serving(server, port), **(flags or {})}
    own: Sequence[Flags] = [{"etcd-servers": ",".join(urls)} for urls in stores] if stores else [{}] * n
    processes = ground.run(
        *(
            _apiserver(ground, program, authority.ca, number, {**shared, **store})
            for number, store in zip(numbers, own, strict=True)
        )
    )
    return ControlPlane(
        apiservers=tuple(
            Apiserver(_url(number, port), f"{ADVERTISED.format(number=number)}:{port}", process)
            for number, process in zip(numbers, processes, strict=True)
        ),
        etcd=etcd,
        authority=authority,
        folder=folder,
        service_accounts=signer,
    )


def _apiserver(ground: Ground, program: Path, authority: Path, number: int, shared: Flags) -> Component:
    folder = ground.data("kube-apiserver")
    own = {
        "bind-address": LISTENS.format(number=number),
        "advertise-address": ADVERTISED.format(number=number),
        "cert-dir": str(folder),
    }
    return Component(
        name=folder.name,
        program=program,
        arguments=clean({**own, **shared}),
        ready=_answers(authority, f"{_url(number, shared['secure-port'])}/readyz"),
        ready_within=READY_SECONDS,
        stop_within=10.0,  # it lets requests and watches end first
    )


def _url(number: int, port: object) -> str:
    return f"https://{LISTENS.format(number=number)}:{port}"


def _serving(server: TLSFiles, port: int) -> dict[str, str | None]:
    return {"secure-port": str(port), "tls-cert-file": str(server.cert), "tls-private-key-file": str(server.key)}


def _apiserver_flags(authority: Authority, etcd: EtcdCluster, signer: Path) -> dict[str, str | None]:
    front = authority.issue("front-proxy-client")
    return {
        "client-ca-file": str(authority.ca),
        "etcd-servers": ",".join(etcd.endpoints),
        "etcd-cafile": str(etcd.tls.ca) if etcd.tls else None,
        "etcd-certfile": str(etcd.tls.cert) if etcd.tls else None,
        "etcd-keyfile": str(etcd.tls.key) if etcd.tls else None,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "enable-bootstrap-token-auth": "true",
        "allow-privileged": "true",
        "service-cluster-ip-range": "10.96.0.0/12",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": str(signer),
        "service-account-signing-key-file": str(signer),
        "requestheader-client-ca-file": str(authority.ca),
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": str(front.cert),
        "proxy-client-key-file": str(front.key),
    }


def start_kube_controller_manager(ground: Ground, kubernetes: ControlPlane, *, flags: Flags | None = None) -> Process:
    """Start one with all its controllers; ready means that it is well, not that each of them has done its first round.

    ``flags`` without the dashes, such as `{"node-monitor-grace-period": "20s"}`; None takes one away.
    """
    folder, port = ground.data("kube-controller-manager"), ground.port()
    own = kubernetes.kubeconfig("system:kube-controller-manager")
    arguments: Flags = {
        "bind-address": LOOPBACK,
        "cert-dir": str(folder),
        **_serving(kubernetes.authority.issue("kube-controller-manager"), port),
        "kubeconfig": str(own),
        "authentication-kubeconfig": str(own),
        "authorization-kubeconfig": str(own),
        "client-ca-file": str(kubernetes.authority.ca),
        "root-ca-file": str(kubernetes.authority.ca),
        "requestheader-client-ca-file": str(kubernetes.authority.ca),
        "service-account-private-key-file": str(kubernetes.service_accounts),
        "use-service-account-credentials": "true",
        "controllers": "*,bootstrapsigner,tokencleaner",
        "leader-elect": "true",
        **(flags or {}),
    }
    component = Component(
        name=folder.name,
        program=tool("kube-controller-manager"),
        arguments=clean(arguments),
        ready=_answers(kubernetes.authority.ca, f"https://{LOOPBACK}:{port}/healthz"),
        ready_within=READY_SECONDS,
    )
    return ground.run(component)[0]


def _answers(authority: Path, url: str) -> Probe:
    return http_probe(url, tls=ssl.create_default_context(cafile=authority))
