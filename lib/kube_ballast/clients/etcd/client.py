"""A thin client of one etcd member: one method a call, each with its deadline, nothing retried.

The only thing asked twice is a request that etcd turned away because its token had expired; that one was not begun.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

import grpc
from google.protobuf.message import Message

from kube_ballast.clients import credentials
from kube_ballast.clients.errors import ClientError, Timeout, Unavailable
from kube_ballast.clients.etcd import convert, failures, rpc_pb2, snapshot
from kube_ballast.clients.etcd.channel import Channel
from kube_ballast.clients.etcd.types import (
    Alarm,
    AlarmKind,
    Compare,
    DeleteResult,
    Member,
    Operation,
    PutResult,
    RangeResult,
    Scan,
    Snapshot,
    Status,
    TxnResult,
)
from kube_ballast.config import BasicAuth, TLSFiles

ResponseT = TypeVar("ResponseT", bound=Message)
ResultT = TypeVar("ResultT")
AnswerT_co = TypeVar("AnswerT_co", covariant=True)
Metadata = tuple[tuple[str, str], ...]


class _Method(Protocol[AnswerT_co]):
    """A gRPC method bound to a channel."""

    def __call__(self, request: Message, *, timeout: float, metadata: Metadata) -> AnswerT_co: ...


class EtcdClient:
    """Speaks to the member at ``endpoint`` (``http(s)://HOST:PORT``) alone. Thread safe; one connection.

    Every call takes ``timeout`` in seconds for all of it, authentication included, and raises ``ClientError``s only.
    A ``Timeout`` of a call that changes something leaves its outcome unknown. Certificate and password files are
    read again when they change.
    """

    def __init__(self, endpoint: str, *, tls: TLSFiles | None = None, auth: BasicAuth | None = None) -> None:
        self.endpoint = endpoint
        self._channel = Channel(endpoint, tls)
        self._auth = auth
        self._token = ""
        self._token_lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; calls under way on it fail."""
        self._channel.close()

    def status(self, *, timeout: float) -> Status:
        """The member's own view; it asks no other member, and a new token is fetched only if etcd insists on one.

        3.6 does not answer while the member defragments.
        """
        request = rpc_pb2.StatusRequest()
        reply = self._unary("Maintenance/Status", request, rpc_pb2.StatusResponse, timeout, eager_token=False)
        return convert.status(reply)

    def member_list(self, *, timeout: float, linearizable: bool = True) -> tuple[Member, ...]:
        """The cluster's members; ``linearizable`` False gives this member's perhaps old view, without a quorum."""
        request = rpc_pb2.MemberListRequest(linearizable=linearizable)
        reply = self._unary("Cluster/MemberList", request, rpc_pb2.MemberListResponse, timeout)
        return tuple(convert.member(member) for member in reply.members)

    def alarms(self, *, timeout: float) -> tuple[Alarm, ...]:
        """Every armed alarm, answered through raft: it needs a quorum (``Status.alarms`` does not)."""
        request = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.GET)
        reply = self._unary("Maintenance/Alarm", request, rpc_pb2.AlarmResponse, timeout)
        return tuple(convert.alarm(self.endpoint, item) for item in reply.alarms)

    def disarm(self, member_id: int, kind: AlarmKind, *, timeout: float) -> None:
        """Lifts this alarm of this member and no other; nothing happens when it is not armed.

        On 3.5, lifting the last NOSPACE lets writes through even while CORRUPT is armed: list the alarms first.
        """
        if member_id == 0:
            raise ValueError("member 0 means every member to etcd; disarm one member at a time")
        request = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.DEACTIVATE, memberID=member_id, alarm=kind.value)
        self._unary("Maintenance/Alarm", request, rpc_pb2.AlarmResponse, timeout, acts=True)

    def range(
        self,
        start: bytes,
        end: bytes | None = None,
        *,
        timeout: float,
        revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult:
        r"""The key ``start``, or every key in ``[start, end)``; ``end`` ``\0`` is "to the last" (see ``prefix_end``).

        ``revision`` 0 is now, ``limit`` 0 is none. ``keys_only`` still costs etcd the reading of the values;
        ``count_only`` costs the index alone. Raises Compacted when ``revision`` is compacted away.
        """
        request = rpc_pb2.RangeRequest(
            key=start,
            range_end=end or b"",
            revision=revision,
            limit=limit,
            keys_only=keys_only,
            count_only=count_only,
            serializable=serializable,
        )
        return convert.range_result(self._unary("KV/Range", request, rpc_pb2.RangeResponse, timeout))

    def scan(
        self,
        start: bytes,
        end: bytes,
        *,
        timeout: float,
        revision: int = 0,
        limit: int = 0,
        sizes: bool = True,
        serializable: bool = True,
        seen: int | None = None,
    ) -> Scan | None:
        """Whose keys stand in ``[start, end)``, and how large they are: ``range`` for very many of them.

        Values are sent only for ``sizes``; nobody keeps them. None when the answer is what it was when its fingerprint
        was ``seen``. Raises Compacted and Conflict as ``range`` does, and BadResponse when the answer is larger than
        256 MiB: ask with a smaller ``limit`` then.
        """
        request = rpc_pb2.RangeRequest(
            key=start,
            range_end=end,
            revision=revision,
            limit=limit,
            keys_only=not sizes,
            serializable=serializable,
        )

        def ask(channel: grpc.Channel, metadata: Metadata, seconds: float) -> bytes:
            bound: _Method[bytes] = channel.unary_unary(
                "/etcdserverpb.KV/Range", request_serializer=rpc_pb2.RangeRequest.SerializeToString
            )
            return bound(request, timeout=seconds, metadata=metadata)

        answer = self._attempt("Range", ask, timeout, acts=False, eager_token=True)
        return convert.scan(self.endpoint, answer, with_sizes=sizes, seen=seen)

    def stored_sizes(self, keys: Sequence[bytes], *, timeout: float, revision: int = 0) -> tuple[int | None, ...]:
        """The bytes that etcd stores for each key, as ``scan`` tells them; None for one that does not exist.

        One transaction that reads and does not go through raft: etcd takes 128 keys at most, unless it is told to take
        more. Raises Compacted when ``revision`` is compacted away.
        """
        reads = [
            rpc_pb2.RequestOp(request_range=rpc_pb2.RangeRequest(key=key, revision=revision, serializable=True))
            for key in keys
        ]
        reply = self._unary("KV/Txn", rpc_pb2.TxnRequest(success=reads), rpc_pb2.TxnResponse, timeout)
        found = (answer.response_range.kvs for answer in reply.responses)
        return tuple(kvs[0].ByteSize() if kvs else None for kvs in found)

    def put(self, key: bytes, value: bytes, *, timeout: float, lease: int = 0) -> PutResult:
        """Writes one key. Raises NoSpace while the alarm NOSPACE is armed."""
        request = rpc_pb2.PutRequest(key=key, value=value, lease=lease)
        return PutResult(self._unary("KV/Put", request, rpc_pb2.PutResponse, timeout, acts=True).header.revision)

    def delete_range(self, start: bytes, end: bytes | None = None, *, timeout: float) -> DeleteResult:
        """Deletes the key ``start``, or every key in ``[start, end)``. Works while NOSPACE is armed."""
        request = rpc_pb2.DeleteRangeRequest(key=start, range_end=end or b"")
        reply = self._unary("KV/DeleteRange", request, rpc_pb2.DeleteRangeResponse, timeout, acts=True)
        return DeleteResult(reply.deleted, reply.header.revision)

    def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
        *,
        timeout: float,
    ) -> TxnResult:
        """Runs ``success`` when every comparison holds and ``failure`` otherwise, all or nothing."""
        request = convert.txn_request(compare, success, failure)
        return convert.txn_result(self._unary("KV/Txn", request, rpc_pb2.TxnResponse, timeout, acts=True))

    def compact(self, revision: int, *, timeout: float, physical: bool = True) -> None:
        """Forgets what was superseded before ``revision``; works while NOSPACE is armed.

        ``physical`` waits until *this* member has freed it in its database, and its ``db_size_in_use`` is right then.
        The others are still at it, and tell a smaller ``db_size_in_use`` only with their next write: where nobody
        writes, as under NOSPACE, theirs stays what it was (measured on 3.5.30).
        Raises Compacted when that was done before, Conflict when ``revision`` is yet to come.
        """
        request = rpc_pb2.CompactionRequest(revision=revision, physical=physical)
        self._unary("KV/Compact", request, rpc_pb2.CompactionResponse, timeout, acts=True)

    def defragment(self, *, timeout: float) -> None:
        """Rewrites this member's database file; the member stands still meanwhile.

        The server goes on after a Timeout: wait until ``EtcdHttp.metrics().defrag_inflight`` is 0 and look again.
        """
        request = rpc_pb2.DefragmentRequest()
        self._unary("Maintenance/Defragment", request, rpc_pb2.DefragmentResponse, timeout, acts=True)

    def move_leader(self, target_id: int, *, timeout: float) -> None:
        """Hands leadership to the voter ``target_id``.

        Raises Conflict when this member does not lead, or when that is no voting member.
        """
        request = rpc_pb2.MoveLeaderRequest(targetID=target_id)
        self._unary("Maintenance/MoveLeader", request, rpc_pb2.MoveLeaderResponse, timeout, acts=True)

    def snapshot(self, path: Path, *, timeout: float) -> Snapshot:
        """Writes a verified copy of this member's database to ``path`` (mode 0600); nothing stays behind on failure.

        It holds every Secret of the cluster. Raises LocalDisk when it cannot be stored, BadResponse when its checksum
        is wrong.
        """

        def receive(channel: grpc.Channel, metadata: Metadata, seconds: float) -> Snapshot:
            request = rpc_pb2.SnapshotRequest()
            call = channel.unary_stream(
                "/etcdserverpb.Maintenance/Snapshot",
                request_serializer=rpc_pb2.SnapshotRequest.SerializeToString,
                response_deserializer=rpc_pb2.SnapshotResponse.FromString,
            )(request, timeout=seconds, metadata=metadata)
            try:
                return snapshot.store(self.endpoint, _blobs(call), path)
            finally:
                # A stream that nobody reads any more would hold up the member's next defragmentation.
                call.cancel()

        return self._attempt("Snapshot", receive, timeout, acts=False, eager_token=True)

    def _unary(
        self,
        method: str,
        request: Message,
        response: type[ResponseT],
        timeout: float,
        *,
        acts: bool = False,
        eager_token: bool = True,
    ) -> ResponseT:
        def ask(channel: grpc.Channel, metadata: Metadata, seconds: float) -> ResponseT:
            bound: _Method[ResponseT] = channel.unary_unary(
                f"/etcdserverpb.{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=response.FromString,
            )
            return bound(request, timeout=seconds, metadata=metadata)

        return self._attempt(method.partition("/")[2], ask, timeout, acts=acts, eager_token=eager_token)

    def _attempt(
        self,
        name: str,
        ask: Callable[[grpc.Channel, Metadata, float], ResultT],
        timeout: float,
        *,
        acts: bool,
        eager_token: bool,
    ) -> ResultT:
        """``ask`` with a token, and once more with a new one when etcd did not accept the first."""
        ends = time.monotonic() + timeout
        with self._channel.use() as channel:
            token = self._token
            if self._auth is not None and eager_token and not token:
                token = self._authenticate(channel, "", ends)
            try:
                try:
                    return ask(channel, _metadata(token), _left(self.endpoint, name, ends))
                except grpc.RpcError as error:
                    if self._auth is None or not failures.wants_new_token(error):
                        raise
                token = self._authenticate(channel, token, ends)
                return ask(channel, _metadata(token), _left(self.endpoint, name, ends))
            except grpc.RpcError as error:
                raise self._explained(error, name, acts=acts) from error
            except ValueError as error:
                raise Unavailable(self.endpoint, f"{name}: nothing was sent: {error}") from error

    def _authenticate(self, channel: grpc.Channel, stale: str, ends: float) -> str:
        """A token other than ``stale``; empty when etcd runs without authentication. One thread fetches it for all."""
        assert self._auth is not None
        if not self._token_lock.acquire(timeout=_left(self.endpoint, "Authenticate", ends)):
            raise Timeout(self.endpoint, "Authenticate: no token within the deadline; nothing else was sent")
        try:
            if self._token == stale:
                self._token = self._new_token(channel, self._auth, ends)
            return self._token
        finally:
            self._token_lock.release()

    def _new_token(self, channel: grpc.Channel, auth: BasicAuth, ends: float) -> str:
        password = credentials.read_secret(self.endpoint, auth.password_file)
        bound: _Method[rpc_pb2.AuthenticateResponse] = channel.unary_unary(
            "/etcdserverpb.Auth/Authenticate",
            request_serializer=rpc_pb2.AuthenticateRequest.SerializeToString,
            response_deserializer=rpc_pb2.AuthenticateResponse.FromString,
        )
        request = rpc_pb2.AuthenticateRequest(name=auth.username, password=password)
        try:
            return bound(request, timeout=_left(self.endpoint, "Authenticate", ends), metadata=()).token
        except grpc.RpcError as error:
            if "authentication is not enabled" in failures.status_of(error)[1]:
                return ""
            raise self._explained(error, "Authenticate", acts=False) from error

    def _explained(self, error: grpc.RpcError, name: str, *, acts: bool) -> ClientError:
        lacks = self._channel.secure and not self._channel.shows_certificate
        return failures.explain(error, self.endpoint, name, acts=acts, lacks_certificate=lacks)


def _blobs(call: Iterator[rpc_pb2.SnapshotResponse]) -> Iterator[bytes]:
    return (reply.blob for reply in call)


def _metadata(token: str) -> Metadata:
    return (("token", token),) if token else ()


def _left(endpoint: str, name: str, ends: float) -> float:
    """Seconds until ``ends``. Raises Timeout when none are left."""
    left = ends - time.monotonic()
    if left <= 0:
        raise Timeout(endpoint, f"{name}: the deadline passed before it was sent; nothing was done")
    return left
