"""What a census of a million keys costs, beside `etcdctl get /registry --prefix --keys-only` on the same etcd.

One etcd on loopback, 1,000,000 keys of 500 bytes. Wall times are taken in turns, as fast as it goes: `cold` knows
nothing of the keys; `warm` remembers the ranges and reads every key, and every value for sizes; `again` also remembers
what it read (`few_changed`: one key in a thousand was written since; `unchanged`: none). What etcd grows by is measured
on an etcd that has just been started, for a census and for etcdctl. A writer of 100 puts a second is watched without
and with a census at the default pace in turns. About fourteen minutes.

The counting process: ``python -m benchmarks.census count ENDPOINT METRICS_URL``; see ``count``.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from ballast_exporter.census import FAST, Cancelled, Counter, Progress, Settings
from ballast_exporter.census_members import connect
from benchmarks.exporter import fetch
from benchmarks.report import Report
from drills.stack import EtcdMember, Service, Stack, tool
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Put
from kube_ballast.config import EtcdConfig, EtcdMemberConfig

KEYS: Final = 1_000_000
VALUE_BYTES: Final = 500
PUTS_PER_TXN: Final = 120
ROUNDS: Final = 5
WINDOWS: Final = 6
WINDOW_SECONDS: Final = 12
PUTS_PER_SECOND: Final = 100
RESOURCES: Final = ("configmaps", "events", "leases", "pods", "secrets")
TIMEOUT: Final = 60.0
MIB: Final = 2**20
ETCD_FLAGS: Final = {"snapshot-count": "50"}
"""So that what a restarted etcd holds in memory is its index, and not the log of how it was filled."""


def run(report: Report) -> None:
    """The suite `census`."""
    with Stack() as stack:
        etcd = stack.etcd(quota_bytes=8 * 2**30, flags=ETCD_FLAGS)
        (member,) = etcd.members
        say("filling etcd")
        fill(member)
        member.stop()
        member.restart()
        _growth_of_etcd(report, member, etcd.config)
        _wall_times(report, member, etcd.config)
        _memory_of_the_exporter(report, stack, etcd.config)
        _writer(report, member)


def say(what: str) -> None:
    """For people who watch."""
    print(what, file=sys.stderr, flush=True)


# --- the keyspace ---


def key(number: int) -> bytes:
    """200,000 keys of each resource, 200 to a namespace."""
    resource = RESOURCES[number * len(RESOURCES) // KEYS]
    return f"/registry/{resource}/namespace-{number // 200:04}/object-{number:07}".encode()


def fill(member: EtcdMember) -> None:
    """Writes every key once."""
    value = os.urandom(VALUE_BYTES)
    with EtcdClient(member.endpoint) as client, ThreadPoolExecutor(4) as pool:

        def write(first: int) -> None:
            numbers = range(first, min(first + PUTS_PER_TXN, KEYS))
            client.txn([], [Put(key(number), value) for number in numbers], timeout=TIMEOUT)

        for _ in pool.map(write, range(0, KEYS, PUTS_PER_TXN)):
            pass


def touch(member: EtcdMember) -> None:
    """Writes one key of every range again, and leaves all sizes what they are."""
    value = os.urandom(VALUE_BYTES)
    with EtcdClient(member.endpoint) as client:
        numbers = [*range(0, KEYS, 1000)]
        for first in range(0, len(numbers), PUTS_PER_TXN):
            client.txn(
                [], [Put(key(number), value) for number in numbers[first : first + PUTS_PER_TXN]], timeout=TIMEOUT
            )


# --- memory ---


def anonymous_bytes(pid: int) -> int:
    """RssAnon, that is without the mapped pages of a database, of a process and those that it has started."""
    return sum(_anonymous_bytes(each) for each in (pid, *_children(pid)))


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, found) for each in (child, *_children(child))]


def _anonymous_bytes(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


@contextmanager
def peak(pid: int) -> Iterator[list[int]]:
    """RssAnon as it was at the start, and then at its highest, looked at every 20 ms."""
    seen = [anonymous_bytes(pid)] * 2
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            seen[1] = max(seen[1], anonymous_bytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _growth_of_etcd(report: Report, member: EtcdMember, config: EtcdConfig) -> None:
    say("etcd's memory: a cold census and two warm ones, then etcdctl")
    counter = _counter(config)
    with peak(member.pid) as seen:
        for _ in range(3):
            counter.run()
    counter.close()
    report.at_most("census_etcd_growth", (seen[1] - seen[0]) / MIB, "MiB", 150)
    member.stop()
    member.restart()
    with peak(member.pid) as seen:
        etcdctl(member)
    report.shown("census_etcd_growth_by_etcdctl", (seen[1] - seen[0]) / MIB, "MiB")
    member.stop()
    member.restart()


# --- wall times ---


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def etcdctl(member: EtcdMember) -> None:
    """What people do today."""
    command = [str(tool("etcdctl")), "--endpoints", member.endpoint, "--command-timeout=120s"]
    subprocess.run([*command, "get", "/registry", "--prefix", "--keys-only"], stdout=subprocess.DEVNULL, check=True)


def _counter(config: EtcdConfig, measure: int | None = None) -> Counter:
    return Counter(connect(config), replace(FAST, measure=measure))


def _wall_times(report: Report, member: EtcdMember, config: EtcdConfig) -> None:
    taken: dict[str, list[float]] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        taken.setdefault(name, []).append(seconds_of(work))

    for number in range(ROUNDS):
        say(f"wall times, round {number + 1} of {ROUNDS}")
        note("etcdctl", lambda: etcdctl(member))
        for kind, measure in (("keys", 0), ("exact", None)):
            counter = _counter(config, measure)
            note(f"cold_{kind}", counter.run)
            note(f"warm_{kind}", counter.run)
            counter.run()  # ranges have settled now
            note(f"again_unchanged_{kind}", counter.run)
            note("sweep", counter.sweep)
            touch(member)
            note(f"again_few_changed_{kind}", counter.run)
            counter.close()
    wall = {name: statistics.median(times) for name, times in taken.items()}
    for name in sorted(wall.keys() - {"sweep"}):
        report.shown(f"census_wall_{name}", wall[name], "s")
    for state in ("warm", "again_few_changed", "again_unchanged"):
        report.at_most(f"census_{state}_keys_by_etcdctl", wall[f"{state}_keys"] / wall["etcdctl"], "ratio", 1.0)
        report.at_most(f"census_{state}_exact_by_etcdctl", wall[f"{state}_exact"] / wall["etcdctl"], "ratio", 1.3)
    report.at_most("census_count_only_sweep", wall["sweep"], "s", 1.0)


# --- the exporter ---


def _memory_of_the_exporter(report: Report, stack: Stack, config: EtcdConfig) -> None:
    say("the exporter's memory, with censuses as fast as it goes and without any")
    without = _exporter(stack, config, {"enabled": False})
    base = anonymous_bytes(without.process.pid)
    without.process.stop()
    fast = {"every": "1s", "keys_per_second": 1e9, "bytes_per_second": "1TiB", "interval": "1s", "deadline": "1s"}
    service = _exporter(stack, config, fast)
    with peak(service.process.pid) as seen:
        ended: set[str] = set()
        gives_up = time.monotonic() + 300
        while len(ended) < 4:
            if time.monotonic() > gives_up:
                raise RuntimeError("the exporter ended no four censuses in five minutes")
            ended |= {line for line in fetch(service, "/metrics").splitlines() if "_census_timestamp_seconds{" in line}
            time.sleep(0.2)
    service.process.stop()
    report.at_most("census_exporter_growth", (seen[1] - base) / MIB, "MiB", 100)


def _exporter(stack: Stack, config: EtcdConfig, keyspace: dict[str, object]) -> Service:
    return stack.exporter(config={"etcd": [config], "collectors": {"etcd_keyspace": keyspace}})


# --- the writer ---


def _writer(report: Report, member: EtcdMember) -> None:
    p99s: dict[str, list[float]] = {"alone": [], "cold": [], "warm": []}
    with counting(member, "cold") as cold, counting(member, "warm") as warm, EtcdClient(member.endpoint) as client:
        say("warming up")
        beside = {"cold": cold, "warm": warm}
        for child in beside.values():
            child.hold()
        window(client)
        for number in range(WINDOWS):
            say(f"the writer, windows {number + 1} of {WINDOWS}")
            for name, taken in p99s.items():
                if name in beside:
                    beside[name].go()
                taken.append(p99(window(client)))
                if name in beside:
                    beside[name].hold()
        spread = max(p99s["alone"]) / min(p99s["alone"])
        report.shown("census_writer_p99_spread_between_windows_alone", spread, "ratio")
        medians = {name: statistics.median(taken) for name, taken in p99s.items()}
        for name, median in medians.items():
            report.shown(f"census_writer_p99_{name}", median, "s")
        for name in beside:
            ratio = medians[name] / medians["alone"]
            report.at_most(f"census_writer_p99_{name}_by_alone", ratio, "ratio", max(1.1, spread))
        say("a whole census at the default pace")
        report.at_most("census_default_pace", cold.whole_census(), "s", 600)


def window(client: EtcdClient) -> list[float]:
    """Latencies of puts that are due at a fixed rate, counted from when each was due."""
    began, taken = time.perf_counter(), []
    value = os.urandom(VALUE_BYTES)
    for number in range(WINDOW_SECONDS * PUTS_PER_SECOND):
        due = began + number / PUTS_PER_SECOND
        time.sleep(max(0.0, due - time.perf_counter()))
        client.put(b"/registry/leases/kube-node-lease/node-%04d" % (number % 1000), value, timeout=TIMEOUT)
        taken.append(time.perf_counter() - due)
    return taken


def p99(taken: Sequence[float]) -> float:
    """In seconds."""
    return statistics.quantiles(taken, n=100)[98]


class Child:
    """The counting process, as its parent sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go(self) -> None:
        """Returns once it reads."""
        self._tell("go")
        self._line("reading")

    def hold(self) -> None:
        """Returns once it has stopped between two requests."""
        self._tell("hold")
        self._line("held")

    def whole_census(self) -> float:
        """Seconds of the next census that is made without a pause."""
        self._tell("afresh")
        return float(json.loads(self._line("{"))["seconds"])

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _line(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        raise RuntimeError("the counting process has ended")


@contextmanager
def counting(member: EtcdMember, state: str) -> Iterator[Child]:
    """A process that counts at the default pace; it holds until it is told to go. `state` is as in ``count``."""
    command = [sys.executable, "-m", "benchmarks.census", "count", member.endpoint, member.metrics_url, state]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Child(process)
        finally:
            process.terminate()


def count(endpoint: str, metrics_url: str, state: str) -> None:
    """Counts at the default pace, again and again, in a process of its own.

    `warm` has counted twice before, as fast as it goes. It obeys the lines `hold` (and says `held`), `go` (and says
    `reading`), and `afresh`: then it forgets what it knows, makes one census without a pause, and says how many seconds
    that took, in JSON.
    """
    config = EtcdConfig(members=(EtcdMemberConfig(endpoint=endpoint, metrics_url=metrics_url),))
    going, afresh = threading.Event(), threading.Event()

    def obey() -> None:
        for line in sys.stdin:
            word = line.strip()
            if word == "hold":
                going.clear()
                continue
            if word == "afresh":
                afresh.set()
            going.set()

    def progress(_: Progress) -> None:
        if not going.is_set():
            print("held", flush=True)
            going.wait()
            print("reading", flush=True)

    counter = Counter(connect(config), Settings(pace=None))
    for _ in range(2 if state == "warm" else 0):
        counter.run()
    counter.settings = Settings()
    threading.Thread(target=obey, daemon=True).start()
    while not afresh.is_set():
        with suppress(Cancelled):
            counter.run(progress=progress, cancel=afresh)
    print(json.dumps({"seconds": seconds_of(Counter(connect(config)).run)}), flush=True)


if __name__ == "__main__":
    count(*sys.argv[2:])
