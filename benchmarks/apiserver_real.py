"""Whether what is told of a real apiserver is right, what Ballast asks of it, and what its audit flags cost.

etcd and two apiservers on it: one that sends its audit events to a real exporter, one without audit. kwok's nodes, as
many as the machine holds below 70 %, renew their Leases through the first one.

* Shares: kwok and a few clients beside it each ask something that hardly anybody else asks. The apiserver's own
  counters are read before and after, while nobody asks and nothing is under way, and so is what the exporter tells.
* p99: kwok stands still, and all that it had renewed is renewed at 500 PUTs a second, through the one apiserver and the
  other in turns, in windows of the same length. Latencies count from when each was due. CPU time is the processes' own.

About ten minutes; takes the components of `make tools-e2e`.
"""

import asyncio
import json
import os
import ssl
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.apiserver_figures import (
    Asked,
    Counts,
    apart,
    apart_by_client,
    audited_counts,
    grown,
    own_counts,
    p99,
    ratio,
)
from benchmarks.apiserver_load import CLIENTS, Lines, Renewals, leases, mix, steady
from benchmarks.report import Report
from drills.kubelets import Line
from drills.stack import Authority, ControlPlane, Fleet, Service, Stack, write_kubeconfig
from drills.stack.families import cpu_seconds
from drills.stack.kubernetes import ADMINS
from kube_ballast.analysis.audit_policy import merge
from kube_ballast.clients.exporter import Exporter
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig

NODES: Final = 5_000
MIX_SECONDS: Final = 120.0
WARM_MIX_SECONDS: Final = 30.0
WINDOWS: Final = 14
WINDOW_SECONDS, WARM_SECONDS = 8.0, 1.5
PUTS_PER_SECOND: Final = 500.0
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
    """What runs; ``watched`` sends its audit events, ``plain`` has no audit."""

    watched: ControlPlane
    plain: ControlPlane
    exporter: Service

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
        report.shown("apiserver_real_machine_in_use", fleet.busy, "ratio")
        _shares(report, chain, fleet)
        fleet.process.pause()
        asyncio.run(_latency(report, chain))
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
    exporter = stack.exporter(
        config={
            "etcd": [etcd.config],
            "audit": {"listen": address, "tls": {"cert": server.cert, "key": server.key, "client_ca": authority.ca}},
            "apiservers": {
                "urls": [_url(watched)],
                "tls": watched.authority.issue("ballast-exporter", organization=ADMINS),
            },
            "collectors": {"etcd_keyspace": {"enabled": False}, "grpc_stall": {"enabled": True}},
        }
    )
    return Chain(watched, plain, exporter)


def prepare(chain: Chain) -> None:
    """The namespace that grpc_stall writes to, and the ConfigMap that is read."""
    for path, item in (
        ("/api/v1/namespaces", {"metadata": {"name": "kube-ballast"}}),
        ("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "settings"}, "data": {"x": "x" * 1000}}),
    ):
        answer = HttpClient(chain.admin).request("POST", path, timeout=TIMEOUT, body=json.dumps(item).encode())
        if answer.status != 201:
            raise RuntimeError(f"POST {path}: {answer.status} {answer.text()}")


def lines(plane: ControlPlane) -> Lines:
    """To its apiserver, as the front proxy, which vouches for any user."""
    files, place = plane.authority.issue("front-proxy-client"), urlsplit(_url(plane))
    assert files.cert is not None
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.cert, files.key)
    return Lines(lambda: Line(str(place.hostname), int(place.port or 443), context))


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
    shed = sum(each.value for each in told(chain, SHED))
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
    line = lines(chain.watched)
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
    audited = told(chain, CLIENTS_TOLD)
    clients: defaultdict[str, float] = defaultdict(float)
    for each in audited:
        clients[each.labels["client"]] += each.value if each.labels["resource"] else 0.0
    now = Moment(own_counts(own(chain)), own_counts(told(chain, REQUESTS)), audited_counts(audited), clients)
    fleet.process.resume()
    return now


def _looked(chain: Chain) -> list[float]:
    """When each of the collectors that are compared last did, in Unix seconds."""
    found = {each.labels["collector"]: each.value for each in told(chain, LOOKED)}
    return [found.get(name, 0.0) for name in COMPARED]


def own(chain: Chain) -> list[Sample]:
    """The watched apiserver's own counters."""
    found: list[Sample] = []
    wanted = Filter((OWN,), found.append)
    HttpClient(chain.admin).get("/metrics", timeout=TIMEOUT, consume=wanted.feed)
    wanted.close()
    return found


def told(chain: Chain, name: str) -> list[Sample]:
    """By the exporter."""
    page = Exporter(HttpConfig(url=chain.exporter.url)).read((name,), timeout=TIMEOUT)
    return [each for each in page if each.name == name]


def _sources(chain: Chain) -> Mapping[str, float]:
    """Requests that each collector sent to the apiserver."""
    place, found = urlsplit(_url(chain.watched)).netloc, defaultdict[str, float](float)
    for each in told(chain, SOURCES):
        if place in each.labels["target"]:
            found[each.labels["collector"]] += each.value
    return found


def _grown_sources(before: Mapping[str, float], after: Mapping[str, float]) -> Mapping[str, float]:
    return defaultdict(float, {name: count - before.get(name, 0.0) for name, count in after.items()})


# --- latency ---


@dataclass(frozen=True, slots=True)
class Window:
    """p99 in seconds, and seconds of processor time for each request."""

    p99: float
    apiserver: float
    exporter: float


async def _latency(report: Report, chain: Chain) -> None:
    planes = {"with_audit": chain.watched, "without_audit": chain.plain}
    first = lines(chain.watched)
    renewals = await leases(first)
    first.close()
    seen: dict[str, list[Window]] = {name: [] for name in planes}
    for number in range(WINDOWS):
        say(f"renewals, windows {number + 1} of {WINDOWS}")
        # The order turns, so that neither always follows the other.
        for name in sorted(planes, reverse=bool(number % 2)):
            # Connections of its own: an apiserver ends those that nobody used for 90 s.
            way = lines(planes[name])
            await steady(renewals.through(way), PUTS_PER_SECOND, WARM_SECONDS)
            seen[name].append(await _window(renewals, way, planes[name], chain.exporter))
            way.close()
    p99s = {name: [each.p99 for each in windows] for name, windows in seen.items()}
    for name, windows in seen.items():
        say(f"  {name:14} {' '.join(f'{each.p99 * 1000:.1f}' for each in windows)} ms")
        report.shown(f"apiserver_real_p99_{name}", statistics.median(p99s[name]) * 1000, "ms")
        for whose in ("apiserver", "exporter"):
            cpu = statistics.median(getattr(each, whose) for each in windows)
            report.shown(f"apiserver_real_cpu_of_{whose}_{name}", cpu * 1e6, "us/request")
    without = p99s["without_audit"]
    report.shown("apiserver_real_p99_without_audit_odd_by_even", ratio(without[::2], without[1::2]), "ratio")
    report.at_most("apiserver_real_p99_with_by_without", ratio(p99s["with_audit"], without), "ratio", 1.05)


async def _window(renewals: Renewals, way: Lines, plane: ControlPlane, exporter: Service) -> Window:
    pids = (plane.apiservers[0].process.pid, exporter.process.pid)
    before = [cpu_seconds(pid) for pid in pids]
    taken = await steady(renewals.through(way), PUTS_PER_SECOND, WINDOW_SECONDS)
    apiserver, served = (cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True))
    return Window(p99(taken), apiserver / len(taken), served / len(taken))
