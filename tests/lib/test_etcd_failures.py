"""What each of etcd's refusals means to a caller: nothing was done, or nobody knows."""

import grpc
import pytest

from kube_ballast.clients.errors import (
    BadResponse,
    ClientError,
    Compacted,
    Conflict,
    Denied,
    NoSpace,
    Timeout,
    Unavailable,
)
from kube_ballast.clients.etcd.client import EtcdClient
from tests.lib.fakes import FakeMember

Code = grpc.StatusCode
SOON = 5.0


@pytest.mark.parametrize(
    ("code", "details", "of_a_write", "of_a_read"),
    [
        (Code.UNAVAILABLE, "etcdserver: no leader", Unavailable, Unavailable),
        (Code.UNAVAILABLE, "etcdserver: leader changed", Timeout, Timeout),
        (Code.UNAVAILABLE, "etcdserver: request timed out", Timeout, Timeout),
        (Code.UNAVAILABLE, "etcdserver: request timed out, possibly due to connection lost", Timeout, Timeout),
        (Code.UNAVAILABLE, "etcdserver: server stopped", Timeout, Unavailable),
        (Code.UNAVAILABLE, "etcdserver: rpc not supported for learner", Conflict, Conflict),
        (Code.UNAVAILABLE, "etcdserver: not capable", Conflict, Conflict),
        (Code.UNAVAILABLE, "etcdserver: unhealthy cluster", Conflict, Conflict),
        (Code.UNAVAILABLE, "Socket closed", Timeout, Unavailable),
        (Code.UNAVAILABLE, "a word that nobody foresaw", Timeout, Unavailable),
        (Code.CANCELLED, "Channel closed!", Timeout, Unavailable),
        (Code.CANCELLED, "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))", Timeout, Timeout),
        (Code.INTERNAL, "Received RST_STREAM with error code 2", Timeout, Unavailable),
        (Code.DEADLINE_EXCEEDED, "context deadline exceeded", Timeout, Timeout),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", NoSpace, NoSpace),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Unavailable, Unavailable),
        (Code.RESOURCE_EXHAUSTED, "grpc: received message larger than max (3 vs. 2)", BadResponse, BadResponse),
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted", Compacted, Compacted),
        (Code.OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision", Conflict, Conflict),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", Denied, Denied),
        (Code.UNKNOWN, "auth: invalid auth token", Denied, Denied),
        (Code.UNKNOWN, "auth: permission denied", Denied, Denied),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Denied, Denied),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", Denied, Denied),
        (Code.FAILED_PRECONDITION, "etcdserver: bad leader transferee", Conflict, Conflict),
        (Code.NOT_FOUND, "etcdserver: member not found", Conflict, Conflict),
        (Code.DATA_LOSS, "etcdserver: corrupt cluster", BadResponse, BadResponse),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", BadResponse, BadResponse),
        (Code.UNKNOWN, "defrag failed: no space left on device", BadResponse, BadResponse),
    ],
)
def test_what_a_refusal_means(
    code: Code, details: str, of_a_write: type[ClientError], of_a_read: type[ClientError]
) -> None:
    with FakeMember(code, details) as member, EtcdClient(member.endpoint) as client:
        with pytest.raises(ClientError) as write:
            client.put(b"a", b"b", timeout=SOON)
        with pytest.raises(ClientError) as read:
            client.range(b"a", timeout=SOON)
    assert type(write.value) is of_a_write
    assert type(read.value) is of_a_read
    said = details.removeprefix("etcdserver: ").removeprefix("auth: ")
    for caught in (write, read):
        assert caught.value.target == member.endpoint
        assert said in str(caught.value) or type(caught.value) is Timeout
    if of_a_write is Timeout:
        assert "it is unknown whether the request took effect" in str(write.value)
    assert member.calls == ["Put", "Range"]
