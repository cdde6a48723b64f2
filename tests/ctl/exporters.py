"""A server that says what a ballast-exporter would say, page after page, and runs `ballastctl apiserver top` on it."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from click.testing import CliRunner, Result

from ballastctl.cli import main

CLIENTS_LABELS = ("client", "user_agent", "resource", "verb", "namespace", "code")
KUBELETS = ("nodes", "kubelet", "configmaps", "get", "shop", "2xx")
LISTER = ("system:serviceaccount:shop:pod-lister", "controller", "pods", "list", "", "2xx")
DENIED = (*LISTER[:-1], "4xx")


def metric(name: str, value: float, **labels: str) -> str:
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}\n" if inside else f"{name} {value}\n"


def collector(name: str, at: float, success: int = 1) -> str:
    return metric("ballast_collector_success", success, collector=name) + metric(
        "ballast_collector_last_success_timestamp_seconds", at, collector=name
    )


def audited(at: float, events: float, series: Mapping[tuple[str, ...], float], shed: float = 0) -> str:
    """As the collector `apiserver_clients` tells it."""
    told = "".join(
        metric("ballast_apiserver_clients_requests_total", count, **dict(zip(CLIENTS_LABELS, key, strict=True)))
        for key, count in series.items()
    )
    return (
        collector("apiserver_clients", at)
        + told
        + metric("ballast_apiserver_clients_events_total", events)
        + metric("ballast_apiserver_clients_error_bound_requests", 4)
        + metric("ballast_apiserver_clients_shed_events_total", shed, reason="overload")
    )


def asked(at: float, series: Mapping[tuple[str, str, str, str, str], float], watches: float = 0) -> str:
    """As the collector `apiserver_requests` tells it; the keys are apiserver, group, resource, verb, code."""
    text = collector("apiserver_requests", at)
    for apiserver, group, resource, verb, code in series:
        text += metric(
            "ballast_apiserver_requests_total",
            series[apiserver, group, resource, verb, code],
            apiserver=apiserver, group=group, resource=resource, verb=verb, code=code,
        )  # fmt: skip
    for apiserver in {key[0] for key in series}:
        text += metric("ballast_apiserver_requests_readable", 1, apiserver=apiserver)
        text += metric(
            "ballast_apiserver_requests_longrunning",
            watches, apiserver=apiserver, group="", resource="configmaps", verb="WATCH",
        )  # fmt: skip
    return text


@dataclass(slots=True)
class Pages:
    """Answers in their order, the last one again and again; a number is a status without a page."""

    url: str
    answers: list[str | int] = field(default_factory=list)
    credentials: list[str | None] = field(default_factory=list)
    """What each request brought."""

    def next(self) -> str | int:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def exporter(*answers: str | int) -> Iterator[Pages]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages.credentials.append(self.headers["Authorization"])
            answer = pages.next()
            body = answer.encode() if isinstance(answer, str) else b""
            self.send_response(200 if isinstance(answer, str) else answer)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        pages = Pages(f"http://127.0.0.1:{server.server_address[1]}", [*answers])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield pages
        finally:
            server.shutdown()
            thread.join()


def top(*answers: str | int, by: str | None = None, arguments: tuple[str, ...] = ()) -> Result:
    """One table of what lies between the answers."""
    chosen = () if by is None else ("--by", by)
    with exporter(*answers) as pages:
        command = ["apiserver", "top", "--exporter", pages.url, "--once", "--every", "10ms", *chosen, *arguments]
        return CliRunner().invoke(main, command)


def document(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)
