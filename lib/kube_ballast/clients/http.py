"""One HTTP request at a time, with an end that holds.

A socket's timeout counts anew with each byte, so a server that trickles, or a resolver that hangs, could hold a caller
for as long as it likes. Here each exchange runs in a thread of its own, and at the deadline its connection is shut
down under it. A fresh connection for each request costs a handshake and saves what comes with kept ones: stale
sockets, and certificates that were renewed without being noticed. No redirects, retries, cookies or proxies.
"""

import base64
import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urlencode, urlsplit

from pydantic import ValidationError

from kube_ballast import __version__
from kube_ballast.clients import credentials
from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout, Unavailable
from kube_ballast.config import HttpConfig, TLSFiles

LIMIT_BYTES = 32 * 1024 * 1024
"""The largest body taken unless the caller says otherwise."""

_NOBODY_HOME = (502, 503, 504)
_CHUNK_BYTES = 64 * 1024
_FAILURES = (http.client.HTTPException, OSError, ValueError)
_REFUSED_BY_SERVER = ("certificate required", "bad certificate", "unknown ca", "certificate expired", "access denied")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: its status code and the whole body (empty when it was streamed)."""

    status: int
    body: bytes

    def text(self) -> str:
        """The body's beginning, fit for a message."""
        return " ".join(self.body[:500].decode(errors="replace").split())


