"""What the guards cost, and that they hold: a flood of alerts, and a run that starts behind a thousand that wait.

The whole program in a process of its own, with its engine, its store and its guards; only its runbook is one that
notes its effect in a file, and Prometheus and Alertmanager are two small servers that call every alert true. About
two minutes, on loopback.

The processes: ``python -m benchmarks.guards serve SETTING`` and ``… send URL COUNT SECONDS``.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import create_engine, select

from ballast_remediator.cli import THREADS
from ballast_remediator.config import Config
from ballast_remediator.contract import (
    Alert,
    Budget,
    ClaimRequest,
    Done,
    Mode,
    Observed,
    Permissions,
    Plan,
    Progress,
    Reversibility,
    RunState,
    Step,
    StepContext,
    StepSpec,
    Target,
    Terms,
    WorldGuard,
)
from ballast_remediator.engine.judging import LEDGER_GUARDS, LOCK_GUARDS
from ballast_remediator.policy import BrakeRule, BudgetRule, PolicyFile, Rule
from ballast_remediator.store import ledger
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit, runs
from benchmarks import posting
from benchmarks.ingest import PATH, TOKEN, TOKENS, free_port, p99, process
from benchmarks.program import assembled, memory
from benchmarks.report import Report
from kube_ballast import wsgi

FLOOD: Final = 10_000
FLOOD_SECONDS: Final = 60
BUDGET: Final = 20
BELIEVABLE: Final = 100
"""More targets than the budget, so that both the brake and the budget have to hold."""
WAITING: Final = 1_000
STARTING: Final = 200
PER_SECOND: Final = 5
SETTLED_WITHIN: Final = 120.0
MIB: Final = 2**20
CLUSTERS: Final = 8


def run(report: Report) -> None:
    """The suite `guards`."""
    with tempfile.TemporaryDirectory(prefix="ballast-bench-") as folder, monitoring() as url:
        _flood(report, Path(folder), url)
    with tempfile.TemporaryDirectory(prefix="ballast-bench-") as folder, monitoring() as url:
        _queue(report, Path(folder), url)


def _flood(report: Report, folder: Path, monitoring_url: str) -> None:
    setting = Setting(str(folder), free_port(), monitoring_url, BELIEVABLE, BUDGET)
    with served(setting) as most_memory:
        latencies = _sent(setting, "flood", FLOOD, FLOOD_SECONDS)
        _until(setting, lambda store: _count(store, runs.c.state == RunState.RECEIVED) == 0)
        report.at_most("guards_flood_memory", most_memory() / MIB, "MiB", 200)
    report.at_least("guards_flood_accepted", len(latencies), "alerts", FLOOD)
    report.at_most("guards_flood_ingest_p99", p99(latencies), "seconds", 0.050)
    effects = (folder / "effects").read_text().splitlines() if (folder / "effects").exists() else []
    report.at_most("guards_flood_actions", len(effects), "actions", BUDGET)
    report.at_least("guards_flood_actions_before_the_brake", len(effects), "actions", 1)
    with Store(folder / "remediator.db") as store:
        report.at_least("guards_flood_runs", _count(store), "runs", FLOOD)
        report.at_least("guards_flood_suppressed", _count(store, runs.c.state == RunState.SUPPRESSED), "runs", 1)
        _decide(report, store)


def _decide(report: Report, store: Store) -> None:
    """All ledger guards on one alert, on a store that holds the flood."""
    taken = []
    for number in range(1_000):
        request = ClaimRequest(
            run_id="nobody",
            target=Target("c0", "bench", f"flood-{number}"),
            plan_hash="",
            locks=("c0/target/x", "c0/lock/control-plane"),
            domains=("c0/domain/x",),
            limits={},
            population=FLOOD,
            terms=Terms(Budget(runs=BUDGET, percent=None, window=86400.0), cooldown=1800.0),
            valid_until=time.monotonic() + 60,
        )
        began = time.perf_counter()
        store.read(ledger.judge, request, (*LEDGER_GUARDS, *LOCK_GUARDS), ledger.Host())
        taken.append(time.perf_counter() - began)
    report.at_most("guards_decide_p99", p99(taken), "seconds", 0.005)
    report.shown("guards_decide_p50", statistics.median(taken), "seconds")


def _queue(report: Report, folder: Path, monitoring_url: str) -> None:
    """The first run of c0 holds its lock for as long as its file is there; a thousand wait for it."""
    setting = Setting(str(folder), free_port(), monitoring_url, 10**6, 10**6)
    (folder / "held").touch()
    with served(setting):
        _sent(setting, "holder", 1, 1)
        _until(setting, lambda store: _count(store, runs.c.state == RunState.RUNNING) == 1)
        _sent(setting, "waiting", WAITING, 10)
        _until(setting, lambda store: _count(store, runs.c.waiting_for.is_not(None)) == WAITING)
        _sent(setting, "starting", STARTING, STARTING // PER_SECOND)
        _until(setting, lambda store: _count(store, runs.c.state == RunState.SUCCEEDED) >= STARTING)
        (folder / "held").unlink()
    with Store(folder / "remediator.db") as store:
        waits = store.read(_from_queued_to_first_step)
    report.at_least("guards_started_behind_a_thousand", len(waits), "runs", STARTING)
    report.at_most("guards_first_step_p99", p99(waits), "seconds", 0.200)
    report.shown("guards_first_step_p50", statistics.median(waits), "seconds")


def _from_queued_to_first_step(connection: Any) -> list[float]:  # noqa: ANN401 - the store's
    query = (
        select(audit.c.run_id, audit.c.event, audit.c.at)
        .join(runs, runs.c.id == audit.c.run_id)
        .where(runs.c.target.like("starting-%"), audit.c.event.in_(("queued", "step_started")))
        .order_by(audit.c.seq)
    )
    first: dict[tuple[str, str], float] = {}
    for row in connection.execute(query):
        first.setdefault((row.run_id, row.event), row.at)
    return [at - first[run_id, "queued"] for (run_id, event), at in first.items() if event == "step_started"]


def _count(store: Store, *conditions: Any) -> int:  # noqa: ANN401 - SQL
    return len(store.read(lambda connection: connection.execute(select(runs.c.id).where(*conditions)).all()))


# --- the program under test ---


@dataclass(frozen=True)
class Setting:
    """What the serving process has to know."""

    folder: str
    port: int
    monitoring: str
    believable: int
    budget: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"


@dataclass(frozen=True)
class _World:
    valid_until: float
    population: int = FLOOD


class _Act(Step):
    """Notes its effect; where it stands for a long one, waits until a file is gone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec, context
        return Observed(Progress.NOT_DONE, "not there")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        with (self._folder / "effects").open("a", encoding="utf-8") as effects:
            effects.write(f"{spec.target}\n")
        while spec.target.startswith("holder") and (self._folder / "held").exists():
            context.wait(0.1)
        return Done("noted")


