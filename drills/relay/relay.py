"""The relay itself: it listens in front of one etcd member, in a thread of its own, and is told from any other."""

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from drills.relay.connection import Connection, Side
from drills.relay.modes import PASS, Fault, Mode
from kube_ballast.config import TLSFiles

T = TypeVar("T")
ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RelayTLS:
    """``server`` is shown to apiservers, whose certificates its `ca` must vouch for; ``client`` is shown to etcd."""

    server: TLSFiles
    client: TLSFiles


class Relay:
    """In front of the member at ``endpoint``; give apiservers `url`. Thread safe; ends with the block."""

    def __init__(self, endpoint: str, *, tls: RelayTLS | None = None) -> None:
        parts = urlsplit(endpoint)
        self._upstream = parts.hostname or "", parts.port or 2379
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listener.setblocking(False)  # noqa: FBT003 - the standard library's way
        self._server_tls = _context(tls.server, serves=True) if tls else None
        self._client_tls = _context(tls.client, serves=False) if tls else None
        self.url = f"{parts.scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._fault = PASS
        self._old: frozenset[Connection] = frozenset()
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"relay {self.url}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set(self, fault: Fault) -> None:
        """From now on this holds, and nothing else; it has begun when this gives back."""
        self._do(lambda: self._set(fault))

    def sever(self) -> int:
        """Cut all connections, as `ss -K` would; gives how many."""
        return self._do(lambda: self._cut(lambda _: True))

    def connections(self) -> Mapping[str, int]:
        """Open connections by the resource they serve; `` where that is not known yet."""
        return self._do(lambda: Counter(each.resource or "" for each in self._connections))

    def close(self) -> None:
        """Cut everything and listen no more."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(ANSWER_SECONDS)
        self._listener.close()

    # -- in the relay's thread -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        accepting = self._loop.create_task(self._accept())
        self._loop.run_forever()
        tasks = {accepting, *self._tasks}
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self) -> None:
        while True:
            line, _ = await self._loop.sock_accept(self._listener)
            task = self._loop.create_task(self._relay(line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _relay(self, line: socket.socket) -> None:
        try:
            while self._swallows_new:
                await self._changed.wait()
            client = await _side(
                lambda protocol: self._loop.connect_accepted_socket(protocol, line, ssl=self._server_tls)
            )
        except OSError:  # such as a certificate that nobody vouches for
            line.close()
            return
        except asyncio.CancelledError:
            line.close()
            raise
        try:
            name = self._upstream[0] if self._client_tls else None
            server = await _side(
                lambda protocol: self._loop.create_connection(
                    protocol, *self._upstream, ssl=self._client_tls, server_hostname=name
                )
            )
        except OSError:
            client.writer.transport.abort()
            return
        connection = Connection(client, server, self._fault_of)
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    @property
    def _swallows_new(self) -> bool:
        fault = self._fault
        return fault.mode is Mode.BLACKHOLE and fault.resource is None and not fault.only_old

    def _fault_of(self, connection: Connection) -> Fault:
        fault = self._fault
        if fault.resource not in {None, connection.resource} or (fault.only_old and connection not in self._old):
            return PASS
        return fault

    def _set(self, fault: Fault) -> None:
        self._fault, self._old = fault, frozenset(self._connections)
        if fault.mode is not Mode.DROP_WATCH:
            self._cut(lambda connection: connection.dropped > 0)
        self._changed.set()
        self._changed = asyncio.Event()
        for connection in self._connections:
            connection.changed()

    def _cut(self, which: Callable[[Connection], bool]) -> int:
        cut = [connection for connection in self._connections if which(connection)]
        for connection in cut:
            connection.abort()
        return len(cut)

    # -- in anybody's thread -------------------------------------------------------------------------------------

    def _do(self, work: Callable[[], T]) -> T:
        async def there() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(ANSWER_SECONDS)


Connect = Callable[
    [Callable[[], asyncio.StreamReaderProtocol]], Awaitable[tuple[asyncio.Transport, asyncio.StreamReaderProtocol]]
]


async def _side(connect: Connect) -> Side:
    reader = asyncio.StreamReader(limit=2**20)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await connect(lambda: protocol)
    return Side(reader, asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop()))


def _context(files: TLSFiles, *, serves: bool) -> ssl.SSLContext:
    purpose = ssl.Purpose.CLIENT_AUTH if serves else ssl.Purpose.SERVER_AUTH
    context = ssl.create_default_context(purpose, cafile=files.ca)
    assert files.cert is not None
    context.load_cert_chain(files.cert, files.key)
    context.set_alpn_protocols(["h2"])
    if serves:
        context.verify_mode = ssl.CERT_REQUIRED
    return context