def unexpected(target: str, what: str, answer: Answer, error: ValidationError | None = None) -> ClientError:
    """The error for an ``answer`` to ``what`` that is not what was asked for; ``error`` says why it cannot be parsed.

    502, 503 and 504 are what proxies, and servers that are still starting, say in place of an answer: Unavailable.
    """
    if answer.status in _NOBODY_HOME:
        return Unavailable(target, f"{what}: status {answer.status}: {answer.text()!r}")
    reason = ""
    if error is not None:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        reason = f" ({place}: {first['msg']})"
    return BadResponse(target, f"{what}: unexpected answer, status {answer.status}{reason}: {answer.text()!r}")


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: SplitResult
    headers: dict[str, str]
    body: bytes | None
    limit: int
    consume: Callable[[bytes], None] | None

    @property
    def acts(self) -> bool:
        return self.method not in {"GET", "HEAD"}

    @property
    def resource(self) -> str:
        return (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")


class HttpClient:
    """Asks one HTTP service. Thread safe; credentials and certificates are read for each request."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config
        self.url = config.url

    def get(
        self,
        path: str,
        params: Iterable[tuple[str, str]] = (),
        *,
        timeout: float,
        limit: int = LIMIT_BYTES,
        consume: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Asks for ``path``; see ``request``."""
        return self.request("GET", path, params, timeout=timeout, limit=limit, consume=consume)

    def request(
        self,
        method: str,
        path: str,
        params: Iterable[tuple[str, str]] = (),
        *,
        timeout: float,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        limit: int = LIMIT_BYTES,
        consume: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """The answer, whatever its status code, save 401, 403 and redirects.

        With a ``limit`` of 0 only the status code is wanted, whatever it is: the body is not read.

        ``timeout`` is seconds for everything, from the name's resolution to the body's last byte. ``consume`` gets a
        successful (2xx) answer's body piece by piece instead of it being kept, in another thread and until shortly
        after a Timeout; a ValueError of its own becomes BadResponse.

        Raises:
            Unavailable: nobody answered, or a GET's answer broke off.
            Timeout: no whole answer in time; after another method than GET the outcome is unknown.
            Denied: 401, 403, a certificate that one side does not accept, or an unreadable credential.
            BadResponse: a redirect, no HTTP, or a body of more than ``limit`` bytes.
        """
        query = urlencode(tuple(params))
        url = urlsplit(f"{self.url}{path}" + (f"?{query}" if query else ""))
        sent = {"User-Agent": f"kube-ballast/{__version__}", "Accept-Encoding": "identity", **self._credential()}
        if body is not None:
            sent["Content-Type"] = content_type
        request = _Request(method, url, {**sent, **(headers or {})}, body, limit, consume)
        exchange = _Exchange(request, self.url, self._config.tls, timeout)
        threading.Thread(target=exchange.run, name=f"{method} {self.url}", daemon=True).start()
        if not exchange.done.wait(timeout):
            exchange.abort()
            unknown = "; it is unknown whether the request took effect" if request.acts else ""
            raise Timeout(self.url, f"{method} {path}: no whole answer within {timeout:g} s{unknown}")
        return exchange.result()

    def _credential(self) -> dict[str, str]:
        if self._config.bearer_token_file is not None:
            return {"Authorization": f"Bearer {credentials.read_secret(self.url, self._config.bearer_token_file)}"}
        if self._config.auth is not None:
            password = credentials.read_secret(self.url, self._config.auth.password_file)
            pair = base64.b64encode(f"{self._config.auth.username}:{password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}


class _Exchange:
    """One request and its answer, run in a thread that ends soon after ``abort``."""

    def __init__(self, request: _Request, target: str, tls: TLSFiles | None, seconds: float) -> None:
        self.done = threading.Event()
        self._request = request
        self._target = target
        self._tls = tls
        self._seconds = seconds
        self._outcome: Answer | ClientError | None = None
        self._aborted = False
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._sent = False

    def run(self) -> None:
        try:
            with closing(self._connect()) as line:
                self._outcome = self._talk(line)
        except _FAILURES as error:
            self._outcome = self._explained(error)
        except ClientError as error:
            self._outcome = error
        finally:
            with self._lock:
                if self._line is not None:
                    self._line.close()
                    self._line = None
            self.done.set()

    def result(self) -> Answer:
        if isinstance(self._outcome, Answer):
            return self._outcome
        raise self._outcome or BadResponse(self._target, "the exchange ended without an answer; see the log")

    def abort(self) -> None:
        """Ends the exchange wherever it is; a read or write under way on the connection fails at once."""
        with self._lock:
            self._aborted = True
            if self._line is not None:
                _shut_down(self._line)

    def _connect(self) -> socket.socket:
        url = self._request.url
        secure = url.scheme == "https"
        host = url.hostname or ""
        line = socket.create_connection((host, url.port or (443 if secure else 80)), timeout=self._seconds)
        with self._lock:
            # A second handle, since TLS takes the first one over.
            self._line = line.dup()
            if self._aborted:
                _shut_down(self._line)
        if not secure:
            return line
        try:
            tls = self._tls or TLSFiles()
            return tls_context(self._target, tls).wrap_socket(line, server_hostname=tls.server_name or host)
        except BaseException:
            line.close()
            raise

    def _talk(self, line: socket.socket) -> Answer:
        request = self._request
        connection = http.client.HTTPConnection(request.url.netloc)
        connection.sock = line
        self._sent = True
        connection.request(request.method, request.resource, request.body, request.headers)
        with connection.getresponse() as response:
            status = response.status
            if request.limit == 0:
                return Answer(status, b"")
            if status in {401, 403}:
                raise Denied(self._target, f"{self._what}: {status} {response.reason}")
            if status in range(300, 400):
                where = response.headers.get("Location", "elsewhere")
                raise BadResponse(self._target, f"{self._what}: {status}, a redirect to {where}; configure that URL")
            return Answer(status, self._body(response))

    def _body(self, response: http.client.HTTPResponse) -> bytes:
        kept = bytearray()
        succeeded = response.status in range(200, 300)
        consume = self._request.consume if succeeded and self._request.consume else kept.extend
        size = 0
        while piece := response.read(_CHUNK_BYTES):
            size += len(piece)
            if size > self._request.limit:
                raise BadResponse(self._target, f"{self._what}: the body is larger than {self._request.limit} bytes")
            consume(piece)
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        return bytes(kept)

    @property
    def _what(self) -> str:
        return f"{self._request.method} {self._request.url.path or '/'}"

    def _explained(self, error: Exception) -> ClientError:
        words = str(error) or type(error).__name__
        if refusal := certificate_refusal(error, "the server"):
            return Denied(self._target, f"{self._what}: {refusal}")
        if self._sent and self._request.acts:
            return Timeout(self._target, f"{self._what}: {words}; it is unknown whether the request took effect")
        if isinstance(error, http.client.IncompleteRead):
            return Unavailable(self._target, f"{self._what}: the answer broke off")
        if isinstance(error, OSError) or not self._sent:
            return Unavailable(self._target, f"{self._what}: {words}")
        return BadResponse(self._target, f"{self._what}: the answer cannot be read: {words}")


def certificate_refusal(error: Exception, peer: str) -> str | None:
    """Which side does not accept the other's certificate, in words; None when ``error`` is about something else."""
    words = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{peer}'s certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and any(known in words for known in _REFUSED_BY_SERVER):
        return f"{peer} does not accept this client's certificate: {words}"
    return None


def _shut_down(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)


def tls_context(target: str, tls: TLSFiles) -> ssl.SSLContext:
    """A context made of the files as they are now; the system's authorities vouch where no ``ca`` is given."""
    paths = credentials.tls_paths(tls)
    credentials.stamp(target, paths)
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ValueError) as error:
        files = ", ".join(map(str, paths))
        raise Denied(target, f"nothing was sent: {files} cannot be used: {error}") from error
    return context
