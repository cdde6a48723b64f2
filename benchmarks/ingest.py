"""How fast notifications are on disk, beside the least that could do it: a bare Flask app that commits a row per POST.

Both run as processes of their own under the same server settings; a third process sends. What is compared is measured
in turns, a few seconds each, so that a noisy machine is noisy for both. Loopback only; about a minute and a half.

The processes: ``python -m benchmarks.ingest bare PORT SQLITE_FILE`` (or ``… bare PORT POSTGRESQL_URL PASSWORD_FILE``)
and ``… load closed|open URL SECONDS [RATE]``.
"""

import asyncio
import gc
import hashlib
import json
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Final

import psycopg
from flask import Flask, request

from ballast_remediator.cli import THREADS
from benchmarks import posting
from benchmarks.report import Report
from kube_ballast import wsgi

CONNECTIONS: Final = 32
RATE: Final = 100
OPEN_SECONDS: Final = 30
WINDOWS: Final = 5
TURN_SECONDS: Final = 4
START_SECONDS: Final = 30.0
TOKEN: Final = "of-this-benchmark-only"  # noqa: S105 - the server lives as long as the benchmark
TOKENS: Final = f'tokens: [{{name: bench, role: ingest, sha256: "{hashlib.sha256(TOKEN.encode()).hexdigest()}"}}]\n'
"""The content of a tokens file."""
PATH: Final = "/api/v1/alertmanager"
ALERT_LABELS: Final = [{"etcd_cluster": "main", "member": f"etcd-{number}"} for number in range(5)]


def run(report: Report) -> None:
    """Measures ingest and reports it."""
    with tempfile.TemporaryDirectory(prefix="ballast-bench-") as folder, ExitStack() as stack:
        database = Path(folder) / "remediator.db"
        remediator = stack.enter_context(remediating(Path(folder), {"path": str(database)}))
        bare = stack.enter_context(bare_of(str(Path(folder) / "bare.db")))
        accepted = _steady(report, remediator, bare)
        accepted += _highest(report, remediator, bare)
        report.at_most("ingest_lost", accepted - _rows(database), "notifications", 0)


