"""Every call of the client, on a real member that no test disturbs."""

from pathlib import Path

import pytest

from drills.stack import EtcdCluster
from kube_ballast.clients.errors import BadResponse, Compacted, Conflict, Unavailable
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import (
    Alarm,
    AlarmKind,
    Compare,
    Delete,
    DeleteResult,
    Get,
    Health,
    Put,
    PutResult,
    RangeResult,
    prefix_end,
)

SOON = 5.0


@pytest.fixture(scope="module")
def client(etcd: EtcdCluster) -> EtcdClient:
    return EtcdClient(etcd.endpoints[0])


def test_status_and_members_agree(etcd: EtcdCluster, client: EtcdClient) -> None:
    status = client.status(timeout=SOON)
    for members in (client.member_list(timeout=SOON), client.member_list(timeout=SOON, linearizable=False)):
        (member,) = members
        assert member.id == status.member_id == status.leader_id
        assert member.client_urls == etcd.endpoints
        assert member.name == etcd.members[0].name
        assert not member.is_learner
    assert status.version.startswith(("3.5.", "3.6."))
    assert status.db_size >= status.db_size_in_use > 0
    assert status.revision > 0
    assert status.raft_index >= status.raft_applied_index > 0
    assert not status.errors
    assert (status.quota is None) == status.version.startswith("3.5.")


def test_keys_are_written_read_and_deleted(client: EtcdClient) -> None:
    prefix = b"client/keys/"
    first = client.put(prefix + b"a", b"1", timeout=SOON).revision
    client.put(prefix + b"a", b"2", timeout=SOON)
    client.put(prefix + b"b", b"\x00\xff", timeout=SOON)
    end = prefix_end(prefix)

    everything = client.range(prefix, end, timeout=SOON)
    a, b = everything.kvs
    assert (everything.count, everything.more) == (2, False)
    assert (a.key, a.value, a.create_revision, a.mod_revision, a.version, a.lease) == (
        prefix + b"a", b"2", first, first + 1, 2, 0,
    )  # fmt: skip
    assert b.value == b"\x00\xff"

    assert client.range(prefix + b"a", timeout=SOON, revision=first).kvs[0].value == b"1"
    limited = client.range(prefix, end, timeout=SOON, limit=1, serializable=True)
    assert (len(limited.kvs), limited.count, limited.more) == (1, 2, True)
    assert [kv.value for kv in client.range(prefix, end, timeout=SOON, keys_only=True).kvs] == [b"", b""]
    counted = client.range(prefix, end, timeout=SOON, count_only=True)
    assert (counted.kvs, counted.count) == ((), 2)

    assert client.delete_range(prefix, end, timeout=SOON) == DeleteResult(2, first + 3)
    assert client.range(prefix, end, timeout=SOON).count == 0


def test_a_scan_tells_whose_keys_they_are_and_what_etcd_stores_for_each(client: EtcdClient) -> None:
    prefix, end = b"client/scan/", prefix_end(b"client/scan/")
    empty = client.scan(prefix, end, timeout=SOON)
    assert empty is not None
    assert empty.keys == ()
    for number in range(5):
        client.put(prefix + bytes([number]), bytes(number * 100), timeout=SOON)
    revision = client.put(prefix + b"\xff", b"", timeout=SOON).revision

    scan = client.scan(prefix, end, timeout=SOON)
    assert scan is not None
    everything = client.range(prefix, end, timeout=SOON)
    assert [*zip(scan.keys, scan.created, scan.modified, scan.versions, strict=True)] == [
        (kv.key, kv.create_revision, kv.mod_revision, kv.version) for kv in everything.kvs
    ]
    stored = [
        rpc_pb2.KeyValue(
            key=kv.key, create_revision=kv.create_revision, mod_revision=kv.mod_revision, version=kv.version,
            value=kv.value, lease=kv.lease,
        ).ByteSize()
        for kv in everything.kvs
    ]  # fmt: skip
    assert scan.sizes == tuple(stored)
    assert (scan.count, scan.more, scan.revision) == (6, False, everything.revision)

    some = client.scan(prefix, end, timeout=SOON, limit=2, sizes=False, revision=revision - 1)
    assert some is not None
    assert (some.keys, some.sizes) == (scan.keys[:2], None)
    assert (some.count, some.more) == (5, True)


