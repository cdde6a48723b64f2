"""What the durable core carries, on SQLite and on PostgreSQL: ingest, a queue that is drained, takeover, the run list.

Ingest is compared in turns with a bare app that commits a row per POST on the same store (`benchmarks.ingest`). The
queue is of runs that do nothing, in four steps, each observed, intended, acted and written down, by the real engine on
the real store. Loopback only; about eight minutes.
"""

import gc
import os
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, func, insert, select

from ballast_remediator import queries
from ballast_remediator.config import StoreConfig
from ballast_remediator.contract import FINAL, RunState
from ballast_remediator.store import schema
from ballast_remediator.store.database import Store
from benchmarks import draining, ingest
from benchmarks.draining import HELD, Setting
from benchmarks.program import Memory, family
from benchmarks.report import Report
from drills.stack import Postgresql, Stack

T = TypeVar("T")

QUEUED: Final = 5_000
DRAINED_WITHIN: Final = 300.0
STEADY_SECONDS: Final = 15
LISTED: Final = 100_000
RARE: Final = 100
"""Runs of each other state than `succeeded`: the oldest ones, so that a list of them has the longest way."""
LOOKS: Final = 200
"""At each list: of fewer, a 99th percentile would be the slowest one of them, or guessed from it."""
LEASE: Final = 2.0
TAKEOVERS: Final = 7
SOON: Final = 60.0
FSYNC_SECONDS: Final = 3.0
MIB: Final = 2**20


@dataclass(frozen=True)
class _Place:
    """One kind of store: the configuration of an empty one, the bare app's arguments of another, and a reader."""

    name: str
    folder: Path
    fresh: Callable[[], Mapping[str, str]]
    bare: Callable[[], tuple[str, ...]]
    ingest_ratio: float

    @contextmanager
    def setting(self) -> Iterator[Setting]:
        """An empty folder and an empty store."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            yield Setting(folder, self.fresh())


def run(report: Report) -> None:
    """The suite `store`."""
    with tempfile.TemporaryDirectory(prefix="ballast-bench-") as folder, Stack() as stack:
        report.shown("store_fsyncs", fsyncs(Path(folder)), "1/s")
        server = stack.postgresql()
        for place in (_sqlite(Path(folder)), _postgresql(Path(folder), server)):
            _ingest(report, place)
            _drain(report, place)
            _lists(report, place)
        _takeover(report, Path(folder), server)


def _sqlite(folder: Path) -> _Place:
    def file() -> str:
        return str(folder / f"{random.randbytes(4).hex()}.db")  # noqa: S311 - a name

    return _Place("sqlite", folder, lambda: {"path": file()}, lambda: (file(),), ingest_ratio=1.0)


def _postgresql(folder: Path, server: Postgresql) -> _Place:
    password = str(server.password_file)
    return _Place(
        "postgresql",
        folder,
        lambda: {"postgresql": server.fresh(), "password_file": password},
        lambda: (server.fresh(), password),
        ingest_ratio=0.9,
    )


def fsyncs(folder: Path) -> float:
    """How many blocks the disk makes durable in a second, one after the other."""
    block = os.urandom(4096)
    count, began = 0, time.perf_counter()
    with (folder / "fsyncs").open("wb", buffering=0) as file:
        while time.perf_counter() - began < FSYNC_SECONDS:
            file.write(block)
            os.fdatasync(file.fileno())
            count += 1
    return count / (time.perf_counter() - began)


# --- ingest ---


def _ingest(report: Report, place: _Place) -> None:
    with place.setting() as setting, ExitStack() as stack:
        remediator = stack.enter_context(ingest.remediating(Path(setting.folder), setting.store))
        bare = stack.enter_context(ingest.bare_of(*place.bare()))
        ours, floor, _ = ingest.highest(remediator, bare)
        half = max(1, int(ours / 2))
        latencies = ingest.load("open", remediator, STEADY_SECONDS, half)
        least = ingest.p99(ingest.load("open", bare, STEADY_SECONDS // 3, half))
    report.shown(f"store_{place.name}_ingest_rate", ours, "notifications/s")
    report.shown(f"store_{place.name}_ingest_rate_floor", floor, "notifications/s")
    report.at_least(f"store_{place.name}_ingest_ratio", ours / floor, "ratio", place.ingest_ratio)
    report.at_most(f"store_{place.name}_ingest_p99_at_half", ingest.p99(latencies), "seconds", 0.025)
    report.shown(f"store_{place.name}_ingest_p99_floor", least, "seconds")
    report.at_least(f"store_{place.name}_ingest_at_half", len(latencies), "notifications", STEADY_SECONDS * half)


# --- a queue ---


def _drain(report: Report, place: _Place) -> None:
    with place.setting() as setting:
        with draining.opened(setting) as store:
            draining.queue(store, [f"target-{number}" for number in range(QUEUED)])
        with _reading(setting) as engine, draining.served(setting) as pid, Memory(pid) as memory:
            _until(lambda: _of(engine, _ended).count == QUEUED, within=DRAINED_WITHIN)
            found = _of(engine, _ended)
    report.at_least(f"store_{place.name}_drained", found.succeeded, "runs", QUEUED)
    report.at_least(f"store_{place.name}_drain_rate", QUEUED / (found.last - found.first), "runs/s", 150)
    report.at_most(f"store_{place.name}_drain_memory", memory.most / MIB, "MiB", 150)


def _ended(connection: Connection) -> Any:  # noqa: ANN401 - a row
    runs = schema.runs.c
    return connection.execute(
        select(
            func.count().label("count"),
            func.count().filter(runs.state == RunState.SUCCEEDED).label("succeeded"),
            func.min(runs.started_at).label("first"),
            func.max(runs.finished_at).label("last"),
        ).where(runs.state.in_(FINAL))
    ).one()


@contextmanager
def _reading(setting: Setting) -> Iterator[Engine]:
    """Reads a store beside the program that has it open."""
    config = StoreConfig.model_validate(setting.store)
    if config.path is not None:
        engine = create_engine(f"sqlite:///file:{config.path}?mode=ro&uri=true")
    else:
        assert config.postgresql is not None
        assert config.password_file is not None
        secret = {"password": config.password_file.read_text().strip()}
        engine = create_engine(config.postgresql.replace("postgresql:", "postgresql+psycopg:"), connect_args=secret)
    try:
        yield engine
    finally:
        engine.dispose()


def _of(engine: Engine, question: Callable[[Connection], Any]) -> Any:  # noqa: ANN401 - whatever was asked
    with engine.connect() as connection:
        return question(connection)


def _until(so: Callable[[], T | None], *, within: float = SOON) -> T:
    give_up = time.monotonic() + within
    while not (found := so()):
        if time.monotonic() > give_up:
            raise TimeoutError("the runs did not come to where they should")
        time.sleep(0.25)
    return found


# --- the run list ---


def _lists(report: Report, place: _Place) -> None:
    with place.setting() as setting, draining.opened(setting) as store:
        for start in range(0, LISTED, 5_000):
            store.write(_add, range(start, start + 5_000))
        store.write(_as_after_a_while)
        slowest, which = max(
            (_p99_of_list(store, limit, state), f"state {state}, limit {limit}")
            for limit in (50, 500)
            for state in (None, *RunState)
        )
    report.at_most(f"store_{place.name}_list_p99 ({which})", slowest, "seconds", 0.050)


def _add(connection: Connection, numbers: range) -> None:
    now = time.time()
    others = [state for state in RunState if state is not RunState.SUCCEEDED]
    connection.execute(
        insert(schema.runs),
        [_row(number, others[number // RARE] if number < RARE * len(others) else None, now) for number in numbers],
    )


def _as_after_a_while(connection: Connection) -> None:
    """What a program that serves has behind it: autovacuum's statistics of the table, and a collector's frozen heap."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ANALYZE runs")
    gc.collect()
    gc.freeze()


