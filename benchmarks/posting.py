"""Alertmanager's POSTs, sent over kept connections."""

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit


class Line:
    """One kept connection; one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def accepted(self, post: bytes) -> bool:
        """Whether it was answered 202."""
        if self._streams is None or self._streams[0].at_eof():  # servers close what was idle for long
            self.close()
            self._streams = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams
        writer.write(post)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        await reader.readexactly(length)
        return head.startswith(b"http/1.1 202")

    def close(self) -> None:
        """Lets go of the connection."""
        if self._streams is not None:
            self._streams[1].close()


def request(url: str, token: str, alerts: Sequence[Mapping[str, str]]) -> bytes:
    """One POST with an alert for each of the labels given, as large as real ones are."""
    body = json.dumps(
        {
            "version": "4",
            "receiver": "ballast",
            "groupKey": "{}:{}",
            "status": "firing",
            "externalURL": "http://alertmanager:9093",
            "truncatedAlerts": 0,
            "alerts": [_alert(labels) for labels in alerts],
        }
    ).encode()
    head = f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: ballast\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _alert(labels: Mapping[str, str]) -> Mapping[str, object]:
    every = {
        "alertname": "EtcdFreeSpaceNeeded",
        "ballast_runbook": "etcd-free-space",
        "severity": "none",
        "prometheus": "monitoring/k8s",
        **labels,
    }
    return {
        "status": "firing",
        "labels": every,
        "annotations": {"summary": "etcd main needs its space back", "description": "x" * 200},
        "startsAt": "2026-03-01T10:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus:9090/graph?g0.expr=up",
        "fingerprint": f"{hash(tuple(sorted(every.items()))) & (2**64 - 1):016x}",
    }


async def open_loop(url: str, posts: Iterable[bytes], rate: float) -> list[float]:
    """Sends ``rate`` of them a second, whether or not earlier ones are answered.

    Returns the seconds from due to answered of each that was accepted, in order.
    """
    idle: list[Line] = []
    latencies: dict[int, float] = {}

    async def one(number: int, post: bytes, due: float) -> None:
        line = idle.pop() if idle else Line(url)
        if await line.accepted(post):
            latencies[number] = time.perf_counter() - due
        idle.append(line)

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, post in enumerate(posts):
            due = begin + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(one(number, post, due))
    for line in idle:
        line.close()
    return [latencies[number] for number in sorted(latencies)]
