"""One connection to an apiserver, on which no wait outlasts its limit.

A socket's timeout counts anew with each byte, so a server that trickles could hold a caller for as long as it likes.
Here every single wait gets what is left of the whole.
"""

import http.client
import io
import select
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.clients.http import certificate_refusal
from kube_ballast.clients.kubernetes.access import Access, host_of
from kube_ballast.clients.kubernetes.failures import UNKNOWN, explain, status_of
from kube_ballast.clients.kubernetes.limits import Ended, Limit, Overdue, within

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked; ``resource`` is the path with its query."""

    method: str
    resource: str
    headers: Mapping[str, str]
    body: bytes | None = None

    @property
    def acts(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    @property
    def what(self) -> str:
        return f"{self.method} {self.resource.partition('?')[0]}"


class _Waits(io.RawIOBase):
    """A socket to read from and to write to, with the limit of the request under way."""

    def __init__(self, sock: socket.socket, limit: Limit) -> None:
        self.sock, self.limit = sock, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        while True:
            self.sock.settimeout(self.limit.step())
            with suppress(TimeoutError):
                return self.sock.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb", "http.client reads answers and nothing else"
        return io.BufferedReader(self, _CHUNK_BYTES)

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self.sock.settimeout(self.limit.step())
            with suppress(TimeoutError):
                rest = rest[self.sock.send(rest) :]

    def close(self) -> None:
        """http.client closes its socket while the answer is still read; the line does it when all is over."""


class Line:
    """A connection, made at once, for one request after another."""

    def __init__(self, access: Access, limit: Limit) -> None:
        """Raises Unavailable, Denied or Timeout; in each case nothing was sent."""
        self.access = access
        self._sent = False
        try:
            self._waits = _Waits(_connected(access, limit), limit)
        except Timeout as error:
            error.unsent = True
            raise
        except (OSError, Overdue) as error:
            failure = self._explained(error, Request("connect to", access.url, {}), limit)
            failure.unsent = True
            raise failure from error
        self._connection = http.client.HTTPConnection(*host_of(access.url))
        self._connection.sock = cast("socket.socket", self._waits)
        self._free = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and with it what is being read from it."""
        self._free = False
        with suppress(OSError):
            self._waits.sock.close()

    @property
    def free(self) -> bool:
        """Whether another request may be sent on it: the last answer was read whole, and the server is still there."""
        return self._free and not select.select((self._waits.sock,), (), (), 0)[0]

    def ask(self, request: Request, limit: Limit) -> "Response":
        """Send it and wait for the answer's head.

        Raises:
            Unavailable: the connection broke, and nothing can have been done.
            Timeout: no answer; of what acts it is unknown whether it took effect.
            BadResponse: what came back is no HTTP.
        """
        self._free, self._sent = False, False
        self._waits.limit = limit
        try:
            self._connection.sock = cast("socket.socket", self._waits)
            self._sent = True
            self._connection.request(request.method, request.resource, request.body, dict(request.headers))
            return Response(self, request, self._connection.getresponse())
        except (http.client.HTTPException, OSError, Overdue) as error:
            raise self._explained(error, request, limit) from error

    def read(self, request: Request, response: http.client.HTTPResponse, limit: Limit) -> Iterator[bytes]:
        """The answer's body as it comes; the line is free again at its end. Raises like `ask`."""
        self._waits.limit = limit
        # For a body of known length read1 never says that it broke off; without one it gives what there is, at once.
        take = response.read1 if response.length is None else response.read
        try:
            while piece := take(_CHUNK_BYTES):
                yield piece
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
        except (http.client.HTTPException, OSError, Overdue) as error:
            raise self._explained(error, request, self._waits.limit) from error
        self._free = not response.will_close

    def limit(self, limit: Limit) -> None:
        """From now on this limit holds."""
        self._waits.limit = limit

    def _explained(self, error: Exception, request: Request, limit: Limit) -> ClientError:
        target, what = self.access.url, request.what
        words = str(error) or type(error).__name__
        unknown = UNKNOWN if self._sent and request.acts else ""
        if isinstance(error, Overdue):
            return Timeout(target, f"{what}: no whole answer within {limit.seconds:g} s{unknown}")
        if refusal := certificate_refusal(error, "the apiserver"):
            return Denied(target, f"{what}: {refusal}")
        if unknown:
            return Timeout(target, f"{what}: {words}{unknown}")
        if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected):
            return Unavailable(target, f"{what}: the answer broke off")
        if isinstance(error, OSError):
            return Unavailable(target, f"{what}: {words}")
        return BadResponse(target, f"{what}: the answer cannot be read: {words}")


class Response:
    """An answer whose body may not have come yet."""

    def __init__(self, line: Line, request: Request, response: http.client.HTTPResponse) -> None:
        self._line, self._response = line, response
        self.request, self.target, self.status = request, line.access.url, response.status
        self.succeeded = response.status in range(200, 300)

    def refusal(self, body: bytes) -> ClientError:
        """What an answer that is no success says, in the project's terms."""
        if self.status in range(300, 400):
            where = self.header("Location") or "elsewhere"
            return self._bad(f"{self.status}, a redirect to {where}; an apiserver sends none")
        status = status_of(self.status, body)
        return explain(
            status,
            self.status,
            self.target,
            self.request.what,
            acts=self.request.acts,
            retry_after=self.header("Retry-After"),
        )

    def header(self, name: str) -> str | None:
        return self._response.headers.get(name)

    def pieces(self, limit: Limit) -> Iterator[bytes]:
        """The body as it comes, and packed if it is; a later `extend` gives it more time. Raises like `Line.ask`."""
        return self._line.read(self.request, self._response, limit)

    def extend(self, limit: Limit) -> None:
        """From now on this limit holds for the body."""
        self._line.limit(limit)

    def body(self, limit: Limit, most: int) -> bytes:
        """The whole body, unpacked. Raises BadResponse when it is larger than ``most`` bytes; else see `Line.ask`."""
        packed = (self.header("Content-Encoding") or "").lower() == "gzip"
        unpacker = zlib.decompressobj(_GZIP) if packed else None
        body = bytearray()
        try:
            for piece in self.pieces(limit):
                # One byte more than fits is enough to know.
                body += unpacker.decompress(piece, most + 1 - len(body)) if unpacker else piece
                if len(body) > most:
                    raise self._bad(f"the answer is larger than {most} bytes")
        except zlib.error as error:
            raise self._bad(f"the answer cannot be unpacked: {error}") from error
        if unpacker is not None and not unpacker.eof:
            raise self._bad("the packed answer has no end")
        return bytes(body)

    def _bad(self, words: str) -> BadResponse:
        return BadResponse(self.target, f"{self.request.what}: {words}")


def _connected(access: Access, limit: Limit) -> socket.socket:
    """A connection with its TLS handshake done. Raises OSError, Overdue or Timeout."""
    host, port = host_of(access.url)
    places = within(
        limit, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), access.url, "resolving the name"
    )
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, place in places:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(limit.check())
            sock.connect(place)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock if access.context is None else _secured(sock, access, limit)
        except TimeoutError:
            sock.close()
            raise Overdue from None
        except (ssl.SSLError, Timeout, Overdue, Ended):
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
    raise failure


def _secured(sock: socket.socket, access: Access, limit: Limit) -> ssl.SSLSocket:
    assert access.context is not None
    sock.settimeout(limit.check())
    try:
        return access.context.wrap_socket(sock, server_hostname=access.server_name)
    except TimeoutError:
        words = f"the connection was taken, the TLS handshake has no answer within {limit.seconds:g} s"
        raise Timeout(access.url, words) from None
