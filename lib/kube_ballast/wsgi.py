"""Serves a WSGI application so that no client can hold up another.

granian accepts connections and reads headers outside Python: half-sent headers and idle connections cost it a socket
each and end after ``HEADER_SECONDS``. Two things it leaves to us (granian 2.8.7, found by trying):

* Its ``backpressure`` counts *connections*, idle ones too: 64 of them and the 65th client waits. So it is set
  far above what a misbehaving network opens; the work in Python is bounded by ``blocking_threads``.
* Its WSGI interface reads a body from a Python thread and sets it no time limit: as many half-sent bodies as there
  are threads block everybody for as long as their senders like. So this module speaks granian's own asynchronous
  interface (RSGI), reads the whole body under a deadline and a size limit while no thread waits for it, and only then
  gives the request to the WSGI application in a thread.

A path that is ``Service.quick`` takes no thread at all: the application is called where requests arrive, and may say
that its answer waits for something (`kube_ballast.later`), such as a commit, which then holds nobody up.

On SIGTERM the worker goes on for ``Service.drain_seconds``: whoever routes requests here needs a while to see that it
is not ready any more. Then it accepts no connections, ends the requests that it has, and stops.

Before a body is read ``Service.admit`` may refuse the request: whoever has no good credentials is answered without a
byte of the body being looked at. Answers are sent whole; streaming is not supported.

Two processes run: one that supervises, and the worker that holds the application. The worker is killed by the kernel
when the supervisor is gone, so that nothing survives a ``kill -9`` as an orphan holding the port.
"""

import asyncio
import ctypes
import gc
import io
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Literal, Protocol, TypeVar, cast
from urllib.parse import unquote_to_bytes

from granian._granian import RSGIProtocolClosed, RSGIProtocolError
from granian.constants import HTTPModes, Interfaces, Loops, SSLProtocols
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server

from kube_ballast.later import LATER, Later, Teller, end_of

HEADER_SECONDS = 10
BODY_SECONDS = 10.0
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_CONNECTIONS = 8192
_RETRY_SECONDS = 5
_STOP_SECONDS = 10
_PROBE_THREADS = 4
_PR_SET_PDEATHSIG = 1

Environ = dict[str, Any]
R = TypeVar("R")


class Application(Protocol):
    """A WSGI application (PEP 3333)."""

    def __call__(self, environ: Environ, start_response: Callable[..., Any], /) -> Iterable[bytes]:
        """Answer one request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: ``status`` is the number."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @classmethod
    def text(cls, status: HTTPStatus, reason: str, *headers: tuple[str, str]) -> "Answer":
        """One line of words."""
        return cls(status, (("Content-Type", "text/plain; charset=utf-8"), *headers), f"{reason}\n".encode())


def _admit_all(_environ: Environ) -> Answer | None:
    return None


def _nothing() -> None:
    return None


def _in_words(_environ: Environ, status: HTTPStatus, reason: str) -> Answer:
    return Answer.text(status, reason)


@dataclass(frozen=True, slots=True)
class Service:
    """What a worker serves.

    ``admit`` sees each request's environ before its body is read (``wsgi.input`` is empty then) and returns a refusal
    or None; what it adds to the environ reaches ``app``. One that takes microseconds, such as the look-up of a token,
    says so by ``admit_is_quick`` and saves a request the way to a thread and back; a password hash must not.
    ``refused`` gives the answer to a body that was admitted but is too large (413) or comes too late (503), with the
    reason in words; the connection's end and when to come back are added to it. It must take microseconds.
    ``quick`` are paths for which ``app`` takes microseconds and never waits: it is called without a thread.
    ``probes`` are paths whose requests have threads of their own: they are answered however many others wait.
    ``drain`` is called when SIGTERM comes, and must return at once; requests are taken for ``drain_seconds`` more.
    ``stop`` is called once when the worker ends in order, within what is left of ten seconds since SIGTERM.
    """

    app: Application
    admit: Callable[[Environ], Answer | None] = _admit_all
    stop: Callable[[], None] = _nothing
    admit_is_quick: bool = False
    refused: Callable[[Environ, HTTPStatus, str], Answer] = _in_words
    probes: frozenset[str] = frozenset()
    quick: frozenset[str] = frozenset()
    drain: Callable[[], None] = _nothing
    drain_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """PEM files; with ``client_ca`` clients must show a certificate signed by it. Read once, when the worker starts."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    min_version: Literal["1.2", "1.3"] = "1.2"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may send: bytes of body, and seconds from its headers to the end of the body."""

    body_bytes: int = MAX_BODY_BYTES
    body_seconds: float = BODY_SECONDS


