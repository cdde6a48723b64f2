"""The collector against members that say exactly what a test wants."""

import importlib
import os
import re
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ballast_exporter.collectors import COLLECTORS, Kind, etcd_quota
from ballast_exporter.contract import Deadline, RequestCounter, Snapshot
from ballast_exporter.etcd_members import Cluster, Target
from ballast_exporter.exposition import PLAIN
from drills.stack import tool
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.clients.etcd.types import Member, MemberMetrics, Status
from kube_ballast.config import EtcdMemberConfig
from tests.exporter.fakes import FakeGrpc, FakeHttp

GOLDEN = Path(__file__).parent / "golden"
QUIET = MemberMetrics(defrag_inflight=0, quota_bytes=2 * 2**30, snapshots_in_flight=0)


def status(number: int, **changes: object) -> Status:
    base = Status(
        member_id=0xA0 + number,
        cluster_id=0xC,
        version="3.5.30",
        db_size=64 * 2**20,
        db_size_in_use=16 * 2**20,
        quota=None,
        leader_id=0xA1,
        raft_term=7,
        raft_index=5000,
        raft_applied_index=5000,
        revision=4711,
        is_learner=False,
        errors=(),
    )
    return replace(base, **changes)


def member(number: int, name: str | None = None) -> Member:
    url = f"https://10.0.0.{number}:2379"
    return Member(0xA0 + number, f"etcd-{number}" if name is None else name, (), (url,), is_learner=False)


MEMBERS = (member(1), member(2), member(3))


def target(number: int, grpc: FakeGrpc | None = None, http: FakeHttp | None = None) -> Target:
    config = EtcdMemberConfig(endpoint=f"https://10.0.0.{number}:2379", metrics_url=f"http://10.0.0.{number}:2381")
    return Target(config, grpc or FakeGrpc(status(number), MEMBERS), http or FakeHttp(QUIET))


class Bench:
    """A collector over one cluster of fakes."""

    def __init__(self, *targets: Target) -> None:
        self.requests = RequestCounter()
        self.collector = etcd_quota.EtcdQuota([Cluster("main", targets, self.requests)])

    def collect(self, seconds: float = 5.0) -> Snapshot:
        return self.collector.collect(Deadline(time.monotonic() + seconds))

    def lines(self) -> list[str]:
        return PLAIN.render(self.collect().families).decode().splitlines()

    def series(self, name: str) -> list[str]:
        prefix = f"ballast_etcd_quota_{name}"
        found = [line for line in self.lines() if line.startswith(prefix + "{")]
        return [line.removeprefix(prefix).replace('etcd_cluster="main",', "") for line in found]


def full_house() -> Bench:
    """One of each: a leader with an alarm, 3.6 that defragments, one that is down, a learner without a quota."""
    nospace = ("memberID:161 alarm:NOSPACE ",)
    return Bench(
        target(
            1, FakeGrpc(status(1, errors=nospace), (*MEMBERS, member(4))), FakeHttp(replace(QUIET, quota_bytes=2**26))
        ),
        target(
            2,
            FakeGrpc(Timeout("https://10.0.0.2:2379", "Status: no answer")),
            FakeHttp(replace(QUIET, defrag_inflight=1)),
        ),
        target(
            3,
            FakeGrpc(Unavailable("https://10.0.0.3:2379", "Status: refused")),
            FakeHttp(Unavailable("http", "refused")),
        ),
        target(
            4, FakeGrpc(status(4, quota=-1, version="3.6.5", is_learner=True, db_size_in_use=2**27)), FakeHttp(QUIET)
        ),
    )


def test_the_whole_exposition() -> None:
    text = PLAIN.render(full_house().collect().families).decode()
    golden = GOLDEN / "etcd_quota.prom"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("kind", COLLECTORS, ids=lambda kind: kind.name)
def test_each_collector_has_its_golden_and_tells_its_cost(kind: Kind) -> None:
    golden = GOLDEN / f"{kind.name}.prom"
    module = importlib.import_module(f"ballast_exporter.collectors.{kind.name}")
    assert "Cost:" in str(module.__doc__)
    emitted = set(re.findall(r"^# TYPE (\S+) ", golden.read_text(), flags=re.MULTILINE))
    missing = {name for name in emitted if name.removeprefix(f"ballast_{kind.name}") not in str(module.__doc__)}
    assert not missing, "the text at the top shows each metric"


@pytest.mark.parametrize("kind", COLLECTORS, ids=lambda kind: kind.name)
def test_the_golden_pleases_promtool(kind: Kind) -> None:
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        input=(GOLDEN / f"{kind.name}.prom").read_bytes(),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_every_collector_module_stands_in_the_tuple() -> None:
    folder = Path(str(etcd_quota.__file__)).parent
    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == {kind.name for kind in COLLECTORS}


