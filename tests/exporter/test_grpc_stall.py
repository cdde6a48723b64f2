"""Verdicts as the exporter tells them."""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from ballast_exporter.app import create_app
from ballast_exporter.collectors.grpc_stall import GrpcStall
from ballast_exporter.contract import RequestCounter
from ballast_exporter.core import Core, Running
from ballast_exporter.exposition import PLAIN
from ballast_exporter.stall_history import VALID_SECONDS, History
from ballast_exporter.stall_probes import answered
from kube_ballast.analysis.stall import Answer, Judgement, Verdict
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, NoSpace, Timeout, Unavailable
from kube_ballast.clients.kubernetes import TooManyRequests

GOLDEN = Path(__file__).parent / "golden/grpc_stall.prom"
STALLED = Judgement(Verdict.CHANNEL_STALLED, ("ping is answered", "etcd answers"), ("configmaps",))


class FakeProbes:
    def run(self, stop: threading.Event) -> None:
        stop.wait()

    def judgements(self) -> Mapping[str, Judgement]:
        return {"10.0.0.1:6443": STALLED, "10.0.0.2:6443": Judgement(Verdict.OK, ())}

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

    assert "10.0.0.1:6443: channel_stalled: ping is answered; etcd answers" in client.get("/").text
    first, second = json.loads(client.get("/evidence").text)
    assert (first["kind"], first["subject"], first["verdict"]) == ("grpc_stall", "10.0.0.1:6443", "channel_stalled")
    assert first["reasons"] == ["ping is answered", "etcd answers"]
    assert first["valid_until"] > first["observed_at"]
    assert second["verdict"] == "ok"


def test_evidence_that_is_too_old_is_not_told() -> None:
    core = Core([Running("grpc_stall", GrpcStall(FakeProbes(), lambda: 1e9), 10.0, 5.0, RequestCounter())])
    core.slots[0].poll()
    assert create_app(core).test_client().get("/evidence").json == []


def test_what_was_well_before_a_failure_began_is_no_evidence_of_its_cause() -> None:
    now = [100.0]
    history = History(lambda: now[0])
    history.add("etcd", "linearizable", 99.0, Answer.OK)
    history.add("apiserver", "pods", 99.5, Answer.TIMEOUT)
    since = history.failing_since("apiserver", "pods")
    assert since == 99.5
    assert history.measured("etcd", "linearizable", since) is None
    history.add("etcd", "linearizable", 99.9, Answer.OK)
    assert history.measured("etcd", "linearizable", since)


def test_an_answer_gets_too_old_to_be_evidence() -> None:
    now = [100.0]
    history = History(lambda: now[0])
    history.add("apiserver", "pods", 99.0, Answer.OK)
    now[0] += VALID_SECONDS + 1
    assert history.measured("apiserver", "pods") is None


def test_each_error_says_what_it_can() -> None:
    said: dict[Answer, ClientError] = {
        Answer.REJECTED: TooManyRequests("a", "429", 1.0),
        Answer.TIMEOUT: Timeout("a", "no whole answer"),
        Answer.REFUSED: Unavailable("a", "[Errno 111] Connection refused"),
        Answer.ERROR: BadResponse("a", "500"),
        Answer.DENIED: Denied("a", "403"),
    }
    assert {answered(error) for error in said.values()} == set(said)
    assert answered(NoSpace("a", "full")) is Answer.DENIED, "an etcd that is full has answered"
