"""Queries against a real Prometheus, and answers that no real one gives."""

import json
import math

import pytest

from drills.stack import Scrape, Service, Stack
from kube_ballast.clients.errors import BadResponse, ClientError, Timeout, Unavailable
from kube_ballast.clients.prometheus import Prometheus, Samples
from kube_ballast.config import HttpConfig
from tests.lib.fakes import RawServer, http
from tests.waiting import eventually

SOON = 5.0


@pytest.fixture(scope="module")
def service(session_stack: Stack) -> Service:
    return session_stack.prometheus(
        scrape=[Scrape(job="nobody", targets=["127.0.0.1:9"], labels={"odd": 'a"b\\c'})], scrape_interval="1s"
    )


@pytest.fixture
def prometheus(service: Service) -> Prometheus:
    return Prometheus(HttpConfig(url=service.url))


def test_a_vector(prometheus: Prometheus) -> None:
    (sample,) = eventually(lambda: prometheus.query('up{job="nobody"}', timeout=SOON))
    assert sample.labels["odd"] == 'a"b\\c'
    assert sample.labels["__name__"] == "up"
    assert sample.value == 0.0
    assert prometheus.query("up", timeout=SOON, at=sample.timestamp - 3600) == ()
    assert prometheus.query("up", timeout=SOON, at=sample.timestamp)[0].timestamp == pytest.approx(sample.timestamp)


def test_a_scalar_and_values_that_are_no_numbers(prometheus: Prometheus) -> None:
    (one,) = prometheus.query("1", timeout=SOON)
    assert (one.labels, one.value) == ({}, 1.0)
    assert math.isnan(prometheus.query("vector(0) / 0", timeout=SOON)[0].value)
    assert prometheus.query("vector(1) / 0", timeout=SOON)[0].value == math.inf
    assert prometheus.query("-vector(1) / 0", timeout=SOON)[0].value == -math.inf


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("up{", "bad_data: .*parse error"),
        ("up + on() group_left(a) up + foo bar", "bad_data"),
        ("up[5m]", "'matrix'"),
        ('"words"', "'string'"),
        ("", "bad_data"),
    ],
)
def test_mistakes_are_told_in_prometheus_own_words(prometheus: Prometheus, expr: str, words: str) -> None:
    with pytest.raises(BadResponse, match=words) as caught:
        prometheus.query(expr, timeout=SOON)
    assert repr(expr) in str(caught.value)


def test_a_prometheus_that_stands_still_or_is_gone(stack: Stack) -> None:
    service = stack.prometheus()
    prometheus = Prometheus(HttpConfig(url=service.url))
    prometheus.query("1", timeout=SOON)
    service.process.pause()
    eventually(lambda: gives_up(prometheus))
    service.process.kill()
    with pytest.raises(Unavailable, match="Connection refused"):
        prometheus.query("1", timeout=SOON)


def gives_up(prometheus: Prometheus) -> bool:
    try:
        prometheus.query("1", timeout=0.3)
    except Timeout as error:
        return "no whole answer within 0.3 s" in str(error)
    return False


def vector(*result: object, **more: object) -> bytes:
    reply = {"status": "success", "data": {"resultType": "vector", "result": result}, **more}
    return http("200 OK", json.dumps(reply).encode())


def asked(answer: bytes) -> Samples:
    with RawServer(lambda connection: connection.sendall(answer)) as server:
        return Prometheus(HttpConfig(url=server.url)).query("up", timeout=SOON)


def test_warnings_are_carried() -> None:
    samples = asked(vector({"metric": {}, "value": [1.5, "2"]}, warnings=["one store did not answer"]))
    assert samples.warnings == ("one store did not answer",)
    assert [(sample.timestamp, sample.value) for sample in samples] == [(1.5, 2.0)]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("200 OK", b"<html>"), BadResponse),
        (http("200 OK", b"[]"), BadResponse),
        (http("200 OK", b'{"status":"success"}'), BadResponse),
        (http("404 Not Found", b"404 page not found"), BadResponse),
        (vector({"metric": {}, "value": [1.5, "two"]}), BadResponse),
        (vector({"metric": {}, "histogram": [1.5, {}]}), BadResponse),
        (vector({"metric": {"a": 1}, "value": [1.5, "2"]}), BadResponse),
        (http("503 Service Unavailable", b"Service Unavailable"), Unavailable),
        (http("502 Bad Gateway", b"<html>"), Unavailable),
        (http("503 Busy", b'{"status":"error","errorType":"timeout","error":"query timed out"}'), Timeout),
        (http("503 Busy", b'{"status":"error","errorType":"unavailable","error":"not ready"}'), Unavailable),
        (http("422 Oh", b'{"status":"error","errorType":"execution","error":"many-to-many"}'), BadResponse),
    ],
)
def test_answers_that_no_real_one_gives(answer: bytes, kind: type[ClientError]) -> None:
    with pytest.raises(ClientError, match="query 'up': ") as caught:
        asked(answer)
    assert type(caught.value) is kind
