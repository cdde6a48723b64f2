"""Whether what is told of a real apiserver is right, what Ballast asks of it, and what its audit flags cost.

etcd and two apiservers on it: one that sends its audit events to a real exporter, one without audit. kwok's nodes renew
their Leases through the first one, as often as the machine holds below 70 %. Another exporter, a process of its own
as the documentation has it, reads the first apiserver and probes its way to etcd.

* Shares: kwok and a few clients beside it each ask something that hardly anybody else asks. The apiserver's own
  counters are read before and after, while nobody asks and nothing is under way, and so is what the exporters tell.
* p99: see `benchmarks.apiserver_latency`; kwok and the exporter that asks are ended before.

About twenty-five minutes; takes the components of `make tools-e2e`.
"""

import asyncio
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks import apiserver_latency
from benchmarks.apiserver_figures import Asked, Counts, apart, apart_by_client, audited_counts, grown, own_counts
from benchmarks.apiserver_load import CLIENTS, front_proxy, mix
from benchmarks.report import Report
from drills.stack import Authority, ControlPlane, Fleet, Service, Stack, write_kubeconfig
from drills.stack.kubernetes import ADMINS
from kube_ballast.analysis.audit_policy import merge
from kube_ballast.clients.exporter import Exporter
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig

NODES: Final = 5_000
MIX_SECONDS: Final = 120.0
WARM_MIX_SECONDS: Final = 30.0
TIMEOUT: Final = 30.0
BATCH_WAIT_SECONDS: Final = 5.0
"""As the documentation recommends it; what ended longer ago than that has been sent."""
LOOKED_WITHIN_SECONDS: Final = 150.0
OWN, REQUESTS = "apiserver_request_total", "ballast_apiserver_requests_total"
CLIENTS_TOLD, SHED = "ballast_apiserver_clients_requests_total", "ballast_apiserver_clients_shed_events_total"
SOURCES, LOOKED = "ballast_source_requests_total", "ballast_collector_last_success_timestamp_seconds"
COMPARED: Final = ("apiserver_requests", "apiserver_clients")
"""The collectors whose counts are compared."""
SHOWN: Final = 12
ASKS: Final = {
    "kwok": (Asked("leases.coordination.k8s.io", "PUT"), Asked("pods", "LIST")),
    **{"nodes" if each.who.name.startswith("system:node:") else each.who.name: (each.asked,) for each in CLIENTS},
}


@dataclass(frozen=True, slots=True)
class Chain:
    """What runs; ``watched`` sends its audit events to the exporter ``taking``, and ``asking`` asks it."""

    watched: ControlPlane
    plain: ControlPlane
    asking: Service
    taking: Service

    @property
    def admin(self) -> HttpConfig:
        """May do everything, through the watched one."""
        return HttpConfig(url=_url(self.watched), tls=self.watched.authority.issue("bench", organization=ADMINS))


@dataclass(frozen=True, slots=True)
class Moment:
    """What was counted until then: by the apiserver, by the two collectors, and by client."""

    own: Counts
    metrics: Counts
    audit: Counts
    clients: Mapping[str, float]


def run(report: Report) -> None:
    """The suite `apiserver-real`."""
    with Stack() as stack:
        chain = start(stack)
        prepare(chain)
        fleet = stack.kwok(chain.watched, nodes=NODES, fit=True, say=say)
        report.shown("apiserver_real_nodes", fleet.nodes, "nodes")
        report.shown("apiserver_real_renewed_every", fleet.renewed_every, "seconds")
        report.shown("apiserver_real_machine_in_use", fleet.busy, "ratio")
        _shares(report, chain, fleet)
        fleet.process.stop()
        chain.asking.process.stop()
        apiserver_latency.measure(report, chain.watched, chain.plain, chain.taking)
        report.shown("apiserver_real_load_average", os.getloadavg()[2], "processes")


def say(what: str) -> None:
    """For people who watch."""
    print(what, file=sys.stderr, flush=True)


# --- what runs ---


def start(stack: Stack) -> Chain:
    """The flags and the policy are those of docs/apiserver-clients.md."""
    folder, etcd, address = stack.data("audit"), stack.etcd(), stack.address()
    authority = Authority(folder)
    server, client = authority.issue("sink"), authority.issue("apiserver")
    credential = {"client-certificate": str(client.cert), "client-key": str(client.key)}
    write_kubeconfig(folder / "webhook.kubeconfig", f"https://{address}", authority.ca, credential)
    merged = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [{"level": "None"}]}
    merge(merged)
    (folder / "policy.yaml").write_text(json.dumps(merged))
    flags = {
        "audit-policy-file": str(folder / "policy.yaml"),
        "audit-webhook-config-file": str(folder / "webhook.kubeconfig"),
        "audit-webhook-batch-max-wait": f"{BATCH_WAIT_SECONDS:g}s",
    }
    watched = stack.kube_apiserver(etcd, flags=flags)
    # Each writes its address into the same Service: with an address of its own it takes nothing from the other.
    plain = stack.kube_apiserver(etcd, flags={"advertise-address": "192.0.2.2"})
    tls = watched.authority.issue("ballast-exporter", organization=ADMINS)
    asking = stack.exporter(
        config={
            "etcd": [etcd.config],
            "apiservers": {"urls": [_url(watched)], "tls": tls},
            "collectors": {"etcd_keyspace": {"enabled": False}, "grpc_stall": {"enabled": True}},
        }
    )
    taking = stack.exporter(
        config={
            "etcd": [etcd.config],
            "audit": {"listen": address, "tls": {"cert": server.cert, "key": server.key, "client_ca": authority.ca}},
            "collectors": {"etcd_keyspace": {"enabled": False}, "etcd_quota": {"enabled": False}},
        }
    )
    return Chain(watched, plain, asking, taking)


