"""What an apiserver's refusal means to a caller.

Source: k8s.io/apimachinery, pkg/apis/meta/v1/types.go (Status, StatusReason), and what stands before an apiserver:
load balancers, which answer in HTML.
"""

from typing import Final

import msgspec

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

UNKNOWN: Final = "; it is unknown whether the request took effect, so look before asking again"
_TEXT_CHARACTERS = 400
_NO_SPACE = "mvcc: database space exceeded"


class Details(msgspec.Struct, frozen=True):
    """The part of a Status that says when to come again."""

    retryAfterSeconds: int = 0  # noqa: N815 - the API's name


class Status(msgspec.Struct, frozen=True):
    """`meta/v1.Status`, an apiserver's way to say no."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: Details | None = None


class TooManyRequests(Unavailable):
    """The apiserver turned the request away before it began; come again after ``retry_after`` seconds."""

    def __init__(self, target: str, message: str, retry_after: float) -> None:
        super().__init__(target, message)
        self.retry_after = retry_after


def status_of(code: int, body: bytes) -> Status:
    """The Status in the body; one of that code with the body's beginning when it is none."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status()
    if status.kind == "Status":
        return status
    text = " ".join(body[:_TEXT_CHARACTERS].decode(errors="replace").split())
    return Status(code=code, message=repr(text) if text else "")


def explain(status: Status, code: int, target: str, what: str, *, acts: bool, retry_after: str | None) -> ClientError:
    """The refusal as one of the tree; ``acts`` is whether ``what`` changes anything."""
    said = f"{what}: {code}{f' {status.reason}' if status.reason else ''}: {status.message[:_TEXT_CHARACTERS]}"
    if _NO_SPACE in status.message:
        return NoSpace(target, said)
    if code == 429:  # noqa: PLR2004 - HTTP's numbers are names
        seconds = _seconds(retry_after, status)
        return TooManyRequests(target, f"{said}; come again in {seconds:g} s", seconds)
    if code == 404 and not status.kind:  # noqa: PLR2004 - HTTP's numbers are names
        return BadResponse(target, f"{said}; the apiserver does not serve this path")
    kind = _KINDS.get(code)
    if kind is not None:
        return kind(target, said)
    if code in _MAY_HAVE_BEGUN and acts:
        return Timeout(target, said + UNKNOWN)
    return (Unavailable if code in _NOBODY_HOME else BadResponse)(target, said)


_KINDS: Final[dict[int, type[ClientError]]] = {
    401: Denied,
    403: Denied,
    404: Conflict,
    409: Conflict,
    410: Compacted,
    412: Conflict,
    503: Unavailable,
}
# The apiserver's own fault, an etcd that did not answer in time, a proxy that lost the connection behind it.
_MAY_HAVE_BEGUN: Final = (500, 502, 504)
_NOBODY_HOME: Final = (502, 504)


def _seconds(header: str | None, status: Status) -> float:
    if header is not None and header.isascii() and header.isdigit():
        return float(header)
    return float(status.details.retryAfterSeconds) if status.details else 1.0
