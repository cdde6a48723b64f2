"""An audit webhook that can get stuck, and the flags of an apiserver whose requests wait for it."""

import json
import ssl
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from drills.stack import Authority, write_kubeconfig

RULES: Final = ({"level": "None", "nonResourceURLs": ["*"]}, {"level": "Metadata", "omitStages": ["RequestReceived"]})
"""Health checks are not audited, as in most policies; each answer waits until the webhook has taken its event."""


class AuditWebhook:
    """Answers while `works` is set, and else holds each request until it is; `held` is set when it holds one."""

    def __init__(self, folder: Path) -> None:
        self.works, self.held = threading.Event(), threading.Event()
        self.works.set()
        authority = Authority(folder)
        server, client = authority.issue("webhook"), authority.issue("apiserver")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(server.ca))
        assert server.cert is not None
        context.load_cert_chain(server.cert, server.key)
        # The handshake happens in the handler's thread: a client that hangs there must not hold up the others.
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        credential = {"client-certificate": str(client.cert), "client-key": str(client.key)}
        self._folder = folder
        url = f"https://127.0.0.1:{self._server.server_port}"
        write_kubeconfig(folder / "webhook.kubeconfig", url, authority.ca, credential)
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": RULES}
        (folder / "policy.yaml").write_text(json.dumps(policy))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def flags(self) -> Mapping[str, str | None]:
        """Of an apiserver: the mode `blocking` is the one in which a stuck webhook holds requests up."""
        return {
            "audit-policy-file": str(self._folder / "policy.yaml"),
            "audit-webhook-config-file": str(self._folder / "webhook.kubeconfig"),
            "audit-webhook-mode": "blocking",
        }

    def close(self) -> None:
        """Let go of whoever waits, and listen no more."""
        self.works.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        works, held = self.works, self.held

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if not works.is_set():
                    held.set()
                works.wait()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
                pass

        return Handler
