"""The collector over counters that say exactly what a test wants, and over real etcds."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ballast_exporter.census import Cancelled, CensusError, Postponed, Progress
from ballast_exporter.collectors.etcd_keyspace import Etcd, EtcdKeyspace
from ballast_exporter.exposition import PLAIN
from drills.stack import Authority, EtcdCluster, Service, Stack
from kube_ballast.analysis.census import Census, Usage
from kube_ballast.analysis.keyspace import Resource
from kube_ballast.analysis.pages import Records
from kube_ballast.analysis.ranges import Sized
from kube_ballast.clients.errors import ClientError, Denied, Unavailable
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Put, Status
from kube_ballast.config import EtcdConfig, TLSFiles
from tests.exporter.asking import get, values
from tests.waiting import eventually

GOLDEN = Path(__file__).parent / "golden" / "etcd_keyspace.prom"
ENDPOINT = "https://10.0.0.1:2379"
BEGAN = 1.7e9
STATUS = Status(
    member_id=1,
    cluster_id=1,
    version="3.5.30",
    db_size=64 * 2**20,
    db_size_in_use=48 * 2**20,
    quota=None,
    leader_id=2,
    raft_term=1,
    raft_index=1,
    raft_applied_index=1,
    revision=5000,
    is_learner=False,
    errors=(),
)


def usage(keys: int, stored: float | None, *, error: float | None = 0.0, writes: int | None = None) -> Usage:
    largest = () if stored is None else (Sized(int(stored / keys) + 9, f"/registry/x/{keys}".encode()),)
    return Usage(keys, stored, error, writes, largest)


def census(**changes: object) -> Census:
    records = Records()
    records.add([(revision, 700) for revision in range(1, 5000, 2)])
    base = Census(
        revision=5000,
        since=None,
        compacted=100,
        began=BEGAN,
        ended=BEGAN + 30,
        member=ENDPOINT,
        status=STATUS,
        restarts=0,
        requests=9,
        usage={
            Resource("", "events"): usage(9000, 6.3e6),
            Resource("", "pods"): usage(3000, 9e6, error=1e5),
            Resource("apps", "replicasets"): usage(50, 7e4),
            Resource("example.com", "widgets"): usage(40, 5e4),
        },
        foreign={f"stranger-{number:02}": usage(number + 1, 100.0 * (number + 1)) for number in range(13)},
        records=records,
    )
    return replace(base, **changes)


def second(first: Census) -> Census:
    grown = {resource: replace(each, writes=each.keys // 10) for resource, each in first.usage.items()}
    still = {name: replace(each, writes=0) for name, each in first.foreign.items()}
    return replace(
        first, usage=grown, foreign=still, since=5000, revision=8000, began=first.began + 600, ended=first.ended + 600
    )


@dataclass
class FakeCounts:
    """Gives what it has, one after the other, and then waits until it is stopped."""

    answers: list[Census | CensusError | ClientError | Exception]
    done: threading.Event = field(default_factory=threading.Event)
    closed: bool = False

    def run(self, *, progress: Callable[[Progress], None], cancel: threading.Event) -> Census:
        progress(Progress("reading", 5, None, 0, ENDPOINT))
        if not self.answers:
            self.done.set()
            assert cancel.wait(30)
            raise Cancelled("stopped")
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


@contextmanager
def collecting(
    *counts: FakeCounts, now: float = BEGAN + 700, top: int = 30, names: bool = False
) -> Iterator[EtcdKeyspace]:
    """The collector after all its counters have said what they have."""
    etcds = [
        Etcd(name, each, every=0.001, now=lambda: now) for name, each in zip(("main", "events"), counts, strict=False)
    ]
    for etcd in etcds:
        etcd._every = 0.001
    collector = EtcdKeyspace(etcds, top=top, object_names=names)
    stop = threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,))
    thread.start()
    for each in counts:
        assert each.done.wait(20)
    for etcd in etcds:
        etcd._every = 600.0  # what is told does not go stale while it is looked at
    yield collector
    stop.set()
    thread.join(20)


def text(collector: EtcdKeyspace) -> str:
    return PLAIN.render(collector.snapshot().families).decode()


def series(collector: EtcdKeyspace, name: str) -> list[str]:
    prefix = f"ballast_etcd_keyspace_{name}{{"
    lines = [line for line in text(collector).splitlines() if line.startswith(prefix)]
    return [
        line.removeprefix(prefix).replace('etcd_cluster="main",', "").replace('etcd_cluster="main"', "")
        for line in lines
    ]


def test_the_whole_exposition() -> None:
    first = census()
    with collecting(FakeCounts([first, second(first)]), top=2, names=True) as collector:
        found = text(collector)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text()


def test_nothing_is_told_before_the_first_census_has_ended() -> None:
    with collecting(FakeCounts([])) as collector:
        assert text(collector) == ""
        assert collector.snapshot().notes == ("main: no census yet, or none that is young enough; one is under way",)


def test_a_census_that_comes_to_nothing_leaves_the_last_one_and_says_so() -> None:
    first = census()
    with collecting(FakeCounts([first, Postponed("etcd-2 defragments")])) as collector:
        assert series(collector, "census_success") == ["} 0.0"]
        assert series(collector, "census_revision") == ["} 5000.0"]
        assert collector.snapshot().notes == ("main: the last census came to nothing: etcd-2 defragments",)


def test_a_census_that_is_too_old_is_not_told() -> None:
    with collecting(FakeCounts([census(), Postponed("busy")]), now=BEGAN + 30 + 1801) as collector:
        assert text(collector).splitlines()[2:] == ['ballast_etcd_keyspace_census_success{etcd_cluster="main"} 0.0']


def test_etcd_that_is_down_is_no_failure_of_the_collector() -> None:
    with collecting(FakeCounts([Unavailable(ENDPOINT, "Status: refused")])) as collector:
        assert series(collector, "census_success") == ["} 0.0"]


def test_refused_credentials_fail_it_when_no_etcd_lets_us_in() -> None:
    refused = Denied(ENDPOINT, "Range: permission denied")
    with collecting(FakeCounts([refused])) as collector, pytest.raises(Denied):
        collector.snapshot()
    with collecting(FakeCounts([refused]), FakeCounts([census()])) as collector:
        assert 'ballast_etcd_keyspace_keys{etcd_cluster="events"' in text(collector)
        assert collector.snapshot().notes == (
            f"main: the last census came to nothing: {ENDPOINT}: Range: permission denied",
        )


def test_rates_need_two_censuses_of_which_the_second_follows_the_first() -> None:
    first = census()
    with collecting(FakeCounts([first])) as collector:
        assert series(collector, "writes_per_second") == series(collector, "unattributed_writes_per_second") == []
    with collecting(FakeCounts([first, second(first)])) as collector:
        assert 'group="",resource="events"} 1.5' in series(collector, "writes_per_second")
        unattributed = (3000 - (900 + 300 + 5 + 4)) / 600
        assert series(collector, "unattributed_writes_per_second") == [f"}} {unattributed}"]


def test_the_top_is_chosen_by_bytes_keys_and_writes() -> None:
    usages = {Resource("", f"r{number:02}"): usage(10, 1e6) for number in range(10)}
    usages |= {
        Resource("", "many"): usage(100_000, 10.0),
        Resource("", "large"): usage(1, 9e9),
        Resource("", "busy"): usage(1, 1.0, writes=1000),
    }
    told = census(usage={key: replace(each, writes=each.writes or 0) for key, each in usages.items()}, since=4000)
    with collecting(FakeCounts([told]), top=3) as collector:
        assert series(collector, "keys") == [
            'group="",resource="busy"} 1.0',
            'group="",resource="large"} 1.0',
            'group="",resource="many"} 100000.0',
            'group="",resource="(other)"} 100.0',
        ]


def test_without_sizes_nothing_is_said_about_bytes() -> None:
    keys_only = census(usage={Resource("", "pods"): Usage(5, None, None, None)}, foreign={}, records=Records())
    with collecting(FakeCounts([keys_only])) as collector:
        assert series(collector, "keys") == ['group="",resource="pods"} 5.0']
        assert series(collector, "census_exact") == ["} 0.0"]
        for name in ("live_bytes", "sampling_error_bytes", "largest_bytes", "space_bytes"):
            assert series(collector, name) == []


def test_names_of_objects_are_not_told_unless_asked_for() -> None:
    with collecting(FakeCounts([census()])) as collector:
        assert series(collector, "object_bytes") == []


def test_what_nobody_foresaw_ends_all_counting_and_is_raised() -> None:
    counts, other = FakeCounts([ZeroDivisionError("a mistake")]), FakeCounts([])
    collector = EtcdKeyspace(
        [Etcd("main", counts, every=1.0), Etcd("events", other, every=1.0)], top=1, object_names=False
    )
    with pytest.raises(ZeroDivisionError):
        collector.run(threading.Event())
    collector.close()
    assert counts.closed
    assert other.closed


# --- the exporter over real etcds ---


def exporter(stack: Stack, *etcds: EtcdConfig, **settings: object) -> Service:
    keyspace = {"interval": "500ms", "deadline": "450ms", "every": "1s", **settings}
    return stack.exporter(
        config={"etcd": list(etcds), "collectors": {"etcd_quota": {"enabled": False}, "etcd_keyspace": keyspace}}
    )


def of(service: Service, name: str, by: str = "resource") -> dict[str, float]:
    return values(service.url, f"ballast_etcd_keyspace_{name}", by=by)


def write(etcd: EtcdCluster, *keys: str) -> None:
    with EtcdClient(etcd.endpoints[0], tls=etcd.tls) as client:
        client.txn([], [Put(key.encode(), bytes(500)) for key in keys], timeout=10)


def test_three_members_with_tls_are_counted(stack: Stack, etcd3_tls: EtcdCluster) -> None:
    write(
        etcd3_tls, "/registry/pods/a/b", "/registry/minions/n", "/registry/x.io/ys/a/b", "cilium/a", "compact_rev_key"
    )
    service = exporter(stack, etcd3_tls.config)
    eventually(lambda: of(service, "keys") == {"pods": 1, "nodes": 1, "ys": 1, "compact_rev_key": 1})
    assert of(service, "foreign_keys", by="owner") == {"cilium": 1}
    assert of(service, "census_exact", by="etcd_cluster") == {"main": 1.0}
    parts = of(service, "space_bytes", by="part")
    assert set(parts) == {"live", "half_empty", "history", "free"}
    write(etcd3_tls, "/registry/pods/a/c")
    eventually(lambda: of(service, "keys")["pods"] == 2)
    eventually(lambda: of(service, "writes_per_second"))


def test_two_etcds_are_told_apart_and_one_that_is_down_costs_the_other_nothing(stack: Stack) -> None:
    main, events = stack.etcd(), stack.etcd()
    write(main, "/registry/pods/a/b")
    write(events, "/registry/events/a/b")
    service = exporter(stack, main.config, events.config.model_copy(update={"name": "events"}))
    eventually(lambda: of(service, "keys", by="etcd_cluster") == {"main": 1, "events": 1})
    events.members[0].kill()
    eventually(lambda: of(service, "census_success", by="etcd_cluster") == {"main": 1, "events": 0}, within=20)
    assert "the last census came to nothing" in get(service.url).text
    assert values(service.url, "ballast_collector_success", by="collector") == {"etcd_keyspace": 1.0}
    eventually(lambda: of(service, "keys", by="etcd_cluster") == {"main": 1}, within=20)


def test_a_certificate_that_etcd_refuses_fails_the_collector(stack: Stack) -> None:
    etcd = stack.etcd(tls=True)
    stranger = Authority(stack.data("stranger")).issue("stranger")
    assert etcd.tls is not None
    wrong = TLSFiles(ca=etcd.tls.ca, cert=stranger.cert, key=stranger.key)
    service = exporter(stack, etcd.config.model_copy(update={"tls": wrong}))
    eventually(lambda: values(service.url, "ballast_collector_success", by="collector") == {"etcd_keyspace": 0.0})
    assert "etcd does not accept this client&#39;s certificate: check tls.cert" in get(service.url).text


def test_a_census_is_stopped_with_the_exporter(stack: Stack) -> None:
    etcd = stack.etcd()
    write(etcd, *(f"/registry/pods/a/{number}" for number in range(100)))
    service = exporter(stack, etcd.config, keys_per_second=100)
    eventually(lambda: values(service.url, "ballast_source_requests_total", by="target"))
    service.process.terminate()
    assert service.process.wait(within=10) == 0


def test_half_a_census_is_never_told(stack: Stack) -> None:
    etcd = stack.etcd()
    write(etcd, *(f"/registry/pods/a/{number}" for number in range(100)))
    service = exporter(stack, etcd.config, keys_per_second=100)
    told: list[dict[str, float]] = []

    def keys_told() -> dict[str, float]:
        told.append(of(service, "keys"))
        return told[-1]

    eventually(lambda: values(service.url, "ballast_source_requests_total", by="target"))
    etcd.members[0].kill()
    eventually(lambda: of(service, "census_success", by="etcd_cluster") == {"main": 0}, within=20)
    assert keys_told() == {}
    etcd.members[0].restart()
    eventually(keys_told, within=90)
    assert told[-1] == {"pods": 100}
