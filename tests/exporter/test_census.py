"""A census of real etcds: it agrees with an independent count, whatever the keys and whatever happens meanwhile."""

import subprocess
import threading
from collections import Counter as Multiset
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ballast_exporter.census import Cancelled, Counter, Outrun, Pace, Postponed, Progress, Settings
from ballast_exporter.census_members import Source, connect
from drills.stack import EtcdCluster, Stack, tool
from kube_ballast.analysis.census import Census
from kube_ballast.analysis.keyspace import Layout
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Unavailable
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import KeyValue, MemberMetrics, Put
from kube_ballast.config import BasicAuth
from tests.waiting import eventually

SOON = 10.0
SMALL = Settings(pace=None, page_keys=8, page_bytes=20_000)
QUICK = Settings(pace=None)


@pytest.fixture(scope="module")
def own_etcd(session_stack: Stack) -> EtcdCluster:
    """One member that only these tests write to: a census sees everything."""
    return session_stack.etcd(quota_bytes=8 * 2**30)


@pytest.fixture
def client(own_etcd: EtcdCluster) -> Iterator[EtcdClient]:
    """Of an etcd without any key."""
    with EtcdClient(own_etcd.endpoints[0]) as client:
        client.delete_range(b"\0", b"\0", timeout=SOON)
        yield client


@pytest.fixture
def counters() -> Iterator[Callable[..., Counter]]:
    made: list[Counter] = []

    def make(etcd: EtcdCluster, settings: Settings = QUICK, **changes: object) -> Counter:
        made.append(Counter(connect(etcd.config), replace(settings, **changes)))
        return made[-1]

    yield make
    for counter in made:
        counter.close()


def everything(client: EtcdClient) -> tuple[KeyValue, ...]:
    return client.range(b"\0", b"\0", timeout=SOON).kvs


def stored(kv: KeyValue) -> int:
    return rpc_pb2.KeyValue(
        key=kv.key,
        value=kv.value,
        create_revision=kv.create_revision,
        mod_revision=kv.mod_revision,
        version=kv.version,
        lease=kv.lease,
    ).ByteSize()


def by_place(kvs: tuple[KeyValue, ...], of: Callable[[KeyValue], int]) -> Mapping[str, int]:
    count: Multiset[str] = Multiset()
    for kv in kvs:
        place = Layout().place(kv.key)
        count[f"{place.name}{'' if place.resource else ' (foreign)'}"] += of(kv)
    return count


def told(census: Census, of: str) -> Mapping[str, int]:
    found = {str(resource): getattr(usage, of) for resource, usage in census.usage.items()}
    return found | {f"{name} (foreign)": getattr(usage, of) for name, usage in census.foreign.items()}


def agrees(census: Census, kvs: tuple[KeyValue, ...]) -> None:
    assert told(census, "keys") == by_place(kvs, lambda _: 1)
    assert told(census, "stored") == by_place(kvs, stored)
    assert (census.keys, census.stored, census.exact) == (len(kvs), sum(map(stored, kvs)), True)
    parts = [*census.usage.values(), *census.foreign.values()]
    largest = sorted((sized for usage in parts for sized in usage.largest), reverse=True)
    sizes = sorted(map(stored, kvs), reverse=True)
    assert [sized.size for sized in largest[:20]] == sizes[:20]
    assert {sized.key: sized.size for sized in largest}.items() <= {kv.key: stored(kv) for kv in kvs}.items()