def prepare(chain: Chain) -> None:
    """The ConfigMap that is read; grpc_stall makes the namespace that it writes to."""
    path, item = "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "settings"}, "data": {"x": "x" * 1000}}
    answer = HttpClient(chain.admin).request("POST", path, timeout=TIMEOUT, body=json.dumps(item).encode())
    if answer.status != 201:
        raise RuntimeError(f"POST {path}: {answer.status} {answer.text()}")


def _url(plane: ControlPlane) -> str:
    return plane.apiservers[0].url


# --- shares ---


def _shares(report: Report, chain: Chain, fleet: Fleet) -> None:
    say("warming up: what is asked gets its series")
    asyncio.run(_mixed(chain, WARM_MIX_SECONDS))
    before = _still(chain, fleet)
    say(f"{MIX_SECONDS:g} s of traffic")
    asked, sources = sum(each.value for each in own(chain)), _sources(chain)
    asyncio.run(_mixed(chain, MIX_SECONDS))
    asked, sources = sum(each.value for each in own(chain)) - asked, _grown_sources(sources, _sources(chain))
    after = _still(chain, fleet)
    _agreement(report, before, after)
    ours = sum(sources[each] for each in COMPARED)
    report.shown("apiserver_real_requests", asked / MIX_SECONDS, "1/s")
    report.at_most("apiserver_real_share_of_these_collectors", ours / asked, "ratio", 0.001)
    report.at_most("apiserver_real_share_of_ballast", sum(sources.values()) / asked, "ratio", 0.01)
    shed = sum(each.value for each in told(chain.taking, SHED))
    report.at_most("apiserver_real_audit_events_shed", shed, "events", 0)


def _agreement(report: Report, before: Moment, after: Moment) -> None:
    theirs = grown(before.own, after.own)
    metrics, audit = grown(before.metrics, after.metrics), grown(before.audit, after.audit)
    clients = grown(before.clients, after.clients)
    total = sum(theirs.values())
    for what, count in sorted(theirs.items(), key=lambda item: -item[1])[:SHOWN]:
        say(
            f"  {what.verb:6} {what.resource:48} {count:8,.0f} {count / total:7.2%}"
            f"   apiserver_requests {metrics.get(what, 0):8,.0f}   apiserver_clients {audit.get(what, 0):8,.0f}"
        )
    report.shown("apiserver_real_requests_compared", total, "requests")
    report.at_most("apiserver_real_requests_shares_apart", apart(theirs, metrics), "ratio", 0.01)
    report.at_most("apiserver_real_clients_shares_apart", apart(theirs, audit), "ratio", 0.01)
    report.at_most("apiserver_real_shares_by_client_apart", apart_by_client(theirs, clients, ASKS), "ratio", 0.01)


async def _mixed(chain: Chain, seconds: float) -> None:
    line = front_proxy(chain.watched)
    await mix(line, seconds)
    line.close()


def _still(chain: Chain, fleet: Fleet) -> Moment:
    """What is counted while kwok stands still, all events have come, and both collectors have looked since."""
    say("kwok stands still; what was sent arrives, and both collectors look")
    fleet.process.pause()
    arrived, gives_up = time.time() + BATCH_WAIT_SECONDS + 1.0, time.monotonic() + LOOKED_WITHIN_SECONDS
    while min(_looked(chain)) < arrived:
        if time.monotonic() > gives_up:
            raise RuntimeError(f"the collectors did not look within {LOOKED_WITHIN_SECONDS:g} s: {_looked(chain)}")
        time.sleep(0.2)
    audited = told(chain.taking, CLIENTS_TOLD)
    clients: defaultdict[str, float] = defaultdict(float)
    for each in audited:
        clients[each.labels["client"]] += each.value if each.labels["resource"] else 0.0
    now = Moment(own_counts(own(chain)), own_counts(told(chain.asking, REQUESTS)), audited_counts(audited), clients)
    fleet.process.resume()
    return now


def _looked(chain: Chain) -> list[float]:
    """When each of the collectors that are compared last did, in Unix seconds."""
    page = (*told(chain.asking, LOOKED), *told(chain.taking, LOOKED))
    found = {each.labels["collector"]: each.value for each in page}
    return [found.get(name, 0.0) for name in COMPARED]


def own(chain: Chain) -> list[Sample]:
    """The watched apiserver's own counters."""
    found: list[Sample] = []
    wanted = Filter((OWN,), found.append)
    HttpClient(chain.admin).get("/metrics", timeout=TIMEOUT, consume=wanted.feed)
    wanted.close()
    return found


def told(exporter: Service, name: str) -> list[Sample]:
    """By that exporter."""
    page = Exporter(HttpConfig(url=exporter.url)).read((name,), timeout=TIMEOUT)
    return [each for each in page if each.name == name]


def _sources(chain: Chain) -> Mapping[str, float]:
    """Requests that each collector sent to the apiserver."""
    found = defaultdict[str, float](float)
    for each in told(chain.asking, SOURCES):
        if each.labels["kind"] == "apiserver":
            found[each.labels["collector"]] += each.value
    return found


def _grown_sources(before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, float]:
    return defaultdict(float, {name: count - before.get(name, 0.0) for name, count in after.items()})
