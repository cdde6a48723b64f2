"""What it costs to count an apiserver's audit events.

Events are as an apiserver of 1.36 sends them at level Metadata, 400 a body. `decoded and counted` is CPU time of one
thread. The ten million clients run in a process of their own, each a key of its own: ``python -m
benchmarks.apiserver_clients``. The sink is a real exporter's: it answers over TLS with a client certificate, at 5,000
events a second, while it decodes. The Zipf stream has 100,000 keys (exponent 1.1).
"""

import http.client
import itertools
import json
import random
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ballast_exporter.collectors.apiserver_clients import Tally
from benchmarks.memory import memory
from benchmarks.report import Report
from drills.stack import Authority, Stack
from kube_ballast.analysis.audit_clients import Namer
from kube_ballast.analysis.heavy_keys import HeavyKeys
from kube_ballast.clients.audit import Event, ObjectRef, Status, User, decode_list
from kube_ballast.clients.exporter import Exporter
from kube_ballast.config import HttpConfig, TLSFiles, split_address

BATCH: Final = 400
BATCHES: Final = 250
CLIENTS: Final = 10_000_000
MB: Final = 1e6
SHED: Final = "ballast_apiserver_clients_shed_events_total"


def run(report: Report) -> None:
    """Part of the suite `apiserver`: about three minutes, most of it the ten million clients."""
    bodies = [batch(range(BATCH * number, BATCH * (number + 1))) for number in range(BATCHES)]
    report.shown("audit_event", len(bodies[0]) / BATCH, "bytes")
    report.at_least("audit_decoded_and_counted", rate(bodies), "events/s", 50_000.0)
    report.at_most("audit_answer_p99", answer_p99(bodies) * 1000, "ms", 20.0)
    zipf(report)
    program = [sys.executable, "-m", "benchmarks.apiserver_clients"]
    grown = subprocess.run(program, check=True, capture_output=True, text=True, timeout=600).stdout
    report.at_most("audit_memory_of_10_million_clients", float(grown) / MB, "MB", 64.0)


