"""Answers by columns, for whatever etcd may send."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.clients.errors import BadResponse
from kube_ballast.clients.etcd import convert, rpc_pb2

NUMBERS = st.integers(0, 2**63 - 1)
KEY_VALUES = st.builds(
    rpc_pb2.KeyValue,
    key=st.binary(max_size=300),
    value=st.binary(max_size=300) | st.integers(0, 20_000).map(bytes),
    create_revision=NUMBERS,
    mod_revision=NUMBERS,
    version=NUMBERS,
    lease=NUMBERS,
)
HEADERS = st.builds(rpc_pb2.ResponseHeader, member_id=st.integers(0, 2**64 - 1), revision=NUMBERS, raft_term=NUMBERS)


@given(st.lists(KEY_VALUES, max_size=8), HEADERS, HEADERS, st.booleans(), NUMBERS)
def test_columns_say_what_the_message_says(
    kvs: list[rpc_pb2.KeyValue],
    header: rpc_pb2.ResponseHeader,
    other: rpc_pb2.ResponseHeader,
    more: bool,  # noqa: FBT001 - hypothesis passes by position
    count: int,
) -> None:
    answer = rpc_pb2.RangeResponse(header=header, kvs=kvs, more=more, count=count)
    scan = convert.scan("e", answer.SerializeToString(), with_sizes=True)
    assert scan is not None
    assert [*zip(scan.keys, scan.created, scan.modified, scan.versions, strict=True)] == [
        (kv.key, kv.create_revision, kv.mod_revision, kv.version) for kv in kvs
    ]
    assert scan.sizes == tuple(kv.ByteSize() for kv in kvs)
    assert (scan.count, scan.more, scan.revision) == (count, more, header.revision)

    answer.header.CopyFrom(other)
    assert convert.scan("e", answer.SerializeToString(), with_sizes=True, seen=scan.fingerprint) is None
    answer.kvs.add(key=b"another")
    assert convert.scan("e", answer.SerializeToString(), with_sizes=True, seen=scan.fingerprint) is not None


@pytest.mark.parametrize("answer", [b"\x0a", b"\x12\x05abc", b"\x0a\x7f", b"\xff" * 20])
def test_what_is_no_answer_is_said_to_be_none(answer: bytes) -> None:
    with pytest.raises(BadResponse, match=r"e: Range: an answer of \d+ bytes cannot be read"):
        convert.scan("e", answer, with_sizes=True)