def _row(number: int, state: RunState | None, now: float) -> Mapping[str, object]:
    at = now - LISTED + number
    labels = {"alertname": "EtcdFreeSpaceNeeded", "etcd_cluster": f"etcd-{number}", "severity": "none"}
    alert = {"fingerprint": f"{number:016x}", "labels": labels, "annotations": {"summary": "x" * 100}}
    step = {"kind": "defragment", "target": f"etcd-{number}", "words": "x" * 60, "params": {}}
    return {
        "id": f"{number:08x}",
        "cluster": "production",
        "runbook": "etcd-free-space",
        "target": f"etcd-{number}",
        "state": state or RunState.SUCCEEDED,
        "reason": "x" * 80,
        "alert": {**alert, "firing": True, "starts_at": at},
        "plan": {"summary": "x" * 80, "because": ["x" * 80] * 4, "steps": [step] * 8, "limits": {}, "answers": []},
        "created_at": at,
        "updated_at": at,
        "due_at": at,
        "finished_at": at if state is None or state in FINAL else None,
    }


def _p99_of_list(store: Store, limit: int, state: RunState | None) -> float:
    taken = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        queries.runs(store, limit=limit, state=state)
        taken.append(time.perf_counter() - began)
    return ingest.p99(taken)


# --- takeover ---


def _takeover(report: Report, folder: Path, server: Postgresql) -> None:
    setting = Setting(str(folder), {"postgresql": server.fresh(), "password_file": str(server.password_file)}, LEASE)
    taken = []
    with ExitStack() as stack:
        engine = stack.enter_context(_reading(setting))
        store = stack.enter_context(draining.opened(setting))
        programs = {stack.enter_context(draining.served(setting)) for _ in range(2)}
        for target in (f"{HELD}{number}" for number in range(TAKEOVERS)):
            (folder / target).touch()
            draining.queue(store, [target])
            worker = _until(partial(_of, engine, partial(_worker, target=target)))
            (dead,) = (pid for pid in programs if worker in family(pid))
            killed = time.time()
            os.kill(dead, signal.SIGKILL)  # the kernel kills its worker with it
            taken.append(_until(partial(_of, engine, partial(_taken_over, target=target))) - killed)
            (folder / target).unlink()
            programs = programs - {dead} | {stack.enter_context(draining.served(setting))}
    report.at_most("store_takeover_worst", max(taken) / LEASE, "leases", 2.0)
    report.shown("store_takeover_median", statistics.median(taken) / LEASE, "leases")


def _worker(connection: Connection, target: str) -> int | None:
    """The process that is in the middle of that target's step."""
    runs, steps, replicas = schema.runs, schema.steps, schema.replicas
    words = connection.execute(
        select(replicas.c.words)
        .join(runs, runs.c.owner == replicas.c.id)
        .join(steps, steps.c.run_id == runs.c.id)
        .where(runs.c.target == target, steps.c.intended_at.is_not(None))
    ).scalar()
    return None if words is None else int(words.rpartition(" ")[2])


def _taken_over(connection: Connection, target: str) -> float | None:
    """When, by the database's clock, which is this machine's."""
    runs, audit = schema.runs, schema.audit
    return connection.execute(
        select(audit.c.at)
        .join(runs, runs.c.id == audit.c.run_id)
        .where(runs.c.target == target, audit.c.event == "taken_over")
    ).scalar()