def batch(numbers: Iterable[int]) -> bytes:
    """A body with these events."""
    head = {"kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}}
    return json.dumps({**head, "items": [one(number) for number in numbers]}, separators=(",", ":")).encode()


def one(number: int) -> dict[str, Any]:
    """An event of one of a thousand clients."""
    account = f"system:serviceaccount:team-{number % 50}:worker-{number % 1000}"
    path = f"/api/v1/namespaces/team-{number % 50}/configmaps/settings-{number % 997}"
    return {
        "level": "Metadata",
        "auditID": f"4a7f6d1e-93b1-4c5e-8000-{number:012}",
        "stage": "ResponseComplete",
        "requestURI": path,
        "verb": ("get", "list", "watch", "update", "patch")[number % 5],
        "user": {
            "username": account,
            "uid": "0bb1d7c4-6e3c-4a64-9d0e-5a3f5a1f8a55",
            "groups": ["system:serviceaccounts", f"system:serviceaccounts:team-{number % 50}", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": [f"JTI=4a7f6d1e-93b1-4c5e-8000-{number:012}"]},
        },
        "sourceIPs": ["10.96.7.12"],
        "userAgent": "worker/v0.0.0 (linux/amd64) kubernetes/$Format",
        "objectRef": {
            "resource": "configmaps",
            "namespace": f"team-{number % 50}",
            "name": f"settings-{number % 997}",
            "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": f"2026-11-24T03:00:00.{number % 1_000_000:06}Z",
        "stageTimestamp": f"2026-11-24T03:00:01.{number % 1_000_000:06}Z",
        "annotations": {
            "authorization.k8s.io/decision": "allow",
            "authorization.k8s.io/reason": f'RBAC: allowed by RoleBinding "worker/{account}" of ClusterRole "view"',
        },
    }


def rate(bodies: list[bytes]) -> float:
    """Events a second of one thread's CPU time."""
    tally = Tally(500, Namer())
    began = time.thread_time()
    for body in bodies:
        tally.take(decode_list(body, "benchmark"))
    tally.families()
    return BATCH * len(bodies) / (time.thread_time() - began)


# --- the sink ---


def answer_p99(bodies: list[bytes]) -> float:
    """Seconds from a body's first byte to its answer by an exporter, for 20 s at 5,000 events a second."""
    with Stack() as stack:
        authority, address = Authority(stack.data("audit")), stack.address()
        server, client = authority.issue("sink"), authority.issue("apiserver")
        exporter = stack.exporter(
            config={
                "etcd": [{"members": [{"endpoint": "http://127.0.0.1:1"}]}],
                "audit": {
                    "listen": address,
                    "tls": {"cert": server.cert, "key": server.key, "client_ca": authority.ca},
                },
                "collectors": {"etcd_quota": {"enabled": False}, "etcd_keyspace": {"enabled": False}},
            }
        )
        took = sorted(sent(bodies, split_address(address)[1], authority.ca, client))
        page = Exporter(HttpConfig(url=exporter.url)).read((SHED,), timeout=10.0)
    if lost := {each.labels["reason"]: each.value for each in page if each.name == SHED and each.value}:
        raise RuntimeError(f"the sink lost events: {lost}")
    return took[int(0.99 * len(took))]


def sent(bodies: list[bytes], port: int, ca: Path, client: TLSFiles) -> list[float]:
    """Sends each body at its time over one connection, as an apiserver does."""
    context = ssl.create_default_context(cafile=ca)
    assert client.cert is not None
    context.load_cert_chain(client.cert, client.key)
    line = http.client.HTTPSConnection("127.0.0.1", port, timeout=10.0, context=context)
    connected(line)
    took, start = [], time.monotonic()
    for number, body in enumerate(bodies):
        time.sleep(max(0.0, start + number * BATCH / 5000 - time.monotonic()))
        began = time.perf_counter()
        line.request("POST", "/", body)
        answer = line.getresponse()
        answer.read()
        took.append(time.perf_counter() - began)
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the sink answered {answer.status}")
    line.close()
    return took


def connected(line: http.client.HTTPSConnection) -> None:
    """Wait until the sink listens."""
    end = time.monotonic() + 10.0
    while True:
        try:
            return line.connect()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


# --- what is found ---


def zipf(report: Report) -> None:
    """A million events; series are chosen after each 50,000, as every ten seconds at 5,000 a second."""
    chance, keys = random.Random(7), range(100_000)  # noqa: S311 -- no secret
    weights = list(itertools.accumulate(1 / (key + 1) ** 1.1 for key in keys))
    heavy: HeavyKeys[int] = HeavyKeys(500)
    true: Counter[int] = Counter()
    for _ in range(20):
        events = chance.choices(keys, cum_weights=weights, k=50_000)
        before, was = dict(heavy.told), Counter(events)
        for key in events:
            heavy.add(key)
        if any(heavy.told[key] - count != was[key] for key, count in before.items()):
            raise RuntimeError("a series did not count what came")
        true.update(was)
        heavy.choose()
    top = [key for key, _ in true.most_common(20)]
    unseen = max(count for key, count in true.items() if key not in heavy.told)
    report.at_least("audit_zipf_top_20_told", sum(key in heavy.told for key in top), "keys", 20)
    report.at_most("audit_zipf_largest_untold", unseen, "requests", heavy.error_bound())


# --- memory ---


def grown() -> int:
    """Bytes by which this process grows at most with ten million events, each of a client of its own."""
    tally = Tally(500, Namer())
    before = memory("VmRSS")
    status, ref = Status(200), ObjectRef("configmaps", namespace="default")
    for start in range(0, CLIENTS, BATCH):
        tally.take(
            Event("ResponseComplete", f"id-{number}", verb="get", user=User(f"user-{number}"), object_ref=ref,
                  user_agent="x/1", response_status=status)
            for number in range(start, start + BATCH)
        )  # fmt: skip
        if start % (100 * BATCH) == 0:
            tally.families()
    return memory("VmHWM") - before


if __name__ == "__main__":
    print(grown())
