"""Takes audit events from apiservers: a webhook backend that answers before anything is decoded.

Bodies wait in a bounded queue for the one thread that decodes them. When it is full, further bodies are read, counted
and thrown away, and the apiserver is told that all is well: whatever else it were told, it would keep them, come again
and be slower for it. What is refused is refused for good: bad credentials (401), more than ``BODY_BYTES`` (413), packed
bodies (415: apiservers send none, so there is nothing to unpack and no bomb), a body without its length (411).

Each connection has a thread, of which there are ``CONNECTIONS`` at most; an apiserver opens one, or a few when it is
busy. Handshake and body have a time limit each; between requests a connection is kept for ``IDLE_SECONDS``.
"""

import contextlib
import hmac
import queue
import socket
import socketserver
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Final

from kube_ballast import __version__
from kube_ballast.clients.audit import MARK, events_in

BODY_BYTES: Final = 16 * 2**20
"""Upstream's --audit-webhook-truncate-max-batch-size is 10 MiB."""
QUEUE_BYTES: Final = 32 * 2**20
CONNECTIONS: Final = 64
HANDSHAKE_SECONDS: Final = 5.0
BODY_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 120.0
"""Longer than an apiserver keeps a connection that it does not use (90 s), or one would close what the other uses."""
_PIECE: Final = 64 * 1024


class Shed:
    """Counts what was not counted, by reason. Thread safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(REASONS, 0))

    def count(self, reason: str, events: int = 1) -> None:
        """Events that are lost; a body whose events cannot be told counts as one."""
        with self._lock:
            self._counts[reason] += max(1, events)

    def totals(self) -> dict[str, int]:
        """Events by reason, from the start."""
        with self._lock:
            return dict(self._counts)


REASONS: Final = {
    "overload": "more came than could be decoded in time",
    "credential": "a sender shows no certificate or token that is known here",
    "too_large": f"a body is larger than {BODY_BYTES} bytes",
    "encoding": "a sender packs its bodies, which apiservers do not",
    "incomplete": "a body broke off, or came without its length",
    "malformed": "what came is no list of audit events; the log has its words",
    "version": "what came is of another version than audit.k8s.io/v1; the log names it",
}
"""Why events are lost, in a word and in words."""


class Bodies:
    """Bodies on their way from connections to the decoder, ``limit`` bytes at most, those being read included."""

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self._left = limit
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def reserve(self, size: int) -> bool:
        """Whether there is room for a body of that size, which then is kept for it."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def release(self, size: int) -> None:
        """The room is free again."""
        with self._lock:
            self._left += size

    def put(self, body: bytes) -> None:
        """A body for which there is room."""
        self._queue.put(body)

    def get(self, timeout: float) -> bytes | None:
        """The next body, or None when none came within ``timeout`` seconds. Its room has to be released."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            return None


def tls_context(cert: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """For the server's side; with ``client_ca`` clients have to show a certificate that it signed. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class AuditSink(socketserver.ThreadingTCPServer):
    """Listens from the start; ``serving`` answers.

    ``token`` gives the bearer token, None where none is wanted; an empty one fits nobody.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        bodies: Bodies,
        shed: Shed,
        token: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Raises OSError when the address cannot be had."""
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self._tls = tls
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self.bodies = bodies
        self.shed = shed
        self.token = token
        super().__init__(address, _Handler)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Answers until the end of the block, and then listens no more."""
        thread = threading.Thread(target=self.serve_forever, name="audit-sink", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            thread.join()
            self.server_close()

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002 -- socketserver's
        """Whether there is a place for one connection more; without one it is closed at once."""
        return self._places.acquire(blocking=False)

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        """The life of a connection, in its thread."""
        try:
            request.settimeout(HANDSHAKE_SECONDS)
            with self._tls.wrap_socket(request, server_side=True) as line:
                line.settimeout(IDLE_SECONDS)
                self.finish_request(line, client_address)
        except ssl.SSLError as error:
            if "CERTIFICATE" in str(error).upper():
                self.shed.count("credential")
        except OSError:
            pass  # it went away; what it began to send has been counted
        finally:
            self._places.release()
            self.shutdown_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"ballast-exporter/{__version__}"
    sys_version = ""
    server: AuditSink

    def do_POST(self) -> None:
        shed = self.server.shed
        size = self.headers.get("Content-Length", "")
        if not self._admitted():
            shed.count("credential")
            self._refuse(HTTPStatus.UNAUTHORIZED, "the bearer token of this audit sink is needed")
        elif self.headers.get("Content-Encoding", "identity") != "identity":
            shed.count("encoding")
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "packed bodies are not taken")
        elif not (size.isascii() and size.isdigit()):
            shed.count("incomplete")
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "a Content-Length is needed")
        elif len(size) > len(str(BODY_BYTES)) or int(size) > BODY_BYTES:
            shed.count("too_large")
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {BODY_BYTES} bytes")
        else:
            self._take(int(size))

    def _admitted(self) -> bool:
        token = self.server.token()
        given = self.headers.get("Authorization", "")
        if token is None:
            return True
        return bool(token) and hmac.compare_digest(given.encode(), f"Bearer {token}".encode())

    def _take(self, size: int) -> None:
        bodies, shed = self.server.bodies, self.server.shed
        room = bodies.reserve(size)
        pieces: list[bytes] = []
        events, tail = 0, b""
        try:
            for piece in self._pieces(size):
                if room:
                    pieces.append(piece)
                else:
                    events += events_in(tail + piece)
                    tail = piece[-len(MARK) + 1 :]
        except (OSError, EOFError):
            if room:
                bodies.release(size)
            shed.count("incomplete")
            self.close_connection = True
            return
        if room:
            bodies.put(b"".join(pieces))
        else:
            shed.count("overload", events)
        self._answer(HTTPStatus.OK, b"")

    def _pieces(self, size: int) -> Iterator[bytes]:
        """The body. Raises EOFError when it ends too early, TimeoutError when it takes too long."""
        end = time.monotonic() + BODY_SECONDS
        while size:
            self.connection.settimeout(max(0.001, end - time.monotonic()))
            piece = self.rfile.read1(min(size, _PIECE))
            if not piece:
                raise EOFError
            if time.monotonic() > end:
                raise TimeoutError
            size -= len(piece)
            yield piece
        self.connection.settimeout(IDLE_SECONDS)

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        """Answer, and end the connection. What is sent meanwhile is dropped: unread, it would drop the answer."""
        self.close_connection = True
        self._answer(status, f"{reason}\n".encode(), ("Connection", "close"), ("Content-Type", "text/plain"))
        with contextlib.suppress(OSError, EOFError):
            for _ in self._pieces(BODY_BYTES):
                pass

    def _answer(self, status: HTTPStatus, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing: what is refused is a metric."""