def _steady(report: Report, remediator: str, bare: str) -> int:
    """The latency at a fixed rate, counted from when each POST was due. Returns how many were accepted."""
    latencies = load("open", remediator, OPEN_SECONDS, RATE)
    per_window = len(latencies) // WINDOWS
    windows = [latencies[start : start + per_window] for start in range(0, per_window * WINDOWS, per_window)]
    median = statistics.median(p99(window) for window in windows)
    report.at_most("ingest_p99", median, "seconds", 0.020)
    report.shown("ingest_p50", statistics.median(latencies), "seconds")
    report.shown("ingest_p99_floor", p99(load("open", bare, OPEN_SECONDS // WINDOWS, RATE)), "seconds")
    report.at_least("ingest_accepted_at_rate", len(latencies), "notifications", OPEN_SECONDS * RATE)
    return len(latencies)


def _highest(report: Report, remediator: str, bare: str) -> int:
    """Reports the highest rate of many connections. Returns how many the remediator accepted."""
    ours, floor, accepted = highest(remediator, bare)
    report.shown("ingest_rate", ours, "notifications/s")
    report.shown("ingest_rate_floor", floor, "notifications/s")
    report.at_least("ingest_rate_ratio", ours / floor, "ratio", 1.0)
    return accepted


def highest(remediator: str, bare: str) -> tuple[float, float, int]:
    """The highest rates of both with many connections, taken in turns, and how many the remediator accepted."""
    rates: dict[str, list[float]] = {remediator: [], bare: []}
    accepted = 0
    for _ in range(WINDOWS):
        for url, turns in rates.items():
            count = len(load("closed", url, TURN_SECONDS))
            turns.append(count / TURN_SECONDS)
            accepted += count if url == remediator else 0
    ours, floor = (statistics.median(turns) for turns in rates.values())
    return ours, floor, accepted


def p99(latencies: Iterable[float]) -> float:
    """Their 99th percentile."""
    return statistics.quantiles(latencies, n=100)[-1]


def _rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM notifications").fetchone()[0])


# --- the two servers ---


@contextmanager
def remediating(folder: Path, store: Mapping[str, str]) -> Iterator[str]:
    """The whole program on that ``store``, its engine included. Its etcd, Prometheus and Alertmanager are not there."""
    port = free_port()
    nobody = f"http://127.0.0.1:{free_port()}"
    (folder / "tokens.yaml").write_text(TOKENS)
    (folder / "policy.yaml").write_text("rules: [{runbook: etcd-free-space, mode: ask}]\n")
    config = {
        "listen": f"127.0.0.1:{port}",
        "store": store,
        "tokens_file": str(folder / "tokens.yaml"),
        "policy_file": str(folder / "policy.yaml"),
        "snapshots": {"directory": str(folder / "snapshots")},
        "clusters": {
            "bench": {
                "etcd": [{"members": [{"endpoint": nobody}]}],
                "prometheus": {"url": nobody},
                "alertmanagers": [{"url": nobody}],
            }
        },
    }
    (folder / "remediator.yaml").write_text(json.dumps(config))  # JSON is YAML
    program = "from ballast_remediator.cli import main; main()"
    command = [sys.executable, "-c", program, "--config", str(folder / "remediator.yaml")]
    with process(command, port, "/healthz"):
        yield f"http://127.0.0.1:{port}{PATH}"


@contextmanager
def bare_of(*store: str) -> Iterator[str]:
    """The bare app on an SQLite file, or on a PostgreSQL's URL and password file."""
    port = free_port()
    with process([sys.executable, "-m", "benchmarks.ingest", "bare", str(port), *store], port, "/"):
        yield f"http://127.0.0.1:{port}{PATH}"


@contextmanager
def process(command: list[str], port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """Started, answering at ``path`` of ``port``, and stopped at the end."""
    started = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _answers(f"http://127.0.0.1:{port}{path}", started)
        yield started
    finally:
        started.terminate()
        started.wait(timeout=30)


def _answers(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own loopback address
                return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def free_port() -> int:
    """One of loopback that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Keep = Callable[[bytes], None]
"""Commits one body as one row."""


def bare_app(keep: Keep) -> wsgi.Service:
    """The floor: one row, one commit; no token, no look into the body."""
    app = Flask("bare")

    @app.get("/")
    def alive() -> str:
        return "ok"

    @app.post(PATH)
    def take() -> tuple[str, int]:
        keep(request.get_data(cache=False))
        return "", 202

    return wsgi.Service(app.wsgi_app)


def bare_sqlite(database: str) -> wsgi.Service:
    """With ``synchronous=FULL``."""
    local = threading.local()
    one_writer = threading.Lock()  # without it SQLite's busy handler starves some threads, and the floor is lower

    def connection() -> sqlite3.Connection:
        if not hasattr(local, "connection"):
            local.connection = sqlite3.connect(database, timeout=30, isolation_level=None)
            local.connection.execute("PRAGMA synchronous=FULL")
        opened: sqlite3.Connection = local.connection
        return opened

    with closing(sqlite3.connect(database)) as first:
        first.execute("PRAGMA journal_mode=WAL")
        first.execute("CREATE TABLE notifications (id INTEGER PRIMARY KEY, received_at REAL, body BLOB)")

    def keep(body: bytes) -> None:
        with one_writer:
            connection().execute("INSERT INTO notifications (received_at, body) VALUES (?, ?)", (time.time(), body))

    return bare_app(keep)


def bare_postgresql(url: str, password_file: str) -> wsgi.Service:
    """With ``synchronous_commit=on``, and a connection for each thread: the server itself groups their commits."""
    local = threading.local()
    password = Path(password_file).read_text().strip()

    def opened() -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(url, password=password, autocommit=True, options="-c synchronous_commit=on")

    with opened() as first:
        first.execute("CREATE TABLE notifications (id serial PRIMARY KEY, received_at float8, body bytea)")

    def keep(body: bytes) -> None:
        if not hasattr(local, "connection"):
            local.connection = opened()
        local.connection.execute("INSERT INTO notifications (received_at, body) VALUES (%s, %s)", (time.time(), body))

    return bare_app(keep)


# --- the sender ---


def load(kind: str, url: str, seconds: int, rate: int = 0) -> list[float]:
    """Seconds from due to answered of each accepted POST, in order, sent by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.ingest", "load", kind, url, str(seconds), str(rate)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + 60, check=True)
    return [float(one) for one in json.loads(done.stdout)]


async def _closed(url: str, seconds: int) -> list[float]:
    """As fast as ``CONNECTIONS`` go, each sending its next POST when the last is answered."""
    until = time.perf_counter() + seconds
    post = posting.request(url, TOKEN, ALERT_LABELS)
    latencies: list[float] = []

    async def one(line: posting.Line) -> None:
        while (sent := time.perf_counter()) < until:
            if await line.accepted(post):
                latencies.append(time.perf_counter() - sent)
        line.close()

    await asyncio.gather(*(one(posting.Line(url)) for _ in range(CONNECTIONS)))
    return latencies


def _main(what: str, *arguments: str) -> None:
    if what == "bare":
        port, *store = arguments
        service: Callable[[], wsgi.Service] = partial(bare_sqlite if len(store) == 1 else bare_postgresql, *store)
        wsgi.serve(service, "127.0.0.1", int(port), blocking_threads=THREADS)
    else:
        kind, url, seconds, rate = arguments
        gc.disable()  # what the sender itself is late by would count as the server's
        posts = repeat(posting.request(url, TOKEN, ALERT_LABELS), int(seconds) * int(rate))
        sending = _closed(url, int(seconds)) if kind == "closed" else posting.open_loop(url, posts, int(rate))
        sys.stdout.write(json.dumps(asyncio.run(sending)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
