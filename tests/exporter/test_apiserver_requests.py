"""The collector on pages of real apiservers (see `test_apiserver_real.py`), and on apiservers that fail."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from ballast_exporter.apiservers import Listed
from ballast_exporter.app import make_core
from ballast_exporter.collectors.apiserver_requests import ApiserverRequests, Source
from ballast_exporter.config import Config
from ballast_exporter.contract import Deadline, RequestCounter, Snapshot
from ballast_exporter.core import Core, Running
from ballast_exporter.exposition import PLAIN
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.config import HttpConfig
from tests.exporter.fakes import FakeClock, FakePoll
from tests.lib.fakes import RawServer, http

HERE = Path(__file__).parent
OLD, NEW = ((HERE / "pages" / f"kube-apiserver-{version}.txt").read_text() for version in ("1.33", "1.36"))
SMALL = 'process_start_time_seconds {start}\napiserver_request_total{{code="200",resource="{resource}",verb="GET"}} 5\n'


class Apiserver:
    """Gives a page, or fails."""

    def __init__(self, number: int, answer: str | ClientError) -> None:
        self.url = f"https://10.0.0.{number}:6443"
        self.answer = answer

    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None:
        assert timeout > 0
        if isinstance(self.answer, ClientError):
            raise self.answer
        filter_ = Filter(names, take)
        filter_.feed(self.answer.encode())
        filter_.close()


def small(start: float = 1.7e9, resource: str = "pods") -> str:
    return SMALL.format(start=start, resource=resource)


def collector(*sources: Source, top: int = 500) -> ApiserverRequests:
    return ApiserverRequests(Listed(sources), RequestCounter(), top)


def collect(source: ApiserverRequests) -> Snapshot:
    return source.collect(Deadline(time.monotonic() + 5.0))


def lines(snapshot: Snapshot) -> list[str]:
    text = PLAIN.render(snapshot.families).decode().splitlines()
    return [line.removeprefix("ballast_apiserver_requests") for line in text if not line.startswith("#")]


def down(number: int) -> Apiserver:
    return Apiserver(number, Unavailable(f"https://10.0.0.{number}:6443", "GET /metrics: Connection refused"))


def test_the_whole_exposition() -> None:
    text = PLAIN.render(collect(collector(Apiserver(1, NEW), Apiserver(2, OLD), down(3))).families).decode()
    golden = HERE / "golden" / "apiserver_requests.prom"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_old_and_new_apiservers_give_the_same_families_with_the_same_labels() -> None:
    def shapes(page: str) -> dict[str, set[tuple[str, ...]]]:
        families = collect(collector(Apiserver(1, page))).families
        return {each.name: {tuple(sorted(sample.labels)) for sample in each.samples} for each in families}

    old, new = shapes(OLD), shapes(NEW)
    assert all(labels for name, labels in new.items()), "the recorded page has something for each family"
    assert old.pop("ballast_apiserver_requests_objects_bytes") == set(), "the estimate is new in 1.34"
    new.pop("ballast_apiserver_requests_objects_bytes")
    assert old == new


def test_one_that_fails_is_told_beside_the_others() -> None:
    snapshot = collect(collector(down(1), Apiserver(2, small())))
    assert lines(snapshot) == [
        '_readable{apiserver="10.0.0.1:6443"} 0.0',
        '_readable{apiserver="10.0.0.2:6443"} 1.0',
        '_total{apiserver="10.0.0.2:6443",code="2xx",group="",resource="pods",verb="GET"} 5.0',
    ]
    assert snapshot.notes == ("https://10.0.0.1:6443: GET /metrics: Connection refused",)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Timeout("https://10.0.0.1:6443", "GET /metrics: no whole answer within 40 s"), "no whole answer within 40 s"),
        (Denied("https://10.0.0.1:6443", "GET /metrics: 403 Forbidden"), "403 Forbidden"),
        (BadResponse("https://10.0.0.1:6443", "GET /metrics: a line of more than 65536 bytes"), "a line of more than"),
        ("<!DOCTYPE html>\n<html>log in</html>\n", "no apiserver's metrics; does the URL lead to an apiserver?"),
        ("process_start_time_seconds 1.7e9\nscheduler_pending_pods 1\n", "no apiserver's metrics"),
    ],
)
def test_when_none_can_be_read_the_collector_fails_with_the_reason(answer: str | ClientError, words: str) -> None:
    with pytest.raises(ClientError, match=words) as caught:
        collect(collector(Apiserver(1, answer)))
    assert str(caught.value).startswith("https://10.0.0.1:6443: ")
    with pytest.raises(Unavailable, match=rf"every apiserver: none can be read: .*{words}.*10\.0\.0\.2.*refused"):
        collect(collector(Apiserver(1, answer), down(2)))


def test_its_failure_takes_its_families_and_no_other_collector_s() -> None:
    apiserver = Apiserver(1, small())
    running = [
        Running("apiserver_requests", collector(apiserver), 60.0, 50.0, RequestCounter()),
        Running("other", FakePoll(), 60.0, 50.0, RequestCounter()),
    ]
    core = Core(running, FakeClock())
    for slot in core.slots:
        slot.poll()
    assert b"ballast_apiserver_requests_total{" in core.exposition()[0]
    apiserver.answer = Timeout(apiserver.url, "GET /metrics: no whole answer within 40 s")
    for slot in core.slots:
        slot.poll()
    text = core.exposition()[0].decode()
    assert "ballast_apiserver_requests" not in text
    assert "ballast_fake_value 1.0" in text
    assert 'ballast_collector_success{collector="apiserver_requests"} 0.0' in text


def test_values_that_are_no_numbers_are_absent() -> None:
    page = small() + 'apiserver_longrunning_requests{resource="pods",verb="WATCH"} NaN\n'
    page += 'apiserver_storage_objects{resource="pods"} +Inf\napiserver_storage_objects{resource="nodes"} 3\n'
    found = lines(collect(collector(Apiserver(1, page))))
    assert not any("_longrunning" in line for line in found)
    assert [line for line in found if "_objects" in line] == [
        '_objects{apiserver="10.0.0.1:6443",group="",resource="nodes"} 3.0'
    ]


def test_resources_beyond_the_limit_are_told_together() -> None:
    page = small() + "".join(
        f'apiserver_request_total{{code="200",resource="{name}",verb="GET"}} {count}\n'
        for name, count in (("configmaps", 9), ("leases", 3), ("nodes", 1))
    )
    snapshot = collect(collector(Apiserver(1, page), top=2))
    assert [line.partition("resource=")[2] for line in lines(snapshot)[1:]] == [
        '"(other)",verb="GET"} 4.0',
        '"configmaps",verb="GET"} 9.0',
        '"pods",verb="GET"} 5.0',
    ]
    assert snapshot.notes == ("2 resources are told together as (other); see the setting top",)


def test_a_load_balancer_is_named_and_tells_nothing() -> None:
    balancer = Apiserver(1, small(1.7e9))
    source = collector(balancer)
    collect(source)
    balancer.answer = small(1.8e9)
    collect(source)
    balancer.answer = small(1.7e9)
    with pytest.raises(BadResponse, match=r"https://10\.0\.0\.1:6443: a load balancer: .* by its own address"):
        collect(source)


def test_the_same_apiserver_under_two_urls_counts_once() -> None:
    snapshot = collect(collector(Apiserver(1, small()), Apiserver(2, small()), Apiserver(3, small(1.8e9))))
    assert lines(snapshot)[:3] == [
        '_readable{apiserver="10.0.0.1:6443"} 1.0',
        '_readable{apiserver="10.0.0.2:6443"} 0.0',
        '_readable{apiserver="10.0.0.3:6443"} 1.0',
    ]
    assert snapshot.notes[0].startswith("https://10.0.0.2:6443: the same apiserver as https://10.0.0.1:6443")


def test_one_that_hangs_costs_the_others_nothing_and_is_asked_once_a_poll() -> None:
    released = threading.Event()
    with (
        RawServer(lambda _: released.wait(30) and None) as hanging,
        RawServer(lambda connection: connection.sendall(http("200 OK", small().encode()))) as well,
    ):
        requests = RequestCounter()
        urls = [hanging.url, well.url]
        source = ApiserverRequests(Listed([ApiserverMetrics(HttpConfig(url=url)) for url in urls]), requests, 500)
        snapshot = source.collect(Deadline(time.monotonic() + 1.0))
        released.set()
    assert [line.split()[-1] for line in lines(snapshot)[:2]] == ["0.0", "1.0"]
    assert snapshot.notes == (f"{hanging.url}: GET /metrics: no whole answer within 0.8 s",)
    assert requests.totals() == {("apiserver", hanging.url): 1, ("apiserver", well.url): 1}
    source.close()


def test_a_configured_apiserver_is_asked_with_the_configured_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    with RawServer(lambda connection: connection.sendall(http("200 OK", small().encode()))) as server:
        config = Config.model_validate(
            {
                "etcd": [{"members": [{"endpoint": "http://127.0.0.1:1"}]}],
                "apiservers": {"urls": [server.url], "bearer_token_file": token},
                "collectors": {"etcd_quota": {"enabled": False}, "etcd_keyspace": {"enabled": False}},
            }
        )
        (slot,) = make_core(config).slots
        slot.poll()
    assert b"ballast_apiserver_requests_total{" in slot.render(PLAIN)
    assert b"GET /metrics HTTP/1.1" in server.requests[0]
    assert b"Authorization: Bearer secret" in server.requests[0]
    assert slot.requests.totals() == {("apiserver", server.url): 1}


def test_the_cluster_that_names_no_apiserver_is_the_reason_that_none_is_asked(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text("{}")
    config = Config.model_validate(
        {
            "etcd": [{"members": [{"endpoint": "http://127.0.0.1:1"}]}],
            "apiservers": {"kubernetes": {"kubeconfig": kubeconfig}},
            "collectors": {"etcd_quota": {"enabled": False}, "etcd_keyspace": {"enabled": False}},
        }
    )
    (slot,) = make_core(config).slots
    slot.poll()
    assert str(kubeconfig) in str(slot.state.error)
    assert slot.render(PLAIN) == b""
