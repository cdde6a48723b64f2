"""As much of HTTP/2 (RFC 9113) and of etcd's messages as a relay needs. Header blocks are passed on unread."""

import asyncio
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ACK: Final = 0x1
PROTOCOL_ERROR, CANCEL = 0x1, 0x8
_HEAD_BYTES: Final = 9
_REGISTRY: Final = re.compile(rb"/registry/([a-z0-9.]+)")
# A gRPC message (5 bytes of prefix) that is a WatchRequest with a create_request (field 1) whose first field is the
# key; a RangeRequest has the key itself in the place of the inner message, a TxnRequest a comparison.
_WATCH: Final = re.compile(rb"\A.{5}\x0a[\x80-\xff]?[\x00-\x7f]\x0a[\x80-\xff]?[\x00-\x7f]/registry/", re.DOTALL)


class Type(IntEnum):
    """The types of frames that are told apart."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    WINDOW_UPDATE = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame; ``type`` may be one that `Type` does not name."""

    type: int
    flags: int
    stream: int
    payload: bytes

    @property
    def raw(self) -> bytes:
        head = len(self.payload).to_bytes(3, "big") + bytes((self.type, self.flags))
        return head + self.stream.to_bytes(4, "big") + self.payload

    @property
    def is_ack(self) -> bool:
        return bool(self.flags & ACK)

    @property
    def resource(self) -> str | None:
        """The resource whose key the frame names, if any."""
        found = _REGISTRY.search(self.payload) if self.type == Type.DATA else None
        return found[1].decode() if found else None

    @property
    def begins_watch(self) -> bool:
        return self.type == Type.DATA and _WATCH.match(self.payload) is not None


async def read(reader: asyncio.StreamReader) -> Frame:
    """The next frame. Raises IncompleteReadError at the end of the connection."""
    head = await reader.readexactly(_HEAD_BYTES)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return Frame(head[3], head[4], int.from_bytes(head[5:], "big") & 0x7FFFFFFF, payload)


def reset(stream: int, code: int) -> Frame:
    """RST_STREAM."""
    return Frame(Type.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def pong(ping: Frame) -> Frame:
    """The answer to a PING."""
    return Frame(Type.PING, ACK, 0, ping.payload)


def window(stream: int, size: int) -> Frame:
    """WINDOW_UPDATE; stream 0 is the whole connection."""
    return Frame(Type.WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))