def test_a_scan_that_tells_nothing_new_is_not_told_again(client: EtcdClient) -> None:
    prefix, end = b"client/seen/", prefix_end(b"client/seen/")
    client.put(prefix, bytes(200), timeout=SOON)
    first = client.scan(prefix, end, timeout=SOON)
    assert first is not None
    client.put(b"client/elsewhere", b"", timeout=SOON)  # the store's revision is another one then
    assert client.scan(prefix, end, timeout=SOON, seen=first.fingerprint) is None
    client.put(prefix, bytes(200), timeout=SOON)
    again = client.scan(prefix, end, timeout=SOON, seen=first.fingerprint)
    assert again is not None
    assert again.sizes == first.sizes
    assert again.versions == (2,)


def test_sizes_of_single_keys_are_those_of_a_scan(client: EtcdClient) -> None:
    prefix, end = b"client/sizes/", prefix_end(b"client/sizes/")
    revision = 0
    for number in range(100):
        revision = client.put(prefix + bytes([number]), bytes(number * 10), timeout=SOON).revision
    scan = client.scan(prefix, end, timeout=SOON)
    assert scan is not None
    assert client.stored_sizes(scan.keys, timeout=SOON) == scan.sizes
    client.put(prefix + b"\0", bytes(5000), timeout=SOON)
    asked = [prefix + b"\0", b"client/nothing"]
    assert scan.sizes is not None
    assert client.stored_sizes(asked, timeout=SOON, revision=revision) == (scan.sizes[0], None)
    assert client.stored_sizes([], timeout=SOON) == ()
    with pytest.raises(Conflict):
        client.stored_sizes(asked, timeout=SOON, revision=revision + 1000)


def test_a_large_value_passes_both_ways(client: EtcdClient) -> None:
    value = bytes(1_500_000)
    client.put(b"client/large", value, timeout=SOON)
    assert client.range(b"client/large", timeout=SOON).kvs[0].value == value
    with pytest.raises(BadResponse, match=r"Put: .*larger than max.*split it"):
        client.put(b"client/large", bytes(3_000_000), timeout=SOON)
    client.delete_range(b"client/large", timeout=SOON)


@pytest.mark.parametrize(
    ("compare", "succeeds"),
    [
        (Compare(b"client/txn", "value", "=", b"1"), True),
        (Compare(b"client/txn", "value", "!=", b"1"), False),
        (Compare(b"client/txn", "version", "=", 1), True),
        (Compare(b"client/txn", "version", ">", 1), False),
        (Compare(b"client/txn", "mod_revision", ">", 0), True),
        (Compare(b"client/txn", "create_revision", "<", 1), False),
        (Compare(b"client/none", "create_revision", "=", 0), True),
    ],
)
def test_a_transaction_takes_the_branch_of_its_comparison(
    client: EtcdClient, compare: Compare, *, succeeds: bool
) -> None:
    client.delete_range(b"client/txn", timeout=SOON)
    client.put(b"client/txn", b"1", timeout=SOON)
    result = client.txn(
        [compare],
        [Put(b"client/txn2", b"2"), Get(b"client/txn"), Delete(b"client/txn3")],
        [Get(b"client/txn")],
        timeout=SOON,
    )
    assert result.succeeded is succeeds
    assert [type(response) for response in result.responses] == (
        [PutResult, RangeResult, DeleteResult] if succeeds else [RangeResult]
    )


def test_a_comparison_with_the_wrong_type_is_refused_at_once(client: EtcdClient) -> None:
    with pytest.raises(TypeError, match="version cannot be compared with b'1'"):
        client.txn([Compare(b"a", "version", "=", b"1")], [], timeout=SOON)


