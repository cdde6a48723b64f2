"""Alerts of a real Alertmanager, silenced and inhibited ones among them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.request import Request, urlopen

import pytest

from drills.stack import Service, Stack
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.errors import BadResponse, ClientError, Unavailable
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

SOON = 5.0
ROUTES = """
route:
  receiver: people
  routes: [{receiver: "bal.last (1)", matchers: [severity="none"]}]
receivers: [{name: people}, {name: "bal.last (1)"}, {name: balXlast}]
inhibit_rules:
  - source_matchers: [alertname="Big"]
    target_matchers: [alertname="Small"]
"""


@pytest.fixture(scope="module")
def service(session_stack: Stack) -> Service:
    return session_stack.alertmanager(config=ROUTES)


def post(url: str, body: object) -> object:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=SOON) as answer:
        content = answer.read()
    return json.loads(content) if content else None


@pytest.fixture(scope="module")
def alertmanager(service: Service) -> Alertmanager:
    """Four alerts: one for people, one it inhibits, one silenced, one for the remediator."""
    labels = (
        {"alertname": "Big", "odd": 'a"b\\c\nd'},
        {"alertname": "Small"},
        {"alertname": "Quiet"},
        {"alertname": "Free", "severity": "none"},
    )
    now = datetime.now(UTC)
    silence = {
        "matchers": [{"name": "alertname", "value": "Quiet", "isRegex": False}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "test",
    }
    post(f"{service.url}/api/v2/silences", silence)
    post(f"{service.url}/api/v2/alerts", [{"labels": each, "annotations": {"summary": "s"}} for each in labels])
    return Alertmanager(HttpConfig(url=service.url))


def test_all_alerts_with_what_suppresses_them(alertmanager: Alertmanager) -> None:
    def settled() -> bool:
        states = {each.labels["alertname"]: each.state for each in alertmanager.alerts(timeout=SOON)}
        return states == {"Big": "active", "Small": "suppressed", "Quiet": "suppressed", "Free": "active"}

    eventually(settled, within=20.0)
    found = {each.labels["alertname"]: each for each in alertmanager.alerts(timeout=SOON)}
    assert found["Small"].inhibited_by == (found["Big"].fingerprint,)
    assert len(found["Quiet"].silenced_by) == 1
    assert found["Quiet"].inhibited_by == found["Free"].silenced_by == ()
    assert found["Big"].annotations == {"summary": "s"}
    assert found["Big"].starts_at.tzinfo is UTC
    ends = found["Big"].ends_at
    assert ends is not None
    assert ends > found["Big"].starts_at


def test_by_receiver_and_by_label(alertmanager: Alertmanager) -> None:
    def names(receiver: str | None = None, labels: Mapping[str, str] | None = None) -> list[str]:
        found = alertmanager.alerts(timeout=SOON, receiver=receiver, labels=labels)
        return sorted(each.labels["alertname"] for each in found)

    assert names(receiver="bal.last (1)") == ["Free"]
    assert names(receiver="bal") == []
    assert names(labels={"alertname": "Quiet"}) == ["Quiet"]
    assert names(labels={"alertname": "Quiet", "severity": "none"}) == []
    assert names(labels={"odd": 'a"b\\c\nd'}) == ["Big"]


ALERT = {
    "labels": {"alertname": "A"},
    "annotations": {},
    "startsAt": "2026-01-02T03:04:05.123456789+02:00",
    "endsAt": "0001-01-01T00:00:00.000Z",
    "fingerprint": "f",
    "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
}


def asked(answer: bytes) -> tuple[object, ...]:
    with RawServer(lambda connection: connection.sendall(answer)) as server:
        return Alertmanager(HttpConfig(url=server.url)).alerts(timeout=SOON)


def test_gos_zero_time_is_no_end() -> None:
    with RawServer(lambda connection: connection.sendall(http("200 OK", json.dumps([ALERT]).encode()))) as server:
        (alert,) = Alertmanager(HttpConfig(url=server.url)).alerts(timeout=SOON)
    assert alert.ends_at is None
    assert alert.starts_at == datetime(2026, 1, 2, 1, 4, 5, 123456, UTC)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("200 OK", b"<html>"), BadResponse),
        (http("200 OK", b"{}"), BadResponse),
        (http("200 OK", json.dumps([{**ALERT, "status": {"state": "odd"}}]).encode()), BadResponse),
        (http("200 OK", json.dumps([{**ALERT, "startsAt": "yesterday"}]).encode()), BadResponse),
        (http("400 Bad Request", b'"bad matcher format: x"'), BadResponse),
        (http("503 Service Unavailable", b""), Unavailable),
    ],
)
def test_answers_that_no_real_one_gives(answer: bytes, kind: type[ClientError]) -> None:
    with pytest.raises(ClientError, match=r"GET /api/v2/alerts: ") as caught:
        asked(answer)
    assert type(caught.value) is kind
