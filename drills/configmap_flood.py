"""Kubelets flood the apiserver with requests for ConfigMaps: `make drill-configmap-flood`.

Real etcd, kube-apiserver, exporter (with its audit sink), Prometheus and Alertmanager with the mixin's rules. First a
few controllers alone, then the kubelets. What has to hold: ApiserverConfigMapShareHigh fires and reaches Alertmanager,
naming the kubelets; `ballastctl apiserver top` names resource and clients; and the shares told are those of the
apiserver's own counters. Ends with 1 when something does not hold.

    python -m drills.configmap_flood --kubelets 200
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from drills.kubelets import CONFIGMAPS, GROUP, SHARED, Load
from drills.stack import Authority, ControlPlane, Scrape, Service, Stack, write_kubeconfig
from drills.stack.kubernetes import ADMINS
from drills.stack.process import console_script
from kube_ballast.clients.alertmanager import Alertmanager, AlertStatus
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.exporter import Exporter
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import HttpConfig
from tools.mixin import build

T = TypeVar("T")
ALERT: Final = "ApiserverConfigMapShareHigh"
FLOODERS: Final = "nodes:get configmaps get"
KNOBS: Final = {"configMapShareFor": "30s"}
INTERVAL: Final = "5s"
TIMEOUT, POLL = 5.0, 0.5
LONG: Final = 50.0
"""Seconds for an apiserver's own page while it is flooded; also what the exporter gives it by default."""
WITHIN: Final = 300.0
"""Seconds; also the window of the rules, so that all shares are of the same time."""
TOLERANCE: Final = 0.05
SHARE: Final = 'resource:ballast_apiserver_requests:share{group="",resource="configmaps"}'
OWN, REQUESTS = "apiserver_request_total", "ballast_apiserver_requests_total"
CLIENTS, EVENTS = "ballast_apiserver_clients_requests_total", "ballast_apiserver_clients_events_total"
SHED: Final = "ballast_apiserver_clients_shed_events_total"