class _Noting:
    """A runbook for which there is always something to do, and which does next to nothing."""

    name = "bench"
    target_label = "etcd_cluster"
    sources: tuple[ModuleType, ...] = ()
    permissions = Permissions()
    reversibility = Reversibility.REVERSIBLE
    undo = "nothing to undo"
    locks = ("control-plane",)
    guards: tuple[WorldGuard[_World], ...] = ()

    def __init__(self, folder: Path) -> None:
        self.steps: Mapping[str, Step] = {"act": _Act(folder)}
        self._target = threading.local()

    def knows(self, target: Target) -> bool:
        del target
        return True

    def observe(self, alert: Alert, target: Target) -> _World:
        del alert
        self._target.name = target.name
        return _World(time.monotonic() + 30)

    def plan(self, world: _World) -> Plan:
        del world
        return Plan("act", (), (StepSpec("act", self._target.name, "note it"),), {}, disturbs=(self._target.name,))

    def verify(self, context: StepContext) -> Done:
        del context
        return Done("it is noted")


def service(setting: Setting) -> wsgi.Service:
    """The program as `ballast_remediator.app.service` puts it together, but for its runbook and its policy."""
    folder = Path(setting.folder)
    nobody = f"http://127.0.0.1:{free_port()}"
    one = {
        "etcd": [{"members": [{"endpoint": nobody}]}],
        "prometheus": {"url": setting.monitoring},
        "alertmanagers": [{"url": setting.monitoring}],
    }
    for file, text in (("tokens.yaml", TOKENS), ("policy.yaml", "rules: []\n")):
        (folder / file).write_text(text)
    config = Config.model_validate(
        {
            "store": {"path": folder / "remediator.db"},
            "tokens_file": folder / "tokens.yaml",
            "policy_file": folder / "policy.yaml",
            "snapshots": {"directory": folder / "snapshots"},
            "clusters": {f"c{number}": one for number in range(CLUSTERS)},
        }
    )
    rule = Rule.model_construct(
        runbook="bench", match={}, mode=Mode.AUTO, budget=BudgetRule(runs=setting.budget), cooldown=1.0
    )
    content = PolicyFile.model_construct(rules=(rule,), brake=BrakeRule(targets=setting.believable))
    return assembled(config, _Noting(folder), content)


