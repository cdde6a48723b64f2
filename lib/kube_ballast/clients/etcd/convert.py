"""Between etcd's messages and ``types``."""

from collections.abc import Iterator, Sequence

from google.protobuf.message import DecodeError

from kube_ballast.clients.errors import BadResponse
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.types import (
    Alarm,
    AlarmKind,
    Compare,
    DeleteResult,
    Get,
    KeyValue,
    Member,
    Operation,
    Put,
    PutResult,
    RangeResult,
    Scan,
    Status,
    TxnResult,
)

_OPERATORS = {"=": "EQUAL", "!=": "NOT_EQUAL", "<": "LESS", ">": "GREATER"}


def status(reply: rpc_pb2.StatusResponse) -> Status:
    """A Status reply; a quota that an older server does not tell is None."""
    return Status(
        member_id=reply.header.member_id,
        cluster_id=reply.header.cluster_id,
        version=reply.version,
        db_size=reply.dbSize,
        db_size_in_use=reply.dbSizeInUse,
        quota=reply.dbSizeQuota if reply.HasField("dbSizeQuota") else None,
        leader_id=reply.leader,
        raft_term=reply.raftTerm,
        raft_index=reply.raftIndex,
        raft_applied_index=reply.raftAppliedIndex,
        revision=reply.header.revision,
        is_learner=reply.isLearner,
        errors=tuple(reply.errors),
    )


def member(message: rpc_pb2.Member) -> Member:
    """One entry of a member list."""
    return Member(message.ID, message.name, tuple(message.peerURLs), tuple(message.clientURLs), message.isLearner)


def alarm(endpoint: str, message: rpc_pb2.AlarmMember) -> Alarm:
    """One armed alarm. Raises BadResponse for a kind that this version does not know: it must not be overlooked."""
    names = rpc_pb2.AlarmType.keys()
    name = names[message.alarm] if 0 <= message.alarm < len(names) else str(message.alarm)
    try:
        return Alarm(message.memberID, AlarmKind(name))
    except ValueError as error:
        raise BadResponse(endpoint, f"Alarm: member {message.memberID:x} raised an unknown alarm {name}") from error


def range_result(reply: rpc_pb2.RangeResponse) -> RangeResult:
    """The keys of a range and the revision of the answer."""
    kvs = tuple(
        KeyValue(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.version, kv.lease) for kv in reply.kvs
    )
    return RangeResult(kvs, reply.count, reply.more, reply.header.revision)


def scan(endpoint: str, answer: bytes, *, with_sizes: bool, seen: int | None = None) -> Scan | None:
    """A range by columns, at about 0.5 us a key where an object each would take two; None when it was ``seen`` before.

    A value is copied once, by the decoder, and never becomes an object of ours.

    Raises BadResponse when ``answer`` is no RangeResponse.
    """
    body = memoryview(answer)[_header_bytes(answer) :]
    fingerprint = hash(body)
    if fingerprint == seen:
        return None
    try:
        reply = rpc_pb2.RangeResponse.FromString(answer)
        sizes = tuple(_stored_bytes(body, len(reply.kvs))) if with_sizes else None
    except (DecodeError, IndexError) as error:
        raise BadResponse(endpoint, f"Range: an answer of {len(answer)} bytes cannot be read: {error}") from error
    rows = [(kv.key, kv.create_revision, kv.mod_revision, kv.version) for kv in reply.kvs]
    keys, created, modified, versions = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Scan(
        keys,
        created,
        modified,
        versions,
        sizes=sizes,
        count=reply.count,
        more=reply.more,
        revision=reply.header.revision,
        fingerprint=fingerprint,
    )


_HEADER_TAG, _KVS_TAG = b"\x0a\x12"
_MORE_BYTES_FOLLOW = 0x80


def _header_bytes(answer: bytes) -> int:
    """How many bytes of a RangeResponse its header takes, which stands first and is shorter than 128 bytes."""
    has_one = len(answer) > 1 and answer[0] == _HEADER_TAG and answer[1] < _MORE_BYTES_FOLLOW
    return 2 + answer[1] if has_one else 0


def _stored_bytes(body: memoryview, records: int) -> Iterator[int]:
    """How long each KeyValue is on the wire, which is how etcd stores it: read from the lengths between them."""
    position = 0
    for _ in range(records):
        if body[position] != _KVS_TAG:
            raise DecodeError("a RangeResponse whose keys do not stand one after the other")
        length = shift = 0
        while (byte := body[position := position + 1]) >= _MORE_BYTES_FOLLOW:
            length |= (byte & 0x7F) << shift
            shift += 7
        length |= byte << shift
        position += 1 + length
        yield length


def txn_request(
    compare: Sequence[Compare], success: Sequence[Operation], failure: Sequence[Operation]
) -> rpc_pb2.TxnRequest:
    """A transaction as etcd wants it."""
    return rpc_pb2.TxnRequest(
        compare=[_compare(item) for item in compare],
        success=[_operation(item) for item in success],
        failure=[_operation(item) for item in failure],
    )


def txn_result(reply: rpc_pb2.TxnResponse) -> TxnResult:
    """What the branch that ran answered."""
    return TxnResult(
        reply.succeeded,
        tuple(_response(item, reply.header.revision) for item in reply.responses),
        reply.header.revision,
    )


def _compare(item: Compare) -> rpc_pb2.Compare:
    message = rpc_pb2.Compare(key=item.key, result=_OPERATORS[item.operator])
    match item.field, item.operand:
        case "value", bytes(value):
            message.target, message.value = rpc_pb2.Compare.VALUE, value
        case "version", int(number):
            message.target, message.version = rpc_pb2.Compare.VERSION, number
        case "create_revision", int(number):
            message.target, message.create_revision = rpc_pb2.Compare.CREATE, number
        case "mod_revision", int(number):
            message.target, message.mod_revision = rpc_pb2.Compare.MOD, number
        case field, operand:
            raise TypeError(f"{field} cannot be compared with {operand!r}: value takes bytes, the others an int")
    return message


def _operation(item: Operation) -> rpc_pb2.RequestOp:
    match item:
        case Get(key, end):
            return rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key, range_end=end or b""))
        case Put(key, value, lease):
            return rpc_pb2.RequestOp(request_put=rpc_pb2.PutRequest(key=key, value=value, lease=lease))
        case _:
            request = rpc_pb2.DeleteRangeRequest(key=item.key, range_end=item.end or b"")
            return rpc_pb2.RequestOp(request_delete_range=request)


def _response(item: rpc_pb2.ResponseOp, revision: int) -> RangeResult | PutResult | DeleteResult:
    match item.WhichOneof("response"):
        case "response_range":
            return range_result(item.response_range)
        case "response_put":
            return PutResult(revision)
        case _:
            return DeleteResult(item.response_delete_range.deleted, revision)
