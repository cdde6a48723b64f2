"""The exporter against real members that are stopped, full, without a quota, or that do not know it."""

import json
from collections.abc import Mapping

from ballast_exporter.collectors import etcd_quota
from drills.stack import Authority, EtcdCluster, Service, Stack
from kube_ballast.clients.errors import NoSpace
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.config import EtcdConfig, TLSFiles
from tests.exporter.asking import get, values
from tests.waiting import eventually

QUICK = {"etcd_quota": {"interval": "500ms", "deadline": "450ms"}, "etcd_keyspace": {"enabled": False}}


def exporter(stack: Stack, *etcds: EtcdConfig, more: Mapping[str, object] | None = None) -> Service:
    return stack.exporter(config={"etcd": list(etcds), "collectors": QUICK, **(more or {})})


def of(service: Service, name: str, by: str = "member") -> dict[str, float]:
    return values(service.url, f"ballast_etcd_quota_{name}", by=by)


def test_three_members_with_tls_are_told_in_full(stack: Stack, etcd3_tls: EtcdCluster) -> None:
    service = exporter(stack, etcd3_tls.config)
    names = [member.name for member in etcd3_tls.members]
    up = eventually(lambda: (found := of(service, "member_up")) == dict.fromkeys(names, 1.0) and found)
    assert list(up) == names
    assert sum(of(service, "leader").values()) == 1
    assert of(service, "limit_bytes") == dict.fromkeys(names, 2.0**31), "etcd's default"
    assert set(of(service, "used_ratio")) == set(of(service, "db_size_bytes")) == set(names)
    assert of(service, "defragmenting") == of(service, "learner") == dict.fromkeys(names, 0.0)
    assert of(service, "alarm", by="alarm") == {"NOSPACE": 0.0, "CORRUPT": 0.0}


def test_a_stopped_member_is_down_and_costs_the_others_nothing(stack: Stack, etcd3: EtcdCluster) -> None:
    service = exporter(stack, etcd3.config)
    names = [member.name for member in etcd3.members]
    eventually(lambda: of(service, "member_up") == dict.fromkeys(names, 1.0))
    etcd3.members[1].pause()
    eventually(lambda: of(service, "member_up") == {names[0]: 1.0, names[1]: 0.0, names[2]: 1.0})
    assert set(of(service, "db_size_bytes")) == {names[0], names[2]}
    assert values(service.url, "ballast_collector_success", by="collector") == {"etcd_quota": 1.0}
    assert f"main/{names[1]}" in get(service.url).text, "the page says who is silent"
    etcd3.members[1].resume()
    eventually(lambda: of(service, "member_up") == dict.fromkeys(names, 1.0))


def test_scrapes_answer_while_all_of_etcd_is_stopped(stack: Stack, etcd3: EtcdCluster) -> None:
    service = exporter(stack, etcd3.config)
    names = [member.name for member in etcd3.members]
    eventually(lambda: of(service, "member_up") == dict.fromkeys(names, 1.0))
    for member in etcd3.members:
        member.pause()
    eventually(lambda: of(service, "member_up") == dict.fromkeys(names, 0.0))
    assert of(service, "db_size_bytes") == of(service, "alarm") == {}
    assert get(f"{service.url}/healthz").status == 200


def test_a_full_etcd_raises_the_alarm_of_the_member_that_is_full(stack: Stack) -> None:
    etcd = stack.etcd(quota_bytes=2 * 2**20)
    service = exporter(stack, etcd.config)
    eventually(lambda: set(of(service, "alarm", by="alarm").values()) == {0.0})
    with EtcdClient(etcd.endpoints[0]) as client:
        fill(client)
    eventually(lambda: of(service, "alarm", by="alarm") == {"NOSPACE": 1.0, "CORRUPT": 0.0})
    assert of(service, "limit_bytes") == {etcd.members[0].name: 2.0 * 2**20}
    assert of(service, "used_ratio")[etcd.members[0].name] >= 1.0


def fill(client: EtcdClient) -> None:
    for number in range(200):
        try:
            client.put(f"/fill/{number}".encode(), b"x" * 100_000, timeout=5)
        except NoSpace:
            return
    raise AssertionError("etcd did not fill up")


def test_a_disabled_quota_gives_neither_limit_nor_ratio(stack: Stack) -> None:
    service = exporter(stack, stack.etcd(quota_bytes=-1).config)
    eventually(lambda: set(of(service, "member_up").values()) == {1.0})
    eventually(lambda: of(service, "db_size_bytes"))
    assert of(service, "limit_bytes") == of(service, "used_ratio") == {}


def test_two_etcds_are_told_apart(stack: Stack) -> None:
    events = stack.etcd().config.model_copy(update={"name": "events"})
    service = exporter(stack, stack.etcd().config, events)
    eventually(lambda: of(service, "member_up", by="etcd_cluster") == {"main": 1.0, "events": 1.0})


def test_a_certificate_that_etcd_refuses_fails_the_collector_with_the_reason(stack: Stack) -> None:
    etcd = stack.etcd(tls=True)
    stranger = Authority(stack.data("stranger")).issue("stranger")
    assert etcd.tls is not None
    wrong = TLSFiles(ca=etcd.tls.ca, cert=stranger.cert, key=stranger.key)
    service = exporter(stack, etcd.config.model_copy(update={"tls": wrong}))
    eventually(lambda: values(service.url, "ballast_collector_success", by="collector") == {"etcd_quota": 0.0})
    page = get(service.url).text
    assert "etcd does not accept this client&#39;s certificate: check tls.cert" in page
    assert of(service, "member_up") == {}, "nothing is claimed about a member that did not let us in"


def test_an_authority_that_did_not_sign_etcds_certificate_is_named(stack: Stack) -> None:
    etcd = stack.etcd(tls=True)
    assert etcd.tls is not None
    wrong = TLSFiles(ca=Authority(stack.data("stranger")).ca, cert=etcd.tls.cert, key=etcd.tls.key)
    service = exporter(stack, etcd.config.model_copy(update={"tls": wrong}))
    eventually(lambda: "check tls.ca" in get(service.url).text)


def test_it_logs_a_source_that_changes_once(stack: Stack) -> None:
    etcd = stack.etcd()
    service = exporter(stack, etcd.config, more={"log": {"format": "json"}})
    eventually(lambda: set(of(service, "member_up").values()) == {1.0})
    etcd.members[0].kill()
    before = values(service.url, "ballast_source_requests_total", by="target")
    eventually(lambda: set(of(service, "member_up").values()) == {0.0})
    target = etcd.endpoints[0]
    eventually(lambda: values(service.url, "ballast_source_requests_total", by="target")[target] > before[target] + 3)
    (log,) = [file for file in stack.logs.iterdir() if "exporter" in file.name]
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    changes = [event for event in events if event["event"] == "sources changed"]
    assert [event["collector"] for event in changes] == [etcd_quota.NAME], changes
