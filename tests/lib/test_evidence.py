"""What an exporter vouches for in /evidence."""

import json
from typing import Any

import pytest

from kube_ballast.clients.errors import BadResponse, Denied, Unavailable
from kube_ballast.clients.exporter import Exporter, Finding
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http

SOON = 5.0
TOLD: dict[str, Any] = {
    "kind": "grpc_stall",
    "subject": "10.0.0.1:6443",
    "verdict": "channel_stalled",
    "reasons": ["ping is answered"],
    "observed_at": 1000.0,
    "valid_until": 1005.0,
}


def asked(status: str, body: bytes, *headers: str) -> tuple[Finding, ...]:
    with RawServer(lambda line: line.sendall(http(status, body, *headers))) as server:
        found = Exporter(HttpConfig(url=server.url)).evidence("grpc_stall", timeout=SOON)
        assert server.requests[0].startswith(b"GET /evidence ")
    return found


def test_findings_of_the_kind_that_is_asked_for() -> None:
    other = {**TOLD, "kind": "node", "subject": "n1"}
    more = {**TOLD, "subject": "10.0.0.2:6443", "verdict": "ok", "reasons": [], "new": "what a later exporter adds"}
    found = asked("200 OK", json.dumps([TOLD, other, more]).encode())
    assert found == (
        Finding("grpc_stall", "10.0.0.1:6443", "channel_stalled", ("ping is answered",), 1000.0, 1005.0),
        Finding("grpc_stall", "10.0.0.2:6443", "ok", (), 1000.0, 1005.0),
    )


def test_an_exporter_that_vouches_for_nothing() -> None:
    assert asked("200 OK", b"[]") == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'[{"kind": "grpc_stall"}]',
        json.dumps([{**TOLD, "observed_at": "now"}]).encode(),
        json.dumps([TOLD])[:-9].encode(),
        json.dumps([TOLD]).replace("1000.0", "NaN").encode(),
    ],
)
def test_what_is_no_evidence(body: bytes) -> None:
    with pytest.raises(BadResponse, match="GET /evidence: unexpected answer"):
        asked("200 OK", body)


def test_without_a_password() -> None:
    with pytest.raises(Denied, match="GET /evidence: 401"):
        asked("401 Unauthorized", b"")


def test_an_exporter_that_is_not_there_yet() -> None:
    with pytest.raises(Unavailable):
        asked("503 Service Unavailable", b"")
