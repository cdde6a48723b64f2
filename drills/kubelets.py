"""Simulated kubelets that keep their ConfigMaps fresh, and a few controllers beside them, on a real apiserver.

Half of the kubelets are in Get mode: they ask for each of their ConfigMaps at every sync. The others are in Watch mode:
one watch for each ConfigMap, by `fieldSelector=metadata.name=NAME`, opened anew when the apiserver ends it. Each has a
real one's user name, for which the front proxy's certificate vouches: so a few connections serve many.
A watch holds its connection, since this is HTTP/1.1, and the next one goes over the same.
"""

import asyncio
import json
import random
import resource
import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

from kube_ballast.config import TLSFiles

CONFIGMAPS, EACH = 300, 3
"""All there are, and how many of them the pods of one kubelet mount."""
SYNC_SECONDS, WATCH_SECONDS = 10.0, (15, 30)
"""Between two GETs of a ConfigMap, and how long a watch lasts. Real kubelets: some 75 s, and 5 to 10 minutes."""
CONTROLLERS: Final = 10
RENEW_SECONDS, RENEWALS = 2.0, 2
"""Between two renewals of a Lease, and how many of them from one list to the next."""
LINES: Final = 8
TIMEOUT: Final = 30.0
GROUP: Final = "drill-controllers"
SHARED: Final = "/api/v1/namespaces/default/configmaps"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
MOST_RECEIVED: Final = 16 * 1024
"""Bytes of a connection's buffer; asyncio's own 256 KiB would make thousands of connections a gigabyte."""


@dataclass(frozen=True, slots=True)
class Who:
    """A user, as the front proxy vouches for it."""

    name: str
    group: str
    agent: str


class Refused(Exception):
    """The apiserver answered something else than 2xx."""


@dataclass(slots=True)
class Line:
    """One connection, kept; one request at a time."""

    host: str
    port: int
    tls: ssl.SSLContext
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, who: Who, method: str, path: str, body: object = None, *, seconds: float = TIMEOUT) -> bytes:
        """The answer's body. Raises Refused, OSError, EOFError and TimeoutError; the next request connects anew."""
        try:
            async with asyncio.timeout(seconds):
                return await self._ask(who, method, path, body)
        except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
            self.close()
            raise

    def close(self) -> None:
        """Without waiting for anything."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _ask(self, who: Who, method: str, path: str, body: object) -> bytes:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, ssl=self.tls, limit=MOST_RECEIVED)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nUser-Agent: {who.agent}\r\n"
            f"X-Remote-User: {who.name}\r\nX-Remote-Group: {who.group}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        answer = await _chunks(reader) if "transfer-encoding: chunked" in head else await _whole(reader, head)
        status = head.split(" ", 2)[1]
        if not status.startswith("2"):
            raise Refused(f"{method} {path} as {who.name}: {status} {answer[:200].decode(errors='replace')}")
        return answer


async def _whole(reader: asyncio.StreamReader, head: str) -> bytes:
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return await reader.readexactly(int(length.partition(":")[2]))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


@dataclass(slots=True)
class Load:
    """Everybody who asks that apiserver, with the front proxy's certificate; counts what failed, by its words."""

    url: str
    tls: TLSFiles
    failures: list[str] = field(default_factory=list)
    answered: int = 0
    _context: ssl.SSLContext = field(init=False)

    def __post_init__(self) -> None:
        assert self.tls.cert is not None
        self._context = ssl.create_default_context(cafile=self.tls.ca)
        self._context.load_cert_chain(self.tls.cert, self.tls.key)

    @contextmanager
    def controllers(self) -> Iterator[None]:
        """Ordinary traffic: each controller renews its Lease and lists pods."""
        work = [self._controller(Who(f"controller-{each}", GROUP, f"controller-{each}")) for each in range(CONTROLLERS)]
        with _running(work):
            yield

    @contextmanager
    def kubelets(self, count: int) -> Iterator[None]:
        """So many of them: every other one in Get mode, on a few lines together."""
        SSLProtocol.max_size = MOST_RECEIVED
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        lines = [(self._line(), asyncio.Lock()) for _ in range(LINES)]
        work: list[Coroutine[Any, Any, None]] = []
        for number in range(count):
            mode = ("get", "watch")[number % 2]
            who = Who(f"system:node:{mode}-{number}", "system:nodes", "kubelet/v1.36.0 (linux/amd64)")
            names = [f"c{(number * EACH + each) % CONFIGMAPS}" for each in range(EACH)]
            if mode == "get":
                work.append(self._gets(who, names, *lines[number // 2 % LINES]))
            else:
                work += [self._watches(who, name) for name in names]
        with _running(work):
            yield

    def _line(self) -> Line:
        place = urlsplit(self.url)
        return Line(str(place.hostname), int(place.port or 443), self._context)

    async def _gets(self, who: Who, names: list[str], line: Line, lock: asyncio.Lock) -> None:
        await asyncio.sleep(random.uniform(0, SYNC_SECONDS))  # noqa: S311 -- spreads load, keeps no secret
        while True:
            for name in names:
                async with lock:
                    await self._count(line, who, "GET", f"{SHARED}/{name}")
            await asyncio.sleep(SYNC_SECONDS)

    async def _watches(self, who: Who, name: str) -> None:
        line = self._line()
        await asyncio.sleep(random.uniform(0, SYNC_SECONDS))  # noqa: S311 -- spreads load, keeps no secret
        while True:
            seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 -- spreads load, keeps no secret
            path = f"{SHARED}?watch=1&fieldSelector=metadata.name%3D{name}&timeoutSeconds={seconds}"
            await self._count(line, who, "GET", path, seconds=seconds + TIMEOUT)

    async def _controller(self, who: Who) -> None:
        line = self._line()
        lease: Any = {"metadata": {"name": who.name}, "spec": {"holderIdentity": who.name}}
        lease = json.loads(await line.ask(who, "POST", LEASES, lease))
        while True:
            for _ in range(RENEWALS):
                lease["spec"]["renewTime"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
                if renewed := await self._count(line, who, "PUT", f"{LEASES}/{who.name}", lease):
                    lease = json.loads(renewed)
                await asyncio.sleep(RENEW_SECONDS)
            await self._count(line, who, "GET", "/api/v1/pods?limit=500")

    async def _count(
        self, line: Line, who: Who, method: str, path: str, body: object = None, *, seconds: float = TIMEOUT
    ) -> bytes | None:
        try:
            answer = await line.ask(who, method, path, body, seconds=seconds)
        except (Refused, OSError, EOFError, TimeoutError) as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(1.0)  # who is refused does not ask again at once
            return None
        self.answered += 1
        return answer


@contextmanager
def _running(work: list[Coroutine[Any, Any, None]]) -> Iterator[None]:
    """In a thread and a loop of its own, until the block ends; raises then what ended one of them before."""
    loop, ended = asyncio.new_event_loop(), asyncio.Event()

    async def all_of_it() -> None:
        tasks = [asyncio.create_task(each) for each in work]
        await ended.wait()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for mistake in (each for each in results if isinstance(each, Exception)):
            raise mistake

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(loop.run_until_complete, all_of_it())
        try:
            yield
        finally:
            loop.call_soon_threadsafe(ended.set)
            running.result(TIMEOUT)
    loop.close()
