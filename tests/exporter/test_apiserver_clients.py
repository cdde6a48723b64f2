"""The collector with its sink: what apiservers send, over TLS, good and bad."""

import gzip
import http.client
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ballast_exporter import audit_sink
from ballast_exporter.app import make_core
from ballast_exporter.audit_sink import BODY_BYTES, AuditSink, Bodies, Shed, tls_context
from ballast_exporter.collectors.apiserver_clients import ApiserverClients, Log, Tally, Webhook
from ballast_exporter.config import AuditConfig, Config
from ballast_exporter.exposition import PLAIN
from drills.stack.certificates import Authority
from kube_ballast.analysis.audit_clients import Namer
from kube_ballast.clients.audit import decode_list
from kube_ballast.clients.errors import Unavailable
from kube_ballast.config import TLSFiles
from tests.exporter.fakes import FakeClock
from tests.waiting import eventually

HERE = Path(__file__).parent
ETCD = [{"members": [{"endpoint": "http://127.0.0.1:1"}]}]


def event(number: int, **changes: Any) -> dict[str, Any]:
    """As an apiserver of 1.36 sends it at level Metadata."""
    return {
        "level": "Metadata",
        "auditID": f"4a7f6d1e-0000-4000-8000-{number:012}",
        "stage": "ResponseComplete",
        "requestURI": "/api/v1/namespaces/default/configmaps/settings",
        "verb": "get",
        "user": {"username": "system:node:worker-1", "groups": ["system:nodes", "system:authenticated"]},
        "sourceIPs": ["10.0.0.7"],
        "userAgent": "kubelet/v1.36.0 (linux/amd64) kubernetes/0123456",
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "settings", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 200},
        "requestReceivedTimestamp": "2026-11-24T03:00:00.000001Z",
        "stageTimestamp": "2026-11-24T03:00:00.500000Z",
        "annotations": {"authorization.k8s.io/decision": "allow"},
        **changes,
    }


def listed(*events: dict[str, Any], version: str = "audit.k8s.io/v1") -> bytes:
    return json.dumps({"kind": "EventList", "apiVersion": version, "metadata": {}, "items": events}).encode()


class Sink:
    """A running collector on a port of its own, and an apiserver's connection to it."""

    def __init__(self, folder: Path, *, token: str | None = None) -> None:
        self.authority = Authority(folder)
        server, self.client = self.authority.issue("sink"), self.authority.issue("apiserver")
        assert server.cert
        assert server.key
        with socket.create_server(("127.0.0.1", 0)) as holder:
            self.port = holder.getsockname()[1]
        settings: dict[str, Any] = {"listen": f"127.0.0.1:{self.port}"}
        settings["tls"] = {"cert": server.cert, "key": server.key, "client_ca": None if token else self.authority.ca}
        if token:
            settings["token_file"] = folder / "token"
            settings["token_file"].write_text(token)
        self.shed = Shed()
        self.source = Webhook(AuditConfig.model_validate(settings), self.shed)
        self.collector = ApiserverClients(self.source, Tally(100, Namer()), self.shed)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.collector.run, args=(self.stop,))

    def send(self, body: bytes, client: TLSFiles | None = None, **headers: str) -> int:
        """The status; 0 when the connection was not accepted."""
        context = ssl.create_default_context(cafile=self.authority.ca)
        files = client or self.client
        assert files.cert
        context.load_cert_chain(files.cert, files.key)
        line = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10.0, context=context)
        try:
            line.request("POST", "/", body, {name.replace("_", "-"): value for name, value in headers.items()})
            return line.getresponse().status
        except (ssl.SSLError, ConnectionError):
            return 0
        finally:
            line.close()

    def lines(self) -> list[str]:
        """The exposition, without what is 0, and without the names' common beginning."""
        text = PLAIN.render(self.collector.snapshot().families).decode().splitlines()
        told = (line.removeprefix("ballast_apiserver_clients_") for line in text if not line.startswith("#"))
        return [line for line in told if not line.endswith(" 0.0")]

    def value(self, name: str) -> float:
        return next((float(line.rpartition(" ")[2]) for line in self.lines() if line.startswith(name)), 0.0)