KEYS = st.one_of(
    st.builds(
        lambda resource, namespace, name: f"/registry/{resource}/ns-{namespace}/{name}".encode(),
        st.sampled_from(["pods", "services/specs", "services/endpoints", "minions", "x.example.com/widgets", "events"]),
        st.integers(0, 30),
        st.integers(0, 50),
    ),
    st.builds(lambda name: b"/registry/pods/ns-1/" + name, st.binary(min_size=1, max_size=80)),
    st.binary(min_size=1, max_size=12),
    st.sampled_from(
        [b"/registry", b"/registry/", b"compact_rev_key", b"cilium/a", b"\xff\xff\xff", b"/registry/pods/"]
    ),
)
WRITES = st.dictionaries(KEYS, st.integers(0, 3000), max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(WRITES, WRITES), st.lists(st.integers(0, 200), max_size=10), st.sampled_from([1, 2]))
def test_any_keyspace_is_counted_exactly_again_and_again(
    own_etcd: EtcdCluster,
    client: EtcdClient,
    rounds: tuple[dict[bytes, int], dict[bytes, int]],
    gone: list[int],
    parallel: int,
) -> None:
    first, second = rounds
    client.delete_range(b"\0", b"\0", timeout=SOON)
    counter = Counter(connect(own_etcd.config), replace(SMALL, parallel=parallel))
    try:
        for key, size in first.items():
            client.put(key, bytes(size), timeout=SOON)
        one = counter.run()
        agrees(one, everything(client))
        assert (one.writes, one.unattributed) == (None, None)

        deleted = sorted(first)
        for index in gone:
            if index < len(deleted):
                client.delete_range(deleted[index], timeout=SOON)
        for key, size in second.items():
            client.put(key, bytes(size), timeout=SOON)
        kvs = everything(client)
        two = counter.run()
        agrees(two, kvs)
        assert two.since == one.revision
        assert told(two, "writes") == by_place(kvs, lambda kv: written(kv, one.revision, client))
        assert two.unattributed == two.revision - one.revision - (two.writes or 0)

        for three in (counter.run(), counter.run()):  # nobody has written since
            agrees(three, kvs)
            assert (three.writes, three.unattributed) == (0, 0)
        assert counter.sweep() == len(kvs)
    finally:
        counter.close()


def written(kv: KeyValue, since: int, client: EtcdClient) -> int:
    """Asked of etcd: the version now and then."""
    if kv.create_revision > since:
        return kv.version
    return kv.version - client.range(kv.key, revision=since, timeout=SOON).kvs[0].version