@dataclass(frozen=True, slots=True)
class Chain:
    """What runs."""

    plane: ControlPlane
    admin: HttpConfig
    exporter: Service
    prometheus: Service
    alertmanager: Service


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests for ConfigMaps and all, as the apiserver itself, the metrics' and the audit events' collector count."""

    own: tuple[float, float]
    metrics: tuple[float, float]
    events: tuple[float, float]
    shed: float


@dataclass(slots=True)
class Report:
    """Rows of what was seen, and whether each holds."""

    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, what: str, seen: str, *, holds: bool) -> None:
        self.rows.append((what, seen, holds))

    def show(self) -> bool:
        """Prints all; gives whether all hold."""
        width = max(len(what) for what, *_ in self.rows)
        for what, seen, holds in self.rows:
            print(f"  {what:{width}}  {seen}{'' if holds else '   DOES NOT HOLD'}")
        return all(holds for *_, holds in self.rows)


def start(stack: Stack) -> Chain:
    """All of it, connected as a user would."""
    folder = stack.data("chain")
    plane, audit = _plane(stack, folder)
    admin = HttpConfig(url=plane.apiservers[0].url, tls=plane.authority.issue("drill", organization=ADMINS))
    clock = {"interval": INTERVAL, "deadline": INTERVAL}
    exporter = stack.exporter(
        config={
            "etcd": [plane.etcd.config],
            "audit": audit,
            "apiservers": {"urls": [admin.url], "tls": plane.authority.issue("exporter", organization=ADMINS)},
            "collectors": {
                "apiserver_requests": clock,
                "apiserver_clients": {**clock, "node_group": "^([a-z]+)-"},
                "etcd_keyspace": {"enabled": False},
            },
        }
    )
    alertmanager = stack.alertmanager(
        config={"route": {"receiver": "drill", "group_wait": "0s"}, "receivers": [{"name": "drill"}]}
    )
    built = build(folder / "mixin", KNOBS)
    prometheus = stack.prometheus(
        scrape=[Scrape(job="ballast-exporter", targets=[exporter.address])],
        rules=[path for path in built if path.name.startswith("ballast-") and path.suffix == ".yaml"],
        alertmanagers=[alertmanager.url],
    )
    return Chain(plane, admin, exporter, prometheus, alertmanager)


def _plane(stack: Stack, folder: Path) -> tuple[ControlPlane, Mapping[str, object]]:
    """An apiserver that sends its audit events, and the configuration of whoever takes them."""
    authority, address = Authority(folder), stack.address()
    server, client = authority.issue("sink"), authority.issue("apiserver")
    credential = {"client-certificate": str(client.cert), "client-key": str(client.key)}
    write_kubeconfig(folder / "webhook.kubeconfig", f"https://{address}", authority.ca, credential)
    rules = [{"level": "Metadata", "omitStages": ["RequestReceived", "ResponseStarted"]}]
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": rules}
    (folder / "policy.yaml").write_text(json.dumps(policy))
    flags = {
        "audit-policy-file": str(folder / "policy.yaml"),
        "audit-webhook-config-file": str(folder / "webhook.kubeconfig"),
        "audit-webhook-batch-max-wait": "1s",
    }
    audit = {"listen": address, "tls": {"cert": server.cert, "key": server.key, "client_ca": authority.ca}}
    return stack.kube_apiserver(stack.etcd(), flags=flags), audit


def prepare(chain: Chain) -> None:
    """The ConfigMaps, and the right to read them: real nodes have it by the pods that run there."""
    http = HttpClient(chain.admin)

    def make(path: str, body: Mapping[str, Any]) -> None:
        answer = http.request("POST", path, timeout=TIMEOUT, body=json.dumps(body).encode())
        if answer.status != 201:
            raise SystemExit(f"POST {path}: {answer.status} {answer.text()}")

    rbac = "/apis/rbac.authorization.k8s.io/v1"
    for group, rules in (
        ("system:nodes", [_rule("", "configmaps")]),
        (GROUP, [_rule("", "pods"), _rule("coordination.k8s.io", "leases")]),
    ):
        name = {"name": f"drill:{group}"}
        make(f"{rbac}/clusterroles", {"metadata": name, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", **name}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}]
        make(f"{rbac}/clusterrolebindings", {"metadata": name, "roleRef": role, "subjects": subjects})
    for number in range(CONFIGMAPS):
        make(SHARED, {"metadata": {"name": f"c{number}"}, "data": {"settings": "x" * 1000}})
    # Counts that are there before the flood: of a series that appears, Prometheus does not see the first requests.
    assert http.get(f"{SHARED}/c0", timeout=TIMEOUT).status == 200
    assert http.get(f"{SHARED}?watch=1&timeoutSeconds=1", timeout=TIMEOUT).status == 200


def _rule(group: str, resource: str) -> Mapping[str, object]:
    return {"apiGroups": [group], "resources": [resource], "verbs": ["get", "list", "watch", "create", "update"]}


def counts(chain: Chain) -> Counts:
    """As of now; the exporter's are up to an interval older than the apiserver's own."""
    page = Exporter(HttpConfig(url=chain.exporter.url)).read((REQUESTS, CLIENTS, EVENTS, SHED), timeout=TIMEOUT)
    own: list[Sample] = []
    wanted = Filter((OWN,), own.append)
    HttpClient(chain.admin).get("/metrics", timeout=LONG, consume=wanted.feed)
    wanted.close()
    named, every = _sums(page, CLIENTS), sum(each.value for each in page if each.name == EVENTS)
    shed = sum(each.value for each in page if each.name == SHED)
    return Counts(_sums(own, OWN), _sums(page, REQUESTS), (named[0], every), shed)


def _sums(samples: Iterable[Sample], name: str) -> tuple[float, float]:
    told = [each for each in samples if each.name == name]
    configmaps = sum(each.value for each in told if each.labels["resource"] == "configmaps")
    return configmaps, sum(each.value for each in told)


def settle(chain: Chain) -> None:
    """Waits until Prometheus has a share."""
    prometheus = Prometheus(HttpConfig(url=chain.prometheus.url))
    if until(lambda: prometheus.query(SHARE, timeout=TIMEOUT), WITHIN) is None:
        raise SystemExit(f"Prometheus has no share of ConfigMaps after {WITHIN:g} s")


def named(chain: Chain) -> Counts:
    """The first counts with the kubelets among the clients: what they asked before has no series (``remainder``)."""

    def ready() -> Counts | None:
        page = Exporter(HttpConfig(url=chain.exporter.url)).read((CLIENTS,), timeout=TIMEOUT)
        clients = {each.labels["client"] for each in page if each.name == CLIENTS}
        return counts(chain) if clients >= {"nodes:get", "nodes:watch"} else None

    found = until(ready, WITHIN)
    if found is None:
        raise SystemExit(f"the audit events name no kubelet after {WITHIN:g} s")
    return found


def until(look: Callable[[], T | None], seconds: float) -> T | None:
    """The first thing seen, or None after that time; who cannot be asked is asked again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if seen := look():
                return seen
        except ClientError as error:
            print(f"  cannot look: {error}")
        time.sleep(POLL)
    return None


