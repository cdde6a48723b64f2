"""A real apiserver sends its audit events, and what is counted agrees with its own counters."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ballast_exporter.apiservers import Listed
from ballast_exporter.collectors.apiserver_clients import ApiserverClients, build
from ballast_exporter.collectors.apiserver_requests import ApiserverRequests
from ballast_exporter.config import Config
from ballast_exporter.contract import Deadline, RequestCounter
from drills.stack import ControlPlane, Stack
from drills.stack.certificates import Authority
from drills.stack.kubernetes import write_kubeconfig
from kube_ballast.analysis.audit_policy import merge
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.errors import Denied
from kube_ballast.config import HttpConfig
from tests.exporter.apiserver_traffic import ask, connection, held, make, page
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

SOON = 30.0
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
COMPARED = {"configmaps", "secrets", "deployments.apps"}
AS_AUDIT = {"POST": "create", "PUT": "update", "APPLY": "patch"}
Counts = Mapping[tuple[str, str], float]


@contextmanager
def running(collector: ApiserverClients) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SOON)


def sink(folder: Path, port: int) -> tuple[Config, dict[str, str | None]]:
    """The exporter's configuration, and the flags of apiservers that send there."""
    folder.mkdir()
    authority = Authority(folder)
    server, client = authority.issue("sink"), authority.issue("apiserver")
    config = Config.model_validate(
        {
            "etcd": [{"members": [{"endpoint": "http://127.0.0.1:1"}]}],
            "audit": {
                "listen": f"127.0.0.1:{port}",
                "tls": {"cert": server.cert, "key": server.key, "client_ca": authority.ca},
            },
        }
    )
    kubeconfig, policy = folder / "webhook.kubeconfig", folder / "policy.yaml"
    credential = {"client-certificate": str(client.cert), "client-key": str(client.key)}
    write_kubeconfig(kubeconfig, f"https://127.0.0.1:{port}", authority.ca, credential)
    dropping = {"level": "None", "resources": [{"group": "", "resources": ["secrets"]}]}
    rules = [dropping, {"level": "Request", "verbs": ["create"]}]
    merged = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}
    assert merge(merged)
    policy.write_text(json.dumps(merged))
    flags: dict[str, str | None] = {
        "audit-policy-file": str(policy),
        "audit-webhook-config-file": str(kubeconfig),
        "audit-webhook-batch-max-wait": "200ms",
    }
    return config, flags


def told(collector: ApiserverClients) -> dict[tuple[str, ...], float]:
    """Client, user agent, resource, verb, namespace, code."""
    (requests, *_) = collector.snapshot().families
    names = ("client", "user_agent", "resource", "verb", "namespace", "code")
    return {tuple(sample.labels[name] for name in names): sample.value for sample in requests.samples}


