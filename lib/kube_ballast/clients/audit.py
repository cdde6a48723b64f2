"""Audit events as an apiserver sends them (EventList) or writes them (a line each), decoded as far as they are counted.

Source: kubernetes, staging/src/k8s.io/apiserver/pkg/apis/audit/v1/types.go. Whatever else an event carries, such as
the object of a request, is skipped without being built.
"""

from typing import Final

import msgspec

from kube_ballast.clients.errors import BadResponse

VERSION: Final = "audit.k8s.io/v1"
MARK: Final = b'"auditID":'
"""Begins each event."""


class User(msgspec.Struct, frozen=True, gc=False):
    """Who asked, as the apiserver authenticated it."""

    username: str = ""


class ObjectRef(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What was asked for; empty strings for what the request did not name."""

    resource: str = ""
    subresource: str = ""
    api_group: str = ""
    namespace: str = ""


class Status(msgspec.Struct, frozen=True, gc=False):
    """The HTTP status code; 0 when there was none."""

    code: int = 0


class Event(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One stage of one request. ``received`` is when the request came, ``at`` when it got here, both RFC 3339."""

    stage: str
    audit_id: str = msgspec.field(name="auditID")
    api_version: str = VERSION
    kind: str = "Event"
    verb: str = ""
    user: User = User()
    user_agent: str = ""
    object_ref: ObjectRef | None = None
    response_status: Status | None = None
    received: str = msgspec.field(name="requestReceivedTimestamp", default="")
    at: str = msgspec.field(name="stageTimestamp", default="")


class _EventList(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    api_version: str
    kind: str
    items: list[Event] | None


class _Kind(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    api_version: str = ""
    kind: str = ""


class WrongVersion(BadResponse):
    """Well-formed, and not what is understood here."""


_list: Final = msgspec.json.Decoder(_EventList)
_event: Final = msgspec.json.Decoder(Event)
_kind: Final = msgspec.json.Decoder(_Kind)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_list(body: bytes, source: str) -> list[Event]:
    """The events of a webhook's body.

    Raises:
        WrongVersion: it is another version or kind.
        BadResponse: it is no JSON, or no EventList; the text names ``source`` and says where.
    """
    try:
        found = _list.decode(body)
    except _UNREADABLE as error:
        raise _unreadable(body, source, "EventList", error) from error
    if (found.api_version, found.kind) != (VERSION, "EventList"):
        raise _wrong(source, found.api_version, found.kind, "EventList")
    return found.items or []


def decode_line(line: bytes, source: str) -> Event:
    """The event of a line of an audit log of format json. Raises as ``decode_list`` does."""
    try:
        event = _event.decode(line)
    except _UNREADABLE as error:
        raise _unreadable(line, source, "Event", error) from error
    if (event.api_version, event.kind) != (VERSION, "Event"):
        raise _wrong(source, event.api_version, event.kind, "Event")
    return event


def events_in(piece: bytes) -> int:
    """How many events begin in a piece of a body that nobody has time to decode: an estimate."""
    return piece.count(MARK)


def _unreadable(content: bytes, source: str, wanted: str, error: Exception) -> BadResponse:
    """Another version may look different altogether: then that is what is said."""
    try:
        found = _kind.decode(content)
    except _UNREADABLE:
        return BadResponse(source, f"no JSON of audit events: {error}")
    if (found.api_version, found.kind) != (VERSION, wanted):
        return _wrong(source, found.api_version, found.kind, wanted)
    return BadResponse(source, f"no {wanted} of {VERSION}: {error}")


def _wrong(source: str, version: str, kind: str, wanted: str) -> WrongVersion:
    told = f"{version[:60]} {kind[:60]}".strip() or "no version"
    return WrongVersion(source, f"it holds {told}; what is understood is {VERSION} {wanted}")