def watch_alert(chain: Chain, report: Report, began: float) -> None:
    """From the flood's begin until it fires, and until Alertmanager has it."""
    prometheus = Prometheus(HttpConfig(url=chain.prometheus.url))
    alertmanager = Alertmanager(HttpConfig(url=chain.alertmanager.url))
    firing = until(
        lambda: prometheus.query(f'ALERTS{{alertname="{ALERT}",alertstate="firing"}}', timeout=TIMEOUT), WITHIN
    )
    seconds = time.monotonic() - began
    report.add(f"{ALERT} fires", f"after {seconds:.0f} s", holds=firing is not None)
    if firing is None:
        return

    def arrived() -> AlertStatus | None:
        return next((each for each in alertmanager.alerts(timeout=TIMEOUT, labels={"alertname": ALERT})), None)

    alert = until(arrived, 30.0)
    report.add("at Alertmanager", f"after {time.monotonic() - began:.0f} s", holds=alert is not None)
    words = "" if alert is None else alert.annotations["description"]
    report.add("its description", words.partition(" Mostly ")[0], holds="nodes:get (kubelet," in words)


def look_at_top(chain: Chain, report: Report) -> None:
    """What a person is told who asks."""
    command = [str(console_script("ballastctl")), "apiserver", "top", "--once", "--every", INTERVAL, "--top", "5"]
    command += ["--exporter", chain.exporter.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)
    print("\n".join(f"  | {line}" for line in (done.stdout or done.stderr).splitlines()), flush=True)
    verdict = next(iter(done.stdout.splitlines()), "")
    report.add("apiserver top", verdict, holds=verdict.endswith(FLOODERS))


def compare(chain: Chain, before: Counts, report: Report) -> None:
    """The share of ConfigMaps as told by us, beside that of the apiserver's own counters."""
    after = counts(chain)
    told = Prometheus(HttpConfig(url=chain.prometheus.url)).query(SHARE, timeout=TIMEOUT)
    own = _share(before.own, after.own)
    report.add("the apiserver's own counters", f"{own:.1%} of {after.own[1] - before.own[1]:,.0f}", holds=True)
    for name, share in (
        ("apiserver_requests", _share(before.metrics, after.metrics)),
        ("apiserver_clients", _share(before.events, after.events)),
        ("the rule, in Prometheus", told[0].value if told else 0.0),
    ):
        apart = abs(share / own - 1)
        report.add(name, f"{share:.1%}, {apart:.1%} from them (at most {TOLERANCE:.0%})", holds=apart <= TOLERANCE)
    shed = after.shed - before.shed
    report.add("audit events shed", f"{shed:.0f}", holds=shed == 0)


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[0] - before[0]) / (after[1] - before[1])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubelets", type=int, default=2000)
    kubelets = parser.parse_args().kubelets
    report, began = Report(), time.monotonic()
    with Stack() as stack:
        chain = start(stack)
        load = Load(chain.admin.url, chain.plane.authority.issue("front-proxy-client"))
        prepare(chain)
        print(f"ready after {time.monotonic() - began:.0f} s; controllers ask", flush=True)
        with load.controllers():
            settle(chain)
            print(f"{kubelets:,} kubelets begin, half of them in Get mode", flush=True)
            with load.kubelets(kubelets):
                began_flood = time.monotonic()
                before = named(chain)
                watch_alert(chain, report, began_flood)
                look_at_top(chain, report)
                compare(chain, before, report)
        failures = len(load.failures)
        seen = f"{failures:,} of {load.answered + failures:,}" + (f", last: {load.failures[-1]}" if failures else "")
        report.add("requests that failed", seen, holds=failures <= 0.01 * load.answered)
        print(f"{kubelets:,} kubelets, {time.monotonic() - began:.0f} s in all:")
        good = report.show()
        if not good:
            stack.fail()
            print(f"logs: {stack.logs}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
