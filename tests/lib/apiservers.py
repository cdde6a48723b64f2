"""An apiserver that says what a test wants, on loopback."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from drills.stack import write_kubeconfig
from kube_ballast.clients.kubernetes import Kubernetes
from kube_ballast.config import KubernetesConfig


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Say:
    """One answer; ``events`` are sent as chunks, one after another, in place of a body."""

    status: int = 200
    body: object = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    events: Iterable[bytes] | None = None


class ScriptedApiserver:
    """Answers each request with what ``script`` says; ``asked`` is what came."""

    def __init__(self, script: Callable[[Asked], Say]) -> None:
        self.asked: list[Asked] = []
        self.closing = Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _answer(self) -> None:
                url = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), dict(self.headers), body)
                outer.asked.append(asked)
                say = script(asked)
                self.send_response(say.status)
                for name, value in say.headers.items():
                    self.send_header(name, value)
                if say.events is None:
                    content = say.body if isinstance(say.body, bytes) else json.dumps(say.body).encode()
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                    return
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for event in say.events:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.write(b"0\r\n\r\n")

            do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.socket.close()

    def watched_from(self) -> list[str]:
        """The versions of all watches so far."""
        return [asked.params["resourceVersion"] for asked in self.asked if "watch" in asked.params]


def client(url: str, folder: Path, **user: object) -> Kubernetes:
    """A client with a kubeconfig for that apiserver."""
    return Kubernetes(KubernetesConfig(kubeconfig=kubeconfig(url, folder, **user)))


def kubeconfig(url: str, folder: Path, **user: object) -> Path:
    """A kubeconfig with that user, such as ``token="a"``; the authority is read only where the URL is https."""
    path = folder / "kubeconfig"
    write_kubeconfig(path, url, folder / "ca.pem", user)
    return path


def refusal(code: int, reason: str, message: str) -> dict[str, object]:
    """A Status."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason} | {
        "message": message
    }


def item(name: str, version: str = "1") -> dict[str, object]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def items(version: str, *names: str, following: str = "") -> dict[str, object]:
    """A page of a list."""
    return {"metadata": {"resourceVersion": version, "continue": following}, "items": [item(name) for name in names]}


def event(kind: str, what: object) -> bytes:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": what}).encode() + b"\n"