def test_what_is_missing_is_said_in_words() -> None:
    assert full_house().collect().notes == (
        "main/etcd-2: defragments, gives no status",
        "main/etcd-3: https://10.0.0.3:2379: Status: refused",
    )


def test_each_member_is_asked_once_and_names_only_while_they_are_unknown() -> None:
    targets = [target(1), target(2), target(3)]
    bench = Bench(*targets)
    bench.collect()
    bench.collect()
    assert [each.grpc.calls for each in targets] == [
        ["status", "member_list", "status"],
        ["status", "status"],
        ["status", "status"],
    ]
    assert bench.requests.totals() == {
        ("etcd", "https://10.0.0.1:2379"): 3,
        ("etcd", "https://10.0.0.2:2379"): 2,
        ("etcd", "https://10.0.0.3:2379"): 2,
        ("etcd", "http://10.0.0.1:2381"): 2,
        ("etcd", "http://10.0.0.2:2381"): 2,
        ("etcd", "http://10.0.0.3:2381"): 2,
    }


def test_the_address_is_the_name_until_etcd_tells_one_and_the_name_is_remembered() -> None:
    grpc = FakeGrpc(status(1), Timeout("https://10.0.0.1:2379", "MemberList: no answer"))
    bench = Bench(target(1, grpc))
    assert bench.series("member_up") == ['{member="10.0.0.1:2379"} 1.0']
    assert "addresses instead of names" in bench.collect().notes[0]
    grpc.members = MEMBERS
    assert bench.series("member_up") == ['{member="etcd-1"} 1.0']
    grpc.answer = Unavailable("https://10.0.0.1:2379", "Status: refused")
    assert bench.series("member_up") == ['{member="etcd-1"} 0.0']


def test_equal_names_do_not_make_equal_series() -> None:
    members = (member(1, "default"), member(2, "default"))
    bench = Bench(target(1, FakeGrpc(status(1), members)), target(2, FakeGrpc(status(2), members)))
    assert bench.series("member_up") == ['{member="default"} 1.0', '{member="10.0.0.2:2379"} 1.0']


@pytest.mark.parametrize(
    ("told_by_status", "told_by_metrics", "limit"),
    [
        (None, 2**26, ["6.7108864e+07"]),  # before 3.6
        (2**27, 2**26, ["1.34217728e+08"]),  # since 3.6
        (0, 2**31, ["2.147483648e+09"]),  # the flag's 0 is the default, which the metrics name
        (None, -1, []),
        (-1, -1, []),
        (-1, 2**31, []),
        (None, None, []),
        (0, 0, []),
    ],
)
def test_limit_and_ratio_are_absent_together_with_the_quota(
    told_by_status: int | None, told_by_metrics: int | None, limit: list[str]
) -> None:
    metrics = replace(QUIET, quota_bytes=told_by_metrics)
    bench = Bench(target(1, FakeGrpc(status(1, quota=told_by_status), MEMBERS), FakeHttp(metrics)))
    assert [line.split()[-1] for line in bench.series("limit_bytes")] == limit
    assert len(bench.series("used_ratio")) == len(limit)
    assert len(bench.series("db_size_bytes")) == 1


def test_without_metrics_only_what_they_tell_is_missing() -> None:
    bench = Bench(target(1, http=FakeHttp(BadResponse("http://10.0.0.1:2381", "GET /metrics: 404"))))
    assert bench.series("member_up") == ['{member="etcd-1"} 1.0']
    assert bench.series("defragmenting") == bench.series("limit_bytes") == []
    assert bench.collect().notes == ("main/etcd-1: http://10.0.0.1:2381: GET /metrics: 404",)


def test_alarms_are_those_of_the_member_furthest_along() -> None:
    lagging = status(1, raft_applied_index=10, errors=("memberID:162 alarm:NOSPACE ",))
    current = status(2, raft_applied_index=11, errors=("etcdserver: no leader", "memberID:161 alarm:CORRUPT "))
    bench = Bench(target(1, FakeGrpc(lagging, MEMBERS)), target(2, FakeGrpc(current, MEMBERS)))
    assert bench.series("alarm") == [
        '{alarm="NOSPACE",member="etcd-1"} 0.0',
        '{alarm="CORRUPT",member="etcd-1"} 1.0',
        '{alarm="NOSPACE",member="etcd-2"} 0.0',
        '{alarm="CORRUPT",member="etcd-2"} 0.0',
    ]


def test_an_alarm_of_a_member_that_is_not_configured_is_told_too() -> None:
    errors = ("memberID:162 alarm:NOSPACE ", "memberID:4660 alarm:NOSPACE ")
    bench = Bench(target(1, FakeGrpc(status(1, errors=errors), MEMBERS)))
    assert [line for line in bench.series("alarm") if line.endswith(" 1.0")] == [
        '{alarm="NOSPACE",member="etcd-2"} 1.0',
        '{alarm="NOSPACE",member="1234"} 1.0',
    ]