def test_it_agrees_with_etcdctl(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    fill(client, 5000)
    listed = subprocess.run(
        [tool("etcdctl"), "--endpoints", own_etcd.endpoints[0], "get", "/registry", "--prefix", "--keys-only"],
        capture_output=True,
        check=True,
        timeout=30,
    )
    keys = [line for line in listed.stdout.splitlines() if line]
    census = counters(own_etcd).run()
    assert sum(usage.keys for usage in census.usage.values()) == len(keys) == 5000
    assert told(census, "keys") == Multiset(Layout().place(key).name for key in keys)


def fill(client: EtcdClient, keys: int, size: int = 100, name: str = "/registry/{}/ns-{:05}/object-{:06}") -> None:
    """Objects of five resources, a hundred to a namespace."""
    resources = ("configmaps", "events", "pods", "secrets", "x.example.com/widgets")
    writes = [
        Put(name.format(resources[number * 5 // keys], number // 100, number).encode(), bytes(size))
        for number in range(keys)
    ]
    for start in range(0, keys, 120):
        client.txn([], writes[start : start + 120], timeout=SOON)


def test_an_empty_etcd_is_a_whole_census(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    assert not everything(client)
    counter = counters(own_etcd)
    for _ in range(2):
        census = counter.run()
        assert (census.keys, census.stored, census.error, dict(census.usage)) == (0, 0, 0, {})


def test_values_of_the_largest_size_are_read_a_few_at_a_time(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    for number in range(40):
        client.put(f"/registry/secrets/helm/release-{number}".encode(), bytes(1_500_000), timeout=SOON)
    counter = counters(own_etcd)
    for _ in range(3):
        census = counter.run()
        agrees(census, everything(client))
    assert max(kept.keys for kept in counter._kept) <= 3


def test_an_answer_too_large_to_be_received_is_asked_for_in_parts(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 60)
    counter = counters(own_etcd)
    source = counter._members._sources[0]
    limits = []

    class Narrow:
        def __getattr__(self, name: str) -> object:
            return getattr(source.reader, name)

        def scan(self, *bounds: bytes, limit: int, **more: object) -> object:
            limits.append(limit)
            if limit > 10:
                raise BadResponse(source.endpoint, "Range: larger than max; split it into smaller calls")
            return source.reader.scan(*bounds, limit=limit, **more)

    counter._members._sources = (Source(source.endpoint, Narrow(), source.http),)
    for _ in range(2):
        agrees(counter.run(), everything(client))
    assert max(limits) > 10 >= min(limits)


def test_a_hundred_thousand_namespaces(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    names = [f"{kind}/team-{number:06}" for kind in ("namespaces", "configmaps") for number in range(100_000)]
    writes = [Put(f"/registry/{name}/kube-root-ca.crt".encode(), b"certificate") for name in names]
    for start in range(0, len(writes), 120):
        client.txn([], writes[start : start + 120], timeout=SOON)
    counter = counters(own_etcd)
    cold = counter.run()
    warm = counter.run()
    for census in (cold, warm):
        assert told(census, "keys") == {"namespaces": 100_000, "configmaps": 100_000}
    assert cold.requests < 1000
    assert warm.requests < 150


def test_what_cannot_be_read_is_measured_all_the_same(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    client.put(b"/registry/secrets/a/b", b"k8s:enc:aescbc:v1:key1:" + bytes(range(256)), timeout=SOON)
    agrees(counters(own_etcd).run(), everything(client))


def test_a_prefix_without_slashes(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    for key in (b"/kubernetes.io/pods/a/b", b"/registry/pods/a/b", b"/kubernetes.io.old/pods/a/b"):
        client.put(key, b"", timeout=SOON)
    census = counters(own_etcd, prefixes=("kubernetes.io",)).run()
    assert told(census, "keys") == {"pods": 1, "/registry (foreign)": 1, "/kubernetes.io.old (foreign)": 1}
    below = counters(own_etcd, prefixes=("kubernetes.io",), whole=False).run()
    assert told(below, "keys") == {"pods": 1}


# --- sizes: all, some, none ---


def test_without_sizes_only_keys_are_known(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 1000)
    census = counters(own_etcd, measure=0).run()
    assert (census.keys, census.stored, census.error, census.exact) == (1000, None, None, False)


def test_a_sample_tells_its_error_and_what_is_known_of_it_stays_known(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    sizes = [10, 3000, 200, 40]
    for number in range(6000):
        if number % 120 == 0:
            writes = [
                Put(f"/registry/pods/ns-{each // 50:04}/{each:05}".encode(), bytes(sizes[each // 37 % 4]))
                for each in range(number, number + 120)
            ]
            client.txn([], writes, timeout=SOON)
    client.put(b"/registry/secrets/a/b", bytes(777), timeout=SOON)
    kvs = everything(client)
    true = sum(map(stored, kvs))
    counter = counters(own_etcd, SMALL, page_keys=50, measure=true // 3)
    counter.run()
    census = counter.run()
    assert not census.exact
    assert census.stored is not None
    assert census.error is not None
    assert 0 < abs(census.stored - true) <= 2 * census.error < 2 * true
    assert told(census, "stored")["secrets"] == stored(kvs[-1]), "small resources are not sampled"
    for _ in range(12):
        census = counter.run()
    assert census.error is not None
    assert census.error < true / 20, "nothing was written: each census adds to what is known"


# --- trouble ---


def between(counter: Counter, act: Callable[[], object], after: int = 3) -> Census:
    """A census during which ``act`` happens, after some answers."""
    seen: list[Progress] = []

    def progress(step: Progress) -> None:
        seen.append(step)
        if len(seen) == after:
            act()

    return counter.run(progress=progress)


def test_writes_meanwhile_do_not_show(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000)
    before = everything(client)
    counter = counters(own_etcd, SMALL)
    agrees(between(counter, lambda: fill(client, 1000, name="/registry/{}/later-{}/{}")), before)
    agrees(counter.run(), everything(client))


def test_compacted_meanwhile_it_begins_anew_and_is_whole(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000)

    def compact() -> None:
        revision = client.put(b"/registry/pods/a/b", b"", timeout=SOON).revision
        client.compact(revision, timeout=SOON)

    counter = counters(own_etcd, SMALL)
    census = between(counter, compact)
    assert (census.restarts, census.compacted) == (1, census.revision)
    agrees(census, everything(client))


def test_compacted_again_and_again_there_is_no_census(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000)
    counter = counters(own_etcd, SMALL)
    whole = counter.run()
    again = []

    def compact(step: Progress) -> None:
        again.append(step.state)
        client.compact(client.put(b"/registry/pods/a/b", b"", timeout=SOON).revision, timeout=SOON)

    with pytest.raises(Outrun, match="compacted away 3 times before all keys were read"):
        counter.run(progress=compact)
    assert again.count("again") == 3
    assert counter.last is whole
    after = counter.run()
    agrees(after, everything(client))
    assert after.since == whole.revision


def test_an_etcd_that_was_restored_is_counted_as_one_never_seen(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter], stack: Stack
) -> None:
    fill(client, 500, size=300)
    other = stack.etcd()
    with EtcdClient(other.endpoints[0]) as restored:
        fill(restored, 400, size=700)
        counter, of_other = counters(own_etcd), counters(other)
        for _ in range(2):
            counter.run()
        counter._members._sources = of_other._members._sources
        census = counter.run()
        agrees(census, everything(restored))
    assert census.since is None


def test_told_to_stop_it_stops(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    fill(client, 2000)
    cancel = threading.Event()
    for parallel in (1, 2):
        cancel.clear()
        counter = counters(own_etcd, SMALL, parallel=parallel, pace=Pace(keys=100))
        with pytest.raises(Cancelled):
            counter.run(progress=lambda _: cancel.set(), cancel=cancel)


def test_a_member_that_dies_is_replaced_at_the_same_revision(
    etcd3: EtcdCluster, counters: Callable[..., Counter]
) -> None:
    with EtcdClient(etcd3.endpoints[0]) as client:
        fill(client, 3000)
        before = everything(client)
    counter = counters(etcd3, SMALL)
    first = counter.run()
    (victim,) = [member for member in etcd3.members if member.endpoint == first.member]
    assert EtcdClient(victim.endpoint).status(timeout=SOON).leader_id != first.status.member_id, "followers are read"
    census = between(counter, victim.kill)
    assert census.revision == first.revision
    agrees(census, before)
    agrees(counter.run(), before)


def test_a_member_that_hangs_is_replaced(etcd3: EtcdCluster, counters: Callable[..., Counter]) -> None:
    with EtcdClient(etcd3.endpoints[0]) as client:
        fill(client, 1000)
        before = everything(client)
    counter = counters(etcd3, SMALL, timeout=0.5)
    first = counter.run()
    (victim,) = [member for member in etcd3.members if member.endpoint == first.member]
    census = between(counter, victim.pause)
    victim.resume()
    agrees(census, before)


def test_leadership_moves_and_nothing_is_lost(etcd3: EtcdCluster, counters: Callable[..., Counter]) -> None:
    counter = counters(etcd3, SMALL, page_keys=100, look_every=0.0)
    with EtcdClient(etcd3.endpoints[0]) as client:
        fill(client, 300)
        before = everything(client)
    first = counter.run()
    clients = {endpoint: EtcdClient(endpoint) for endpoint in etcd3.endpoints}
    status = {endpoint: client.status(timeout=SOON) for endpoint, client in clients.items()}
    (leader,) = [end for end, each in status.items() if each.member_id == each.leader_id]
    seen: set[str] = set()

    def move(step: Progress) -> None:
        seen.add(step.member)
        if len(seen) == 1 and step.member == first.member:
            clients[leader].move_leader(status[first.member].member_id, timeout=SOON)
            seen.add("moved")

    agrees(counter.run(progress=move), before)
    for client in clients.values():
        client.close()
    assert len(seen - {"moved", first.member}) == 1, "the new leader is left alone"


def test_all_members_down_is_said(stack: Stack, counters: Callable[..., Counter]) -> None:
    etcd = stack.etcd()
    counter = counters(etcd)
    counter.run()
    etcd.members[0].kill()
    with pytest.raises(Unavailable, match="Connection refused"):
        counter.run()


def test_rights_that_do_not_suffice_are_named(stack: Stack) -> None:
    etcd = stack.etcd()

    def ctl(*words: str) -> None:
        command = [str(tool("etcdctl")), "--endpoints", etcd.endpoints[0], *words]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    with EtcdClient(etcd.endpoints[0]) as client:
        fill(client, 500)
    ctl("role", "add", "reader")
    ctl("role", "grant-permission", "reader", "--prefix=true", "read", "/registry/pods/")
    for user, role in (("root", "root"), ("ballast", "reader")):
        ctl("user", "add", f"{user}:secret")
        ctl("user", "grant-role", user, role)
    ctl("auth", "enable")
    password = stack.data("password") / "password"
    password.write_text("secret")

    def counter(user: str) -> Counter:
        auth = BasicAuth(username=user, password_file=password)
        return Counter(connect(etcd.config.model_copy(update={"auth": auth})), QUICK)

    with pytest.raises(Denied, match="the user's roles do not cover this request"):
        counter("ballast").run()
    assert counter("root").run().keys == 500


def test_nobody_is_read_while_somebody_defragments(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 500)
    counter = counters(own_etcd, patience=0.0, look_every=0.0)
    source = counter._members._sources[0]

    class Busy:
        defragments, snapshots = 0, 0

        def metrics(self, *, timeout: float) -> MemberMetrics:
            assert timeout > 0
            return MemberMetrics(self.defragments, None, self.snapshots)

    busy = Busy()
    counter._members._sources = (Source(source.endpoint, source.reader, busy),)
    busy.defragments = 1
    with pytest.raises(Postponed, match=f"{source.endpoint} defragments"):
        counter.run()
    busy.defragments, busy.snapshots = 0, 1
    with pytest.raises(Postponed, match="somebody takes a snapshot"):
        counter.run()
    busy.snapshots = 0

    def begin() -> None:
        busy.defragments = 1

    with pytest.raises(Postponed):
        between(counter, begin)
    assert counter.last is None, "half a census is none"


def test_it_waits_until_a_snapshot_has_been_taken(
    own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]
) -> None:
    fill(client, 2000, size=5000)
    counter = counters(own_etcd, look_every=0.0)
    reading = threading.Event()
    with EtcdClient(own_etcd.endpoints[0]) as reader, reader._channel.use() as channel:
        call: Any = channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot", request_serializer=rpc_pb2.SnapshotRequest.SerializeToString
        )(rpc_pb2.SnapshotRequest(), timeout=60.0)
        next(call)
        http = EtcdHttp(own_etcd.members[0].metrics_url)
        eventually(lambda: http.metrics(timeout=SOON).snapshots_in_flight == 1)

        def waiting(step: Progress) -> None:
            if step.state == "waiting":
                assert "snapshot" in step.words
                call.cancel()
                reading.set()

        census = counter.run(progress=waiting)
    assert reading.is_set()
    assert census.keys == 2000


def test_the_pace_is_kept(own_etcd: EtcdCluster, client: EtcdClient, counters: Callable[..., Counter]) -> None:
    fill(client, 1000)
    census = counters(own_etcd, page_keys=100, pace=Pace(keys=1000)).run()
    assert census.ended - census.began >= 0.9


def test_each_request_is_counted(own_etcd: EtcdCluster, client: EtcdClient) -> None:
    fill(client, 100)
    asked: Multiset[str] = Multiset()
    counter = Counter(connect(own_etcd.config), QUICK, count=lambda target: asked.update([target]))
    census = counter.run()
    counter.close()
    assert asked == {own_etcd.endpoints[0]: census.requests + 1}


def test_a_closed_counter_asks_nobody(own_etcd: EtcdCluster) -> None:
    counter = Counter(connect(own_etcd.config))
    counter.close()
    with pytest.raises((ClientError, RuntimeError)):
        counter.run()
