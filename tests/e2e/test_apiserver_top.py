"""`ballastctl apiserver top` names who floods a real apiserver, through the exporter's own counts."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drills.stack import Authority, ControlPlane, Stack, write_kubeconfig
from drills.stack.kubernetes import ADMINS
from kube_ballast.clients.kubernetes import Kubernetes, PartialObjectMetadata
from kube_ballast.config import KubernetesConfig

pytestmark = pytest.mark.e2e

COMMAND = [sys.executable, "-c", "from ballastctl.cli import main; main()", "apiserver", "top"]
CONFIGMAP = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
SECONDS = 30.0
REPORTS = 30
FLOOD = {"client": "flooder", "resource": "configmaps", "verb": "get"}


def apiserver(stack: Stack, folder: Path) -> tuple[ControlPlane, dict[str, Any]]:
    """An apiserver that sends its audit events, and the configuration of whoever takes them."""
    authority, address = Authority(folder), stack.address()
    server, client = authority.issue("sink"), authority.issue("apiserver")
    credential = {"client-certificate": str(client.cert), "client-key": str(client.key)}
    write_kubeconfig(folder / "webhook.kubeconfig", f"https://{address}", authority.ca, credential)
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "Metadata"}]}
    (folder / "policy.yaml").write_text(json.dumps(policy))
    flags = {
        "audit-policy-file": str(folder / "policy.yaml"),
        "audit-webhook-config-file": str(folder / "webhook.kubeconfig"),
        "audit-webhook-batch-max-wait": "200ms",
    }
    audit = {"listen": address, "tls": {"cert": server.cert, "key": server.key, "client_ca": authority.ca}}
    return stack.kube_apiserver(stack.etcd(), flags=flags), audit


@contextmanager
def flood(plane: ControlPlane) -> Iterator[None]:
    """A client that asks for one ConfigMap without a pause."""
    stop = threading.Event()
    client = Kubernetes(KubernetesConfig(kubeconfig=plane.kubeconfig("flooder", ADMINS)), agent="flood")

    def ask() -> None:
        with client.kept() as same:
            while not stop.is_set():
                same.get(CONFIGMAP, PartialObjectMetadata, timeout=SECONDS)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SECONDS)


def most_of(report: Mapping[str, Any]) -> Mapping[str, str] | None:
    return report["rows"][0]["by"] if report["rows"] and report["rows"][0]["share"] > 0.5 else None


def test_the_flooder_is_named(stack: Stack, tmp_path: Path) -> None:
    plane, audit = apiserver(stack, tmp_path)
    reader = plane.authority.issue("reader", organization=ADMINS)
    quick = {"interval": "1s", "deadline": "1s"}
    exporter = stack.exporter(
        config={
            "etcd": [plane.etcd.config],
            "audit": audit,
            "apiservers": {"urls": [plane.apiservers[0].url], "tls": reader},
            "collectors": {
                "apiserver_clients": quick,
                "apiserver_requests": quick,
                "etcd_keyspace": {"enabled": False},
            },
        }
    )
    command = [*COMMAND, "--exporter", exporter.url, "--every", "1s", "-o", "json"]
    with flood(plane), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        reports = (json.loads(line) for line in process.stdout)
        # The first events may still be those of its start.
        report = next(report for report, _ in zip(reports, range(REPORTS), strict=False) if most_of(report) == FLOOD)
        process.terminate()
    assert report["rows"][0]["errors"] == 0.0
    assert report["lost_events"] == {}