def test_when_nobody_answers_nothing_is_claimed_but_that() -> None:
    down = Unavailable("https://10.0.0.1:2379", "Status: refused")
    bench = Bench(target(1, FakeGrpc(down), FakeHttp(Unavailable("http://10.0.0.1:2381", "refused"))))
    assert [line for line in bench.lines() if not line.startswith("#")] == [
        'ballast_etcd_quota_readable{etcd_cluster="main"} 0.0',
        'ballast_etcd_quota_member_up{etcd_cluster="main",member="10.0.0.1:2379"} 0.0',
    ]


def test_refused_credentials_fail_the_collector_when_nobody_lets_us_in() -> None:
    refused = Denied("https://10.0.0.1:2379", "Status: etcd does not accept this client's certificate")
    both = Bench(target(1, FakeGrpc(refused)), target(2, FakeGrpc(refused)))
    with pytest.raises(Denied, match="does not accept this client's certificate"):
        both.collect()
    one = Bench(target(1, FakeGrpc(refused)), target(2))
    assert one.series("member_up") == ['{member="etcd-2"} 1.0']
    assert 'ballast_etcd_quota_readable{etcd_cluster="main"} 1.0' in one.lines()


def test_an_etcd_that_refuses_our_credentials_is_told_beside_one_that_accepts_them() -> None:
    refused = Denied("https://10.0.0.1:2379", "Status: authentication failed")
    requests = RequestCounter()
    denied = Cluster("events", (target(1, FakeGrpc(refused)), target(2, FakeGrpc(refused))), requests)
    good = Cluster("main", (target(3),), requests)
    snapshot = etcd_quota.EtcdQuota([denied, good]).collect(Deadline(time.monotonic() + 5))
    lines = PLAIN.render(snapshot.families).decode().splitlines()
    assert [
        line for line in lines if line.startswith(("ballast_etcd_quota_readable{", "ballast_etcd_quota_member_up{"))
    ] == [
        'ballast_etcd_quota_readable{etcd_cluster="events"} 0.0',
        'ballast_etcd_quota_readable{etcd_cluster="main"} 1.0',
        'ballast_etcd_quota_member_up{etcd_cluster="main",member="etcd-3"} 1.0',
    ]
    assert "events/10.0.0.1:2379: https://10.0.0.1:2379: Status: authentication failed" in snapshot.notes


@pytest.mark.parametrize(
    "silent", [Timeout("https://10.0.0.1:2379", "Status: no answer"), Denied("https://10.0.0.1:2379", "Status: denied")]
)
def test_an_etcd_whose_only_trace_is_a_defragmentation_is_readable(silent: ClientError) -> None:
    working = target(1, FakeGrpc(silent), FakeHttp(replace(QUIET, defrag_inflight=1)))
    down = target(2, FakeGrpc(Unavailable("https://10.0.0.2:2379", "Status: refused")))
    assert 'ballast_etcd_quota_readable{etcd_cluster="main"} 1.0' in Bench(working, down).lines()


def test_a_call_that_outlives_its_time_costs_its_own_member_only_and_is_not_repeated() -> None:
    released = threading.Event()

    class Hanging(FakeGrpc):
        def status(self, *, timeout: float) -> Status:
            self.calls.append("status")
            assert timeout > 0
            assert released.wait(30)
            return status(1)

    hanging = Hanging(status(1))
    bench = Bench(target(1, hanging), target(2))
    for _ in range(2):
        snapshot = bench.collect(seconds=0.4)
        assert any("still hangs" in note for note in snapshot.notes)
        text = PLAIN.render(snapshot.families).decode()
        assert 'member_up{etcd_cluster="main",member="etcd-1"} 0.0' in text
        assert 'member_up{etcd_cluster="main",member="etcd-2"} 1.0' in text
    assert hanging.calls == ["status"]
    released.set()


def test_several_etcds_are_told_apart() -> None:
    requests = RequestCounter()
    clusters = [Cluster(name, (target(1),), requests) for name in ("main", "events")]
    snapshot = etcd_quota.EtcdQuota(clusters).collect(Deadline(time.monotonic() + 5))
    text = PLAIN.render(snapshot.families).decode()
    assert 'member_up{etcd_cluster="main",member="etcd-1"} 1.0' in text
    assert 'member_up{etcd_cluster="events",member="etcd-1"} 1.0' in text


def test_closing_closes_each_connection() -> None:
    grpc = FakeGrpc(status(1))
    Bench(target(1, grpc)).collector.close()
    assert grpc.calls == ["close"]
