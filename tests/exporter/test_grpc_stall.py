"""Verdicts as the exporter tells them."""

import json
import os
import re
import threading
from pathlib import Path

from ballast_exporter.app import create_app
from ballast_exporter.collectors.grpc_stall import GrpcStall
from ballast_exporter.contract import RequestCounter
from ballast_exporter.core import Core, Running
from ballast_exporter.exposition import PLAIN
from ballast_exporter.stall_apiserver import CANARY, PING, READINESS, READS
from ballast_exporter.stall_history import Told
from ballast_exporter.stall_report import ApiserverReport, Report
from kube_ballast.analysis.stall import Answer, Judgement, Verdict
from kube_ballast.analysis.stall_page import Progress

GOLDEN = Path(__file__).parent / "golden/grpc_stall.prom"
STALLED = Judgement(Verdict.CHANNEL_STALLED, ("ping is answered", "etcd answers"), ("configmaps",))


PAGE = Progress(
    open_calls={"Put": 0, "Range": 13, "Txn": 7},
    oldest_seconds=31.5,
    codes={"Canceled": 2.0, "OK": 40213.0},
    succeeded={"configmaps": 811.0, "leases.coordination.k8s.io": 8121.0},
    failing=("configmaps",),
    size_known=False,
)
WELL = {
    probe: Told(seconds, {Answer.OK: 100, Answer.TIMEOUT: 1}, 1_700_000_000.0)
    for probe, seconds in ((PING, 0.012), (READINESS, 0.013), (CANARY, 0.02), *((read, 0.011) for read in READS))
}
HANGS = {**WELL, "configmaps": Told(None, {Answer.OK: 90, Answer.TIMEOUT: 11}, 1_699_999_990.0)}
UNMADE = Told(None, {}, None)
REPORT = Report(
    {
        "10.0.0.1:6443": ApiserverReport(STALLED, HANGS, WELL[PING], ("10.0.0.1:2379",), PAGE),
        "10.0.0.2:6443": ApiserverReport(
            Judgement(Verdict.OK, ()), {**WELL, CANARY: UNMADE}, UNMADE, ("10.0.0.1:2379", "10.0.0.2:2379"), None
        ),
    },
    {
        "10.0.0.1:2379": {
            "linearizable": Told(0.6, {Answer.OK: 99, Answer.SLOW: 2}, 1_700_000_000.0),
            "serializable": Told(None, {Answer.TIMEOUT: 3}, None),
        },
        "10.0.0.2:2379": {"linearizable": UNMADE, "serializable": UNMADE},
    },
    ("10.0.0.9:6443: a load balancer",),
)


class FakeProbes:
    def run(self, stop: threading.Event) -> None:
        stop.wait()

    def report(self) -> Report:
        return REPORT

    def close(self) -> None:
        pass


def test_the_whole_exposition() -> None:
    text = PLAIN.render(GrpcStall(FakeProbes()).snapshot().families).decode()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()


def test_the_page_and_the_evidence_say_why() -> None:
    core = Core([Running("grpc_stall", GrpcStall(FakeProbes()), 10.0, 5.0, RequestCounter())])
    core.slots[0].poll()
    client = create_app(core).test_client()

    page = client.get("/").text
    rows = re.findall(r'<tr class="(\w+)"><th>(.*?)</th><td class="verdict">(.*?)</td><td>(.*?)</td></tr>', page)
    assert rows == [
        ("failed", "10.0.0.1:6443", "channel_stalled", "<div>ping is answered</div><div>etcd answers</div>"),
        ("ok", "10.0.0.2:6443", "ok", ""),
    ]
    assert page.count("channel_stalled") == 1, "what a verdict says is not said again"
    assert "10.0.0.9:6443: a load balancer" in page
    first, second = json.loads(client.get("/evidence").text)
    assert (first["kind"], first["subject"], first["verdict"]) == ("grpc_stall", "10.0.0.1:6443", "channel_stalled")
    assert first["reasons"] == ["ping is answered", "etcd answers"]
    assert first["valid_until"] > first["observed_at"]
    assert second["verdict"] == "ok"


def test_evidence_that_is_too_old_is_not_told() -> None:
    core = Core([Running("grpc_stall", GrpcStall(FakeProbes(), lambda: 1e9), 10.0, 5.0, RequestCounter())])
    core.slots[0].poll()
    assert create_app(core).test_client().get("/evidence").json == []