def test_compaction_and_what_it_takes_away(client: EtcdClient) -> None:
    old = client.put(b"client/compact", b"1", timeout=SOON).revision
    new = client.put(b"client/compact", b"2", timeout=SOON).revision
    client.compact(new, timeout=SOON)
    with pytest.raises(Compacted, match="required revision has been compacted"):
        client.range(b"client/compact", timeout=SOON, revision=old)
    with pytest.raises(Compacted):
        client.compact(new, timeout=SOON)
    with pytest.raises(Conflict, match="future revision"):
        client.compact(new + 1_000_000, timeout=SOON)


def test_defragmentation_returns_what_compaction_freed(client: EtcdClient) -> None:
    revision = max(client.put(b"client/defrag", bytes(500_000), timeout=SOON).revision for _ in range(20))
    client.compact(revision, timeout=SOON)
    before = client.status(timeout=SOON)
    client.defragment(timeout=30.0)
    after = client.status(timeout=SOON)
    assert after.db_size < before.db_size
    assert after.db_size - after.db_size_in_use < 1_000_000


def test_there_is_nobody_to_lead_instead(client: EtcdClient) -> None:
    with pytest.raises(Conflict, match="bad leader transferee"):
        client.move_leader(12345, timeout=SOON)


def test_disarming_what_is_not_armed_changes_nothing(client: EtcdClient) -> None:
    assert client.alarms(timeout=SOON) == ()
    client.disarm(client.status(timeout=SOON).member_id, AlarmKind.NOSPACE, timeout=SOON)
    with pytest.raises(ValueError, match="every member"):
        client.disarm(0, AlarmKind.NOSPACE, timeout=SOON)


def test_alarms_are_told_by_the_status_too() -> None:
    from kube_ballast.clients.etcd.convert import status  # noqa: PLC0415 (the only user)

    reply = rpc_pb2.StatusResponse(
        errors=["memberID:15985099378392235387 alarm:NOSPACE ", "memberID:7 alarm:CORRUPT", "etcdserver: no leader"]
    )
    assert status(reply).alarms == (Alarm(15985099378392235387, AlarmKind.NOSPACE), Alarm(7, AlarmKind.CORRUPT))


def test_a_quota_told_by_3_6_is_taken_over_with_its_sign() -> None:
    from kube_ballast.clients.etcd.convert import status  # noqa: PLC0415 (as above)

    assert status(rpc_pb2.StatusResponse(dbSizeQuota=-1)).quota == -1
    assert status(rpc_pb2.StatusResponse()).quota is None


def test_a_closed_client_sends_nothing(etcd: EtcdCluster) -> None:
    with EtcdClient(etcd.endpoints[0]) as client:
        client.status(timeout=SOON)
    with pytest.raises(Unavailable, match="closed"):
        client.put(b"a", b"b", timeout=SOON)


def test_the_method_table_is_the_protos() -> None:
    source = Path(rpc_pb2.__file__).with_name("client.py").read_text()
    methods = {
        f"{service.name}/{method.name}"
        for service in rpc_pb2.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert methods
    assert all(f'{method}"' in source for method in methods)


def test_the_http_side_of_a_healthy_member(etcd: EtcdCluster, client: EtcdClient) -> None:
    for url in (etcd.members[0].metrics_url, etcd.endpoints[0]):
        http = EtcdHttp(url)
        assert http.readyz(timeout=SOON) == Health(ok=True, reason="")
        assert http.health(timeout=SOON).ok
        metrics = http.metrics(timeout=SOON)
        assert (metrics.defrag_inflight, metrics.snapshots_in_flight) == (0, 0)
        quota = client.status(timeout=SOON).quota
        assert metrics.quota_bytes == (2 * 1024**3 if quota is None else quota)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [(b"a", b"b"), (b"/registry/", b"/registry0"), (b"a\xff", b"b"), (b"\xff\xff", b"\0"), (b"", b"\0")],
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    assert prefix_end(prefix) == end