def own_counts(text: str) -> Counts:
    """What the apiserver says of itself, by resource and by the verbs that audit knows too."""
    counts: dict[tuple[str, str], float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "apiserver_request_total" and sample.labels["resource"]:
                labels = sample.labels
                name = labels["resource"] + ("/" + labels["subresource"] if labels["subresource"] else "")
                whole = f"{name}.{labels['group']}" if labels["group"] else name
                counts[whole, AS_AUDIT.get(labels["verb"], labels["verb"].lower())] += sample.value
    return counts


AS_AUDIT = {"POST": "create", "PUT": "update", "APPLY": "patch", "DELETECOLLECTION": "deletecollection"}


def audited(collector: ApiserverClients) -> Counts:
    counts: dict[tuple[str, str], float] = defaultdict(float)
    for (_, _, resource, verb, _, _), count in told(collector).items():
        counts[resource, "delete" if verb == "deletecollection" else verb] += count  # metrics do not tell them apart
    return counts


def traffic(plane: ControlPlane, admin: HttpConfig, name: str) -> None:
    """Two clients, four resources, five verbs; a watch is opened and ended."""
    node = connection(plane, "system:node:worker-1", "system:nodes")
    for number in range(100):
        make(admin, CONFIGMAPS, {"metadata": {"name": f"{name}{number}"}})
        for _ in range(3):
            assert ask(admin, "GET", f"{CONFIGMAPS}/{name}{number}").status == 200
    for _ in range(100):
        assert ask(admin, "GET", "/apis/apps/v1/deployments").status == 200
        assert ask(admin, "GET", f"{CONFIGMAPS}/none").status == 404
        with pytest.raises(Denied):
            ask(node, "GET", "/api/v1/namespaces/default/secrets/none")
    with held(admin, "GET /api/v1/configmaps?watch=1"):
        pass
    assert ask(admin, "DELETE", CONFIGMAPS).status == 200


def test_what_an_apiserver_sends_agrees_with_its_own_counters(stack: Stack, tmp_path: Path) -> None:
    config, flags = sink(tmp_path / "audit", stack.port())
    collector = build(config, RequestCounter())
    with running(collector):
        plane = stack.kube_apiserver(stack.etcd(), flags=flags)
        admin = connection(plane, "kubernetes-admin", "system:masters")
        traffic(plane, admin, "a")  # what it asks for has series from now on
        eventually(lambda: ("configmaps", "delete") in audited(collector), within=SOON)
        eventually(lambda: ("configmaps", "watch") in audited(collector), within=SOON)
        seen: list[Counts] = []

        def quiet() -> bool:
            seen.append({key: count for key, count in audited(collector).items() if key[0] in COMPARED})
            return seen[-2:-1] == seen[-1:]

        eventually(quiet, within=SOON, every=1.0)  # no batch is under way
        before = own_counts(page(admin)), audited(collector)
        traffic(plane, admin, "b")

        def agreed() -> Counts:
            theirs = {key: count - before[0].get(key, 0) for key, count in own_counts(page(admin)).items()}
            ours = {key: count - before[1].get(key, 0) for key, count in audited(collector).items()}
            compared = {key: (theirs.get(key, 0), ours.get(key, 0)) for key in theirs if key[0] in COMPARED}
            assert all(abs(mine - own) <= 0.01 * own for own, mine in compared.values()), compared
            return theirs

        theirs = eventually(agreed, within=SOON, every=0.5)
    assert theirs["configmaps", "get"] == 400
    assert theirs["configmaps", "watch"] >= 1
    assert told(collector)["nodes", "kube-ballast", "secrets", "get", "default", "4xx"] >= 100
    assert all(sample.value == 0 for sample in collector.snapshot().families[-1].samples)


def test_what_an_apiserver_cannot_deliver_is_told_by_who_lost_it(stack: Stack, tmp_path: Path) -> None:
    _, flags = sink(tmp_path / "audit", stack.port())  # and nobody listens there
    few = {"batch-buffer-size": "20", "batch-max-size": "10", "batch-throttle-qps": "1", "batch-throttle-burst": "1"}
    small = {f"audit-webhook-{name}": value for name, value in {**few, "initial-backoff": "100ms"}.items()}
    plane = stack.kube_apiserver(stack.etcd(), flags={**flags, **small})
    admin = connection(plane, "kubernetes-admin", "system:masters")
    requests = ApiserverRequests(Listed([ApiserverMetrics(admin)]), RequestCounter(), 500)

    def lost() -> Mapping[str, float]:
        for _ in range(50):
            assert ask(admin, "GET", f"{CONFIGMAPS}/none").status == 404
        families = {each.name: each for each in requests.collect(Deadline(time.monotonic() + SOON)).families}
        [events] = families["ballast_apiserver_requests_audit_events"].samples
        plugins = families["ballast_apiserver_requests_audit_lost_events"].samples
        found = {each.labels["plugin"]: each.value for each in plugins}
        assert set(found) == {"buffered", "webhook"}
        assert sum(found.values()) <= events.value
        return found

    # The buffer was full; and the batches that left it were given up, one after the other.
    eventually(lambda: all(count >= 10 for count in lost().values()), within=SOON, every=0.5)