@pytest.fixture
def sinks(tmp_path: Path) -> Iterator[Callable[..., Sink]]:
    made: list[Sink] = []

    def make(**settings: Any) -> Sink:
        sink = Sink(tmp_path, **settings)
        made.append(sink)
        sink.thread.start()
        eventually(lambda: socket.create_connection(("127.0.0.1", sink.port)).close() is None, retry=OSError)
        return sink

    yield make
    for sink in made:
        sink.stop.set()
        sink.thread.join(10.0)


def test_a_batch_is_counted_and_a_series_begins_at_0(sinks: Callable[..., Sink]) -> None:
    sink = sinks()
    assert sink.send(listed(*map(event, range(3)))) == 200
    eventually(lambda: sink.value("events_total") == 3)
    labels = 'client="nodes",code="2xx",namespace="default",resource="configmaps",user_agent="kubelet",verb="get"'
    assert f"requests_total{{{labels}}} 0.0" in PLAIN.render(sink.collector.snapshot().families).decode()
    assert sink.send(listed(*map(event, range(3, 5)))) == 200
    eventually(lambda: sink.value("events_total") == 5)
    lines = [line for line in sink.lines() if not line.startswith("last_event")]
    assert lines == [f"requests_total{{{labels}}} 2.0", "remainder_requests_total 3.0", "events_total 5.0"]


def test_what_is_sent_again_is_counted_once_and_stages_that_end_nothing_are_not(sinks: Callable[..., Sink]) -> None:
    sink = sinks()
    opened = event(1, stage="ResponseStarted", verb="watch")
    closed = event(1, verb="watch")
    for _ in range(3):
        assert sink.send(listed(event(0), opened, closed)) == 200
    eventually(lambda: sink.value("replayed_events_total") == 4)
    assert sink.value("events_total") == 2


@pytest.mark.parametrize(
    ("body", "lost", "words"),
    [
        (b"<html>no</html>", ("malformed", 1), "no JSON of audit events"),
        (listed(event(0), event(1))[:-40], ("malformed", 2), "no JSON of audit events"),
        (b'{"a":' * 100_000, ("malformed", 1), "no JSON of audit events"),
        (listed(event(0), version="audit.k8s.io/v1beta1"), ("version", 1), "it holds audit.k8s.io/v1beta1 EventList;"),
        (b'{"kind": "Status", "apiVersion": "v1"}', ("version", 1), "it holds v1 Status;"),
        (listed(event(0, verb=["get"])), ("malformed", 1), r"Expected `str`, got `array` - at `\$.items\[0\].verb`"),
    ],
)
def test_what_cannot_be_understood_is_counted_said_and_costs_nothing_else(
    sinks: Callable[..., Sink], capsys: pytest.CaptureFixture[str], body: bytes, lost: tuple[str, int], words: str
) -> None:
    sink = sinks()
    assert sink.send(body) == 200
    eventually(lambda: sink.value(f'shed_events_total{{reason="{lost[0]}"}}') == lost[1])
    assert re.search(words, capsys.readouterr().out)
    assert sink.send(listed(event(7))) == 200
    eventually(lambda: sink.value("events_total") == 1)


