"""What a failed gRPC call to etcd means to a caller.

etcd gives a status code *and* a text, and only both together tell whether the request was begun: UNAVAILABLE stands
for a refused connection (nothing was done), for a leader lost while the proposal was under way (nobody knows), and for
a request that a learner never serves (asking again is useless).
Source: etcd's api/v3rpc/rpctypes/error.go, 3.5 and 3.6.
"""

from typing import cast

import grpc

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

_OUTCOME_UNKNOWN = "it is unknown whether the request took effect, so look before asking again"

# What ends a TLS handshake for good, in gRPC's words; TLS 1.3 servers refuse a certificate only after the handshake,
# which gRPC sees as a connection that cannot be decrypted.
_TLS: tuple[tuple[str, str], ...] = (
    ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not accepted: check tls.ca"),
    ("Hostname Verification Check failed", "the server's certificate names another host: check tls.server_name"),
    (
        "Failed to create security handshaker",
        "the certificate files cannot be used: check tls.ca, tls.cert and tls.key",
    ),
    ("TSI_DATA_CORRUPTED", "etcd does not accept this client's certificate: check tls.cert"),
)
_NO_CERTIFICATE = (
    "; no client certificate is configured (tls.cert): when etcd asks for one it closes the connection in just this way"
)

# gRPC's own words for "there is no connection". Whatever is not listed may have been sent.
_NEVER_SENT = ("failed to connect to all addresses", "errors resolving", "DNS resolution failed", "empty address list")

# etcd's words, behind one of these. What the maintenance service finds wrong with a token arrives as UNKNOWN with the
# text of another layer. The first match counts.
_SPEAKERS = ("etcdserver: ", "auth: ")
_SAID_BY_ETCD: tuple[tuple[str, type[ClientError], str], ...] = (
    ("mvcc: database space exceeded", NoSpace, ""),
    ("mvcc: required revision has been compacted", Compacted, ""),
    ("mvcc: required revision is a future revision", Conflict, ""),
    ("request timed out", Timeout, _OUTCOME_UNKNOWN),
    ("leader changed", Timeout, _OUTCOME_UNKNOWN),
    ("too many requests", Unavailable, "etcd turned the request away: it applies more slowly than it is asked"),
    ("no leader", Unavailable, "etcd turned the request away"),
    ("rpc not supported for learner", Conflict, "this member is a learner"),
    ("not capable", Conflict, "the cluster's version does not offer this"),
    ("unhealthy cluster", Conflict, "etcd turned the request away"),
    ("authentication failed", Denied, "check the user and the password file"),
    ("user name is empty", Denied, "etcd asks for a user: configure auth"),
    ("invalid auth token", Denied, ""),
    ("revision of auth store is old", Denied, ""),
    ("revision in header is old", Denied, ""),
    ("permission denied", Denied, "the user's roles do not cover this request"),
    ("corrupt cluster", BadResponse, "the alarm CORRUPT is armed; etcd serves nothing until a person has looked"),
)

_BAD_TOKEN = ("invalid auth token", "revision of auth store is old", "revision in header is old", "user name is empty")

_BY_CODE: dict[grpc.StatusCode, type[ClientError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: Timeout,
    grpc.StatusCode.UNAUTHENTICATED: Denied,
    grpc.StatusCode.PERMISSION_DENIED: Denied,
    grpc.StatusCode.FAILED_PRECONDITION: Conflict,
    grpc.StatusCode.NOT_FOUND: Conflict,
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
}

_RESET = "RST_STREAM"

# The stream ended without a status of etcd's: what had been sent may have been carried out.
_BROKEN = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL}


def explain(error: grpc.RpcError, endpoint: str, call: str, *, acts: bool, lacks_certificate: bool) -> ClientError:
    """``error`` of ``call`` (such as "Defragment") to ``endpoint`` as one of the tree.

    ``acts`` is whether the call changes anything; ``lacks_certificate`` whether TLS is spoken without one's own.
    """
    code, details = status_of(error)
    said = _said(details)
    if said is not None:
        for words, kind, advice in _SAID_BY_ETCD:
            if said.startswith(words):
                suffix = f"; {advice}" if advice and (acts or advice is not _OUTCOME_UNKNOWN) else ""
                return kind(endpoint, f"{call}: {said}{suffix}")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or (code is grpc.StatusCode.CANCELLED and _RESET in details):
        # etcd knows the deadline too, and resets the stream when its own clock says so first.
        suffix = f"; {_OUTCOME_UNKNOWN}" if acts else ""
        return Timeout(endpoint, f"{call}: no answer within the deadline, ours or etcd's own{suffix}")
    if code in _BROKEN:
        hint = _NO_CERTIFICATE if lacks_certificate and code is grpc.StatusCode.UNAVAILABLE else ""
        return _broken(endpoint, f"{call}: {details or code.name}", hint, acts=acts)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        return BadResponse(endpoint, f"{call}: {details}; split it into smaller calls")
    return _BY_CODE.get(code, BadResponse)(endpoint, f"{call}: {details} ({code.name})")


def status_of(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """The code and the text of a failed call."""
    call = cast("grpc.Call", error)  # whatever a channel raises is the failed call itself
    return call.code(), call.details() or ""


def wants_new_token(error: grpc.RpcError) -> bool:
    """Whether etcd turned the request away for its token alone; a fresh one makes it good."""
    said = _said(status_of(error)[1])
    return said is not None and said.startswith(_BAD_TOKEN)


def _said(details: str) -> str | None:
    """etcd's own words, None when they are somebody else's."""
    return next((details.removeprefix(speaker) for speaker in _SPEAKERS if details.startswith(speaker)), None)


def _broken(endpoint: str, what: str, hint: str, *, acts: bool) -> ClientError:
    if any(words in what for words in _NEVER_SENT):
        for words, reason in _TLS:
            if words in what:
                return Denied(endpoint, f"{reason}; nothing was sent ({what}){hint}")
        return Unavailable(endpoint, f"{what}; nothing was sent{hint}")
    if acts:
        return Timeout(endpoint, f"{what}; the connection broke: {_OUTCOME_UNKNOWN}{hint}")
    return Unavailable(endpoint, f"{what}{hint}")
