"""Servers and runbooks that stand in where the world cannot be provoked, and record what they were asked."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Answer = Callable[[str, Mapping[str, list[str]]], tuple[int, object]]
"""From a path and its query parameters to a status and what becomes the JSON body."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answer: Answer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        status, content = type(self).answer(parts.path, parse_qs(parts.query))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def http_server(answer: Answer) -> Iterator[str]:
    """An HTTP server on loopback; gives its URL."""
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class FakePrometheus:
    """Answers a query with the value kept for the metric that it names, and with nothing for any other."""

    def __init__(self, **values: float) -> None:
        self.values = dict(values)
        self.asked: list[str] = []

    def __call__(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, object]:
        assert path == "/api/v1/query"
        (expr,) = query["query"]
        self.asked.append(expr)
        found = [value for name, value in self.values.items() if name in expr]
        result = [{"metric": {}, "value": [1.0, str(value)]} for value in found]
        return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}


class FakeAlertmanager:
    """Holds alerts, as `GET /api/v2/alerts` tells them."""

    def __init__(self) -> None:
        self.held: list[dict[str, Any]] = []
        self.asked = 0

    def hold(self, fingerprint: str, labels: Mapping[str, str], *, silenced: bool = False) -> None:
        """One more alert that fires."""
        self.held.append(
            {
                "labels": dict(labels),
                "annotations": {},
                "startsAt": "2026-01-01T00:00:00Z",
                "endsAt": "2036-01-01T00:00:00Z",
                "updatedAt": "2026-01-01T00:00:00Z",
                "fingerprint": fingerprint,
                "receivers": [{"name": "ballast"}],
                "status": {
                    "state": "suppressed" if silenced else "active",
                    "silencedBy": ["a-silence"] if silenced else [],
                    "inhibitedBy": [],
                    "mutedBy": [],
                },
            }
        )

    def __call__(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, object]:
        del query
        assert path == "/api/v2/alerts"
        self.asked += 1
        return 200, self.held