def test_why_events_are_lost_is_said_in_words_while_it_lasts(sinks: Callable[..., Sink], tmp_path: Path) -> None:
    sink = sinks()
    assert sink.collector.snapshot().notes == ()
    (tmp_path / "others").mkdir()
    stranger = Authority(tmp_path / "others").issue("apiserver")
    for body, client, headers, words in (
        (listed(event(0)), stranger, {}, "(credential): a sender shows no certificate or token that is known here"),
        (gzip.compress(b"x"), None, {"Content_Encoding": "gzip"}, "(encoding): a sender packs its bodies"),
        (b"", None, {"Content_Length": str(BODY_BYTES + 1)}, "(too_large): a body is larger than 16777216 bytes"),
        (b"{}", None, {}, "(version): what came is of another version than audit.k8s.io/v1"),
        (b"no", None, {}, "(malformed): what came is no list of audit events"),
    ):
        sink.send(body, client=client, **headers)
        (note,) = eventually(lambda: sink.collector.snapshot().notes)
        assert note.startswith("audit events are lost " + words)
        assert sink.collector.snapshot().notes == (), "nothing more was lost since"


def test_packed_bodies_are_not_unpacked(sinks: Callable[..., Sink]) -> None:
    sink = sinks()
    assert sink.send(gzip.compress(bytes(100 * 2**20)), Content_Encoding="gzip") == 415
    assert sink.value('shed_events_total{reason="encoding"}') == 1


def test_what_is_too_large_is_refused_before_it_is_read(sinks: Callable[..., Sink]) -> None:
    sink = sinks()
    for size in (BODY_BYTES + 1, 10**400):
        assert sink.send(b"", Content_Length=str(size)) == 413
    assert sink.send(b"", Content_Length="-5") == 411
    assert sink.value('shed_events_total{reason="too_large"}') == 2


def test_an_unknown_certificate_gets_no_further_than_the_handshake(sinks: Callable[..., Sink], tmp_path: Path) -> None:
    sink = sinks()
    (tmp_path / "others").mkdir()
    assert sink.send(listed(event(0)), client=Authority(tmp_path / "others").issue("apiserver")) == 0
    eventually(lambda: sink.value('shed_events_total{reason="credential"}') == 1)
    assert sink.value("events_total") == 0


def test_a_token_is_asked_for_and_its_file_is_read_anew(sinks: Callable[..., Sink], tmp_path: Path) -> None:
    sink = sinks(token="first\n")
    assert sink.send(listed(event(0))) == 401
    assert sink.send(listed(event(0)), Authorization="Bearer second") == 401
    (tmp_path / "token").write_text("second\n")
    assert sink.send(listed(event(0)), Authorization="Bearer second") == 200
    eventually(lambda: sink.value("events_total") == 1)
    assert sink.value('shed_events_total{reason="credential"}') == 2
    (tmp_path / "token").write_text("\n")
    assert sink.send(listed(event(1)), Authorization="Bearer ") == 401
    (tmp_path / "token").unlink()
    assert sink.send(listed(event(1)), Authorization="Bearer ") == 401