@contextmanager
def served(setting: Setting) -> Iterator[Any]:
    """The program, serving; gives what tells the most memory that its processes had so far, in bytes."""
    content = json.dumps([setting.folder, setting.port, setting.monitoring, setting.believable, setting.budget])
    command = [sys.executable, "-m", "benchmarks.guards", "serve", content]
    with process(command, setting.port, "/healthz") as started:
        yield partial(memory, started.pid)


def _until(setting: Setting, so: Any) -> None:  # noqa: ANN401 - a question to the store
    """Waits until the store, read from outside, says so."""
    give_up = time.monotonic() + SETTLED_WITHIN
    reader = _Reader(Path(setting.folder) / "remediator.db")
    while not so(reader):
        if time.monotonic() > give_up:
            raise TimeoutError("the runs did not come to where they should")
        time.sleep(0.2)


class _Reader:
    """Reads a store that another process has open."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")

    def read(self, operation: Any) -> Any:  # noqa: ANN401 - as `Store.read`
        with self._engine.connect() as connection:
            return operation(connection)


# --- who calls every alert true ---


class _True(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        content: object = [_held(parse_qs(parts.query))] if parts.path == "/api/v2/alerts" else []
        if parts.path == "/api/v1/query":
            labels = _labels(parse_qs(parts.query)["query"][0])
            series = {"metric": labels, "value": [time.time(), "1.5"]}
            content = {"status": "success", "data": {"resultType": "vector", "result": [series]}}
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _held(question: Mapping[str, list[str]]) -> Mapping[str, object]:
    """The alert that Alertmanager is asked for."""
    long_ago = "2026-01-01T00:00:00Z"
    return {
        "labels": {name: json.loads(value) for name, _, value in (one.partition("=") for one in question["filter"])},
        "annotations": {},
        "startsAt": long_ago,
        "endsAt": long_ago,
        "updatedAt": long_ago,
        "fingerprint": "0",
        "receivers": [],
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []},
    }


def _labels(question: str) -> dict[str, str]:
    """Those that the question asks for, as a series that answers it has them."""
    inside = question.partition("{")[2].partition("}")[0]
    return {name: json.loads(value) for name, _, value in (one.partition("=") for one in inside.split(","))}


@contextmanager
def monitoring() -> Iterator[str]:
    """Prometheus and Alertmanager in one small server: every alert fires, and nobody silenced it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


# --- the sender ---


def _sent(setting: Setting, name: str, count: int, seconds: int) -> list[float]:
    """Seconds from due to answered of each accepted alert, one a POST, sent by a process of its own."""
    command = [sys.executable, "-m", "benchmarks.guards", "send", setting.url, name, str(count), str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=seconds + 120, check=True)
    return [float(one) for one in json.loads(done.stdout)]


def _posts(url: str, name: str, count: int) -> Iterator[bytes]:
    """Those that wait share a cluster with the run that holds its lock; the others have seven clusters of their own."""
    for number in range(count):
        cluster = f"c{1 + number % (CLUSTERS - 1)}" if name == "starting" else "c0"
        target = f"{name}-{number}"
        yield posting.request(url, TOKEN, [{"ballast_runbook": "bench", "cluster": cluster, "etcd_cluster": target}])


def _main(what: str, *arguments: str) -> None:
    if what == "serve":
        setting = Setting(*json.loads(arguments[0]))
        wsgi.serve(partial(service, setting), "127.0.0.1", setting.port, blocking_threads=THREADS)
    else:
        url, name, count, seconds = arguments
        rate = int(count) / int(seconds)
        sys.stdout.write(json.dumps(asyncio.run(posting.open_loop(url, _posts(url, name, int(count)), rate))))


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    _main(*sys.argv[1:])
