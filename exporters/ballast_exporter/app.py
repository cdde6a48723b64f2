"""The exporter over HTTP: what Prometheus scrapes, what a kubelet probes, and a page for people."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict

from flask import Flask, Response, render_template, request

from ballast_exporter.auth import Gate
from ballast_exporter.collectors import COLLECTORS
from ballast_exporter.config import Config
from ballast_exporter.contract import RequestCounter
from ballast_exporter.core import Core, Running
from ballast_exporter.words import row
from kube_ballast import __version__
from kube_ballast.analysis.words import duration
from kube_ballast.wsgi import Service

_PLAIN = "text/plain; charset=utf-8"


def create_app(core: Core, clock: Callable[[], float] = time.monotonic) -> Flask:
    """The web side of ``core``, which is not started here. Nothing it answers waits for a source."""
    app = Flask(__name__, static_folder=None)
    started = clock()

    @app.get("/metrics")
    def metrics() -> Response:
        body, content_type = core.exposition(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)

    @app.get("/evidence")
    def evidence() -> Response:
        snapshots = [slot.state.snapshot for slot in core.slots]
        now = time.time()
        fresh = [each for told in snapshots if told for each in told.evidence if each.valid_until > now]
        return Response(json.dumps([asdict(each) for each in fresh]), content_type="application/json")

    @app.get("/healthz")
    def healthz() -> Response:
        stuck = core.stuck()
        if stuck:
            return Response(f"stuck for minutes, a restart helps: {', '.join(stuck)}\n", 503, content_type=_PLAIN)
        return Response("ok\n", content_type=_PLAIN)

    @app.get("/readyz")
    def readyz() -> Response:
        waiting = [slot.name for slot in core.slots if not slot.state.attempted]
        if waiting:
            return Response(f"not tried yet: {', '.join(waiting)}\n", 503, content_type=_PLAIN)
        return Response("ok\n", content_type=_PLAIN)

    @app.get("/")
    def index() -> Response:
        now = clock()
        rows = [row(slot, now) for slot in core.slots]
        page = render_template("index.html", rows=rows, version=__version__, up=duration(now - started))
        answer = Response(page)
        answer.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    return app


def enabled(config: Config) -> tuple[str, ...]:
    """The names of the collectors that ``config`` runs."""
    return tuple(kind.name for kind in COLLECTORS if kind.settings(config).enabled)


def make_core(config: Config) -> Core:
    """The collectors that ``config`` enables, not yet started."""
    running = []
    for kind in COLLECTORS:
        settings = kind.settings(config)
        if settings.enabled:
            requests = RequestCounter()
            source = kind.build(config, requests)
            running.append(Running(kind.name, source, settings.interval, settings.deadline, requests))
    return Core(running)


def service(config: Config) -> Service:
    """Everything, started: for the process that serves."""
    core = make_core(config)
    gate = Gate(config.web_config_file)
    app = create_app(core)
    core.start()
    return Service(app.wsgi_app, gate.admit, core.stop)
