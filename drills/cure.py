"""A stalled channel and its cure, unattended: everything from a relay before etcd to a remediator that acts.

Real etcd (three members, TLS), two apiservers with a member each behind a relay of its own, exporter with a password,
Prometheus, Alertmanager, and a remediator that acts on this machine, which is both apiservers' host. What acts there
needs root.
"""

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt

from drills.relay import PASS, Fault, Relay, RelayTLS
from drills.stack import Apiserver, ControlPlane, EtcdCluster, Scrape, Stack
from drills.stack.kubernetes import ADMINS
from drills.stack.monitoring import Service
from kube_ballast.clients.kubernetes import Kubernetes
from kube_ballast.clients.remediator import Remediator
from kube_ballast.config import HttpConfig, TLSFiles

USER = "remediator"
CLUSTER = "drill"
CUT, RESTART = "apiserver-cut-etcd-connections", "apiserver-restart"
_ALERTS = {"ApiserverCutEtcdConnectionsNeeded": CUT, "ApiserverRestartNeeded": RESTART}


@dataclass(frozen=True, slots=True)
class Ground:
    """What runs; the first apiserver is the one that gets sick, by its ``relay``."""

    etcd: EtcdCluster
    control: ControlPlane
    relay: Relay
    files: TLSFiles
    """Of somebody who may do everything."""
    exporter: Service
    prometheus: Service
    remediator: Service
    approver: Path
    """A file with an approver's token."""

    @property
    def sick(self) -> Apiserver:
        """The first apiserver."""
        return self.control.apiservers[0]

    @property
    def name(self) -> str:
        """HOST:PORT of the first apiserver, as alerts have it."""
        return urlsplit(self.sick.url).netloc

    def set(self, fault: Fault) -> None:
        """What the relay of the first apiserver does from now on."""
        self.relay.set(fault)

    def client(self, apiserver: Apiserver) -> Kubernetes:
        """Asks that apiserver."""
        return Kubernetes(HttpConfig(url=apiserver.url, tls=self.files), agent="drill")

    def ctl(self) -> Remediator:
        """Asks the remediator, as somebody who may approve."""
        return Remediator(HttpConfig(url=self.remediator.url, bearer_token_file=self.approver))


@contextmanager
def running(
    *,
    mode: str = "auto",
    runbooks: Sequence[str] = (CUT,),
    knobs: Mapping[str, object] | None = None,
    restart: "Callable[[Apiserver, Path], Mapping[str, object]] | None" = None,
    interval: str = "2s",
) -> Iterator[Ground]:
    """Everything, ready and well. ``runbooks`` may act as ``mode`` says; ``restart`` is how one is restarted."""
    with ExitStack() as exits:
        stack = exits.enter_context(Stack())
        folder = stack.data("cure")
        etcd = stack.etcd(members=3, tls=True)
        assert etcd.authority is not None
        tls = RelayTLS(etcd.authority.issue("relay"), etcd.authority.issue("relay-client"))
        relays = [exits.enter_context(Relay(endpoint, tls=tls)) for endpoint in etcd.endpoints[:2]]
        control = stack.kube_apiserver(etcd, n=2, stores=[[relay.url] for relay in relays])
        files = control.authority.issue("ballast", organization=ADMINS)
        exporter, access = _exporter(stack, folder, etcd, control, files)
        ingest, approver = _tokens(folder)
        address = stack.address()
        alertmanager = stack.alertmanager(config=_alertmanager(address, ingest))
        prometheus = stack.prometheus(
            scrape=[Scrape(job="ballast-exporter", targets=[exporter.address], auth=access)],
            rules=[_rules()],
            alertmanagers=[alertmanager.url],
            scrape_interval=interval,
            evaluation_interval=interval,
        )
        rules = [{"runbook": each, "match": {"cluster": CLUSTER}, "mode": mode, "cooldown": "1s"} for each in runbooks]
        (folder / "policy.yaml").write_text(json.dumps({"rules": rules}))
        instances = [
            {
                "url": one.url,
                "host": f"cp-{number}",
                "etcd": [etcd.endpoints[number - 1]],
                **({} if restart is None else {"restart": restart(one, folder)}),
            }
            for number, one in enumerate(control.apiservers, 1)
        ]
        remediator = stack.remediator(
            config={
                "store": {"path": folder / "remediator.db"},
                "tokens_file": folder / "tokens.yaml",
                "policy_file": folder / "policy.yaml",
                "snapshots": {"directory": folder / "snapshots"},
                "clusters": {
                    CLUSTER: {
                        "etcd": [etcd.config],
                        "prometheus": {"url": prometheus.url},
                        "alertmanagers": [{"url": alertmanager.url}],
                        "exporters": [{"url": exporter.url, "auth": {"username": USER, "password_file": access[1]}}],
                        "apiservers": {"instances": instances, "tls": files},
                        "hosts": {"local": True, "become": False, "timeout": "2m"},
                    }
                },
                "runbooks": dict(knobs or {}),
                "engine": {"reopen_after": "1s"},
            },
            address=address,
        )
        yield Ground(etcd, control, relays[0], files, exporter, prometheus, remediator, approver)
        for relay in relays:
            relay.set(PASS)


def _exporter(
    stack: Stack, folder: Path, etcd: EtcdCluster, control: ControlPlane, files: TLSFiles
) -> tuple[Service, tuple[str, Path]]:
    """An exporter that judges the apiservers, and who may ask it: a user, and the file with the password."""
    password = secrets.token_hex(16)
    (folder / "password").write_text(password)
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    (folder / "web.yaml").write_text(json.dumps({"basic_auth_users": {USER: hashed}}))
    uses = {urlsplit(one.url).netloc: [etcd.endpoints[number]] for number, one in enumerate(control.apiservers)}
    exporter = stack.exporter(
        config={
            "web_config_file": folder / "web.yaml",
            "etcd": [etcd.config],
            "apiservers": {"urls": [one.url for one in control.apiservers], "tls": files},
            "collectors": {
                "grpc_stall": {"enabled": True, "uses": uses},
                "apiserver_requests": {"enabled": False},
                "etcd_keyspace": {"enabled": False},
            },
        }
    )
    return exporter, (USER, folder / "password")


def _rules() -> str:
    stalled = 'ballast_grpc_stall_verdict{verdict="channel_stalled"} == 1'
    rules = [
        {
            "alert": name,
            "expr": f"max by (apiserver) ({stalled})",
            "keep_firing_for": "30s",
            "labels": {"ballast_runbook": runbook, "severity": "none", "cluster": CLUSTER},
        }
        for name, runbook in _ALERTS.items()
    ]
    return json.dumps({"groups": [{"name": "cures", "rules": rules}]})


def _alertmanager(remediator: str, token: Path) -> Mapping[str, object]:
    webhook = {
        "url": f"http://{remediator}/api/v1/alertmanager",
        "http_config": {"authorization": {"credentials_file": str(token)}},
    }
    route = {"receiver": "ballast", "group_by": ["..."], "group_wait": "0s", "group_interval": "5s"}
    return {
        "route": {**route, "repeat_interval": "1m"},
        "receivers": [{"name": "ballast", "webhook_configs": [webhook]}],
    }


def _tokens(folder: Path) -> tuple[Path, Path]:
    """Files with Alertmanager's token and an approver's."""
    entries = []
    for name, role in (("alertmanager", "ingest"), ("you", "approver")):
        token = secrets.token_hex(32)
        file = folder / f"{name}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        entries.append({"name": name, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()})
    (folder / "tokens.yaml").write_text(json.dumps({"tokens": entries}))
    return folder / "alertmanager.token", folder / "you.token"