DEFAULT_LIMITS = Limits()


def serve(
    target: str | Callable[[], Service],
    host: str,
    port: int,
    *,
    tls: ServerTLS | None = None,
    blocking_threads: int = 16,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Serve until SIGTERM or SIGINT; returns when the worker has ended, at the latest ten seconds later.

    ``target`` makes the service: ``"module:factory"`` or a picklable callable. It is called in the worker process, so
    that threads it starts live where requests are answered.

    Raises:
        OSError: the address cannot be bound, or a PEM file cannot be read.
        SystemExit: with 1, the worker died; a supervisor such as systemd or the kubelet should start it anew.
    """
    _raise_open_files()
    server = Server(
        "",
        address=_free_address(host, port),
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        loop=Loops.asyncio,
        websockets=False,
        workers=1,
        backlog=1024,
        backpressure=MAX_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_SECONDS * 1000),
        log_level=LogLevels.warning,
        log_dictconfig=_LOGGING,
        ssl_cert=None if tls is None else tls.cert,
        ssl_key=None if tls is None else tls.key,
        ssl_ca=None if tls is None else tls.client_ca,
        ssl_client_verify=tls is not None and tls.client_ca is not None,
        ssl_protocol_min=SSLProtocols.tls13 if tls and tls.min_version == "1.3" else SSLProtocols.tls12,
        workers_kill_timeout=_STOP_SECONDS,
    )
    # The worker is forked: what the collector never looks at again stays in pages that both processes share.
    gc.collect()
    gc.freeze()
    server.serve(
        # granian's annotation knows functions only; it takes what has __rsgi__ as well.
        target_loader=cast("Any", partial(_load, target, blocking_threads, limits, os.getpid())),
        wrap_loader=False,
    )


def _raise_open_files() -> None:
    """As many files as connections: the usual soft limit of 1024 would refuse the 1025th, whoever it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(2 * MAX_CONNECTIONS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _free_address(host: str, port: int) -> str:
    """``host`` as an address that nobody listens on; empty means all addresses.

    granian shares its port (SO_REUSEPORT): a second process started by mistake would take half of the requests.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, *_, where = found[0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(where)
        probe.listen()
    return str(where[0])


_LOGGING: dict[str, Any] = {
    "handlers": {
        "console": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "generic"},
        "access": {"class": "logging.NullHandler"},
    },
}


def _load(target: str | Callable[[], Service], blocking_threads: int, limits: Limits, supervisor: int) -> "_Bridge":
    """Runs in the worker, before it serves."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it went before the kernel was told
            os._exit(1)
    factory: Callable[[], Service] = resolve_name(target) if isinstance(target, str) else target
    return _Bridge(factory(), blocking_threads, limits)


_Write = Callable[[bytes], object]


class _Scope(Protocol):
    method: str
    path: str
    query_string: str
    scheme: str
    server: str
    client: str
    http_version: str
    headers: Mapping[str, str]


class _BodyProtocol(Protocol):
    async def __call__(self) -> bytes: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


class _Refused(Exception):
    """A body that is not taken."""

    def __init__(self, status: HTTPStatus, reason: str, *headers: tuple[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.reason = reason
        self.headers = headers


class _Bridge:
    """From granian's RSGI to a WSGI application in a pool of threads."""

    def __init__(self, service: Service, threads: int, limits: Limits) -> None:
        self._service = service
        self._limits = limits
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._probes = ThreadPoolExecutor(_PROBE_THREADS, thread_name_prefix="probe")
        self._draining = False

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._teller = Teller(loop)
        # Instead of granian's own, which closes the listener; that one is still behind SIGINT.
        loop.add_signal_handler(signal.SIGTERM, self._drain, loop)

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._draining:
            return
        self._draining = True
        loop.call_later(self._service.drain_seconds, signal.raise_signal, signal.SIGINT)
        self._service.drain()

    async def __rsgi__(self, scope: _Scope, protocol: _BodyProtocol) -> None:
        answer = await self._answer(scope, protocol)
        protocol.response_bytes(answer.status, list(answer.headers), answer.body)

    def __rsgi_del__(self, _loop: asyncio.AbstractEventLoop) -> None:
        self._service.stop()
        for pool in (self._pool, self._probes):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, scope: _Scope, protocol: _BodyProtocol) -> Answer:
        environ = _environ(scope)
        if not _has_body(environ):
            return await self._in_thread(self._admit_and_call, environ)
        admit = self._service.admit
        refusal = admit(environ) if self._service.admit_is_quick else await self._in_thread(admit, environ)
        if refusal is not None:
            return _closing(refusal)
        try:
            body = await self._body(environ, protocol)
        except _Refused as refused:
            return _closing(self._service.refused(environ, refused.status, refused.reason), *refused.headers)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        if environ["PATH_INFO"] in self._service.quick:
            return await self._without_thread(environ)
        return await self._in_thread(self._call, environ)

    async def _without_thread(self, environ: Environ) -> Answer:
        environ[LATER] = None
        answer = self._call(environ)
        later: Later[Answer] | None = environ[LATER]
        if later is None:
            return answer
        try:
            await end_of(later.pending, self._teller)
        except Exception as error:  # noqa: BLE001 - whatever it is, the application words it
            return later.end(error) or answer
        return later.end(None) or answer

    def _in_thread(self, function: Callable[[Environ], R], environ: Environ) -> Awaitable[R]:
        pool = self._probes if environ["PATH_INFO"] in self._service.probes else self._pool
        return asyncio.get_running_loop().run_in_executor(pool, function, environ)

    async def _body(self, environ: Environ, protocol: _BodyProtocol) -> bytes:
        limit = self._limits.body_bytes
        too_large = _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {limit} bytes")
        if int(environ.get("CONTENT_LENGTH") or 0) > limit:
            raise too_large
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                if "HTTP_TRANSFER_ENCODING" not in environ:
                    return await protocol()  # as much as it says, and no more
                body = bytearray()
                async for chunk in protocol:
                    body += chunk
                    if len(body) > limit:
                        raise too_large
        except (RSGIProtocolClosed, RSGIProtocolError) as error:  # who sent it is gone
            raise _Refused(HTTPStatus.BAD_REQUEST, "the body ended before its end") from error
        except TimeoutError:
            reason = f"the body did not arrive within {self._limits.body_seconds:g} s"
            # Not 408: a slow network or an overload passes, and Alertmanager gives up after any 4xx.
            retry = ("Retry-After", str(_RETRY_SECONDS))
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, reason, retry) from None
        return bytes(body)

    def _admit_and_call(self, environ: Environ) -> Answer:
        return self._service.admit(environ) or self._call(environ)

    def _call(self, environ: Environ) -> Answer:
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR
        headers: tuple[tuple[str, str], ...] = ()

        def start_response(line: str, fields: list[tuple[str, str]], _exc_info: object = None) -> _Write:
            nonlocal status, headers
            status, headers = int(line[:3]), tuple(fields)
            return _no_write

        chunks = self._service.app(environ, start_response)
        try:
            body = b"".join(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()
        return Answer(status, headers, body)


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("WSGI's write() is not supported: return the body instead")


def _closing(answer: Answer, *headers: tuple[str, str]) -> Answer:
    """With ``headers``. An unread body still fills the connection: nothing more can be asked on it."""
    return Answer(answer.status, (*answer.headers, *headers, ("Connection", "close")), answer.body)


def _has_body(environ: Environ) -> bool:
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH", "0") != "0"


def _environ(scope: _Scope) -> Environ:
    address, _, remote_port = scope.client.rpartition(":")
    name, _, port = scope.server.rpartition(":")
    environ: Environ = {
        "REQUEST_METHOD": scope.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope.path).decode("latin-1"),
        "QUERY_STRING": scope.query_string,
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": f"HTTP/{scope.http_version}",
        "REMOTE_ADDR": address.strip("[]"),
        "REMOTE_PORT": remote_port,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for field, value in scope.headers.items():
        if "_" in field:  # X_Y would pass for X-Y
            continue
        key = field.upper().replace("-", "_")
        key = key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