def test_half_a_body_is_not_counted(sinks: Callable[..., Sink], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_sink, "BODY_SECONDS", 0.2)
    sink = sinks()
    context = ssl.create_default_context(cafile=sink.authority.ca)
    assert sink.client.cert
    context.load_cert_chain(sink.client.cert, sink.client.key)
    start = b"POST / HTTP/1.1\r\nHost: sink\r\nContent-Length: 1000\r\n\r\n{"
    with (
        socket.create_connection(("127.0.0.1", sink.port)) as line,
        context.wrap_socket(line, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(start)
        eventually(lambda: sink.value('shed_events_total{reason="incomplete"}') == 1)
    line = http.client.HTTPSConnection("127.0.0.1", sink.port, timeout=10.0, context=context)
    line.request("POST", "/", b"{", {"Content-Length": "1000"})
    line.close()
    eventually(lambda: sink.value('shed_events_total{reason="incomplete"}') == 2)


def test_an_overload_is_answered_at_once_and_what_it_lost_is_counted(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    body = listed(*map(event, range(100)))
    bodies = Bodies(2 * len(body))  # and nobody who decodes
    server = sink.authority.issue("sink")
    assert server.cert
    assert server.key
    context = tls_context(server.cert, server.key, sink.authority.ca)
    with AuditSink(("127.0.0.1", sink.port), context, bodies, sink.shed).serving():
        assert [sink.send(body) for _ in range(5)] == [200] * 5
    assert sink.shed.totals()["overload"] == 300
    assert bodies.get(0.0) == body


def test_an_address_that_is_taken_is_this_collector_s_failure(tmp_path: Path) -> None:
    sink = Sink(tmp_path)
    with socket.create_server(("127.0.0.1", sink.port)), pytest.raises(Unavailable, match="Address already in use"):
        sink.collector.run(sink.stop)


def test_a_log_file_is_counted_in_the_same_way(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("before\n")
    shed = Shed()
    collector = ApiserverClients(Log(path, shed), Tally(100, Namer()), shed)
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,))
    thread.start()
    written = 0

    def counted() -> bool:
        nonlocal written  # more and more, since nobody says when it has found the file's end
        written += 1
        with path.open("a") as log:
            log.write(json.dumps({"kind": "Event", "apiVersion": "audit.k8s.io/v1", **event(written)}) + "\nno\n")
        return "clients_events_total 0.0" not in PLAIN.render(collector.snapshot().families).decode()

    eventually(counted)
    stop.set()
    thread.join(10.0)
    assert shed.totals()["malformed"] >= 1


def test_the_whole_exposition() -> None:
    clock = FakeClock()
    shed = Shed()
    tally = Tally(2, Namer(re.compile("^([a-z]+)-")), clock.monotonic)
    collector = ApiserverClients(_Nobody(), tally, shed)
    for start in (0, 100):
        tally.take(_decoded(*map(event, range(start, start + 30))))
        helm = {"user": {"username": "jane"}, "userAgent": "helm/v3", "objectRef": {"resource": "a", "apiGroup": "g"}}
        tally.take(_decoded(*(event(start + number, **helm, verb="list") for number in range(40, 50))))
        tally.take(_decoded(event(start + 60, user={}, userAgent="", objectRef=None, responseStatus=None)))
        text = PLAIN.render(collector.snapshot().families).decode()
    shed.count("overload", 400)
    text = PLAIN.render(collector.snapshot().families).decode()
    golden = HERE / "golden" / "apiserver_clients.prom"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_old_weight_fades() -> None:
    clock = FakeClock()
    tally = Tally(1, Namer(), clock.monotonic)
    tally.take(_decoded(*map(event, range(64))))
    tally.families()
    clock.now += 600.0
    for _ in range(5):
        tally.families()
        clock.now += 600.0
    tally.take(_decoded(*(event(100 + number, verb="list") for number in range(10))))
    assert 'verb="list"' in PLAIN.render(tally.families()).decode()


def test_without_audit_it_is_not_there_and_what_makes_no_sense_is_said(tmp_path: Path) -> None:
    names = [slot.name for slot in make_core(Config.model_validate({"etcd": ETCD})).slots]
    assert "apiserver_clients" not in names
    for audit, words in (
        ({}, "either listen"),
        ({"listen": ":1", "log": "a"}, "either listen"),
        ({"listen": ":1"}, "belong together"),
        ({"log": "a", "token_file": __file__}, "a log has none"),
        ({"listen": ":1", "tls": {"cert": __file__, "key": __file__}}, "anybody could send"),
    ):
        with pytest.raises(ValueError, match=words):
            AuditConfig.model_validate(audit)
    for pattern in ("(", "no group"):
        with pytest.raises(ValueError, match=r"regular expression|needs one group"):
            Config.model_validate({"etcd": ETCD, "audit": {"log": tmp_path}, "collectors": _grouped(pattern)})
    with pytest.raises(ValueError, match="no events to count"):
        Config.model_validate({"etcd": ETCD, "collectors": _grouped("(.)")})


def _grouped(pattern: str) -> dict[str, Any]:
    return {"apiserver_clients": {"node_group": pattern}}


class _Nobody:
    def run(self, *_: object) -> None:
        raise AssertionError


def _decoded(*events: dict[str, Any]) -> Any:
    return decode_list(listed(*events), "test")
