"""What an audit backend costs an apiserver, in its p99 and in processor time.

Two apiservers on one etcd, with an audit backend and without, and nobody else who asks them. The Leases of all nodes
are renewed at a steady rate through the one and the other in turns. Two neighbouring windows make a pair, in changing
order, so that what troubles the machine for longer than a window troubles both. What is told is the p99 of all windows
with audit to that of all without. Latencies count from when each was due; CPU time is the processes' own.

What is late comes in clusters, such as when an apiserver collects garbage: many windows are needed. Where the target
lies within the interval of 95 %, the figure is not known.
"""

import asyncio
import gc
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.apiserver_figures import Ratio, p99, p99_ratio
from benchmarks.apiserver_load import Lines, Renewals, front_proxy, leases, steady
from benchmarks.report import Report
from drills.stack import ControlPlane, Service
from drills.stack.families import cpu_seconds

PAIRS: Final = 36
WINDOW_SECONDS, WARM_SECONDS = 10.0, 5.0
"""A warm-up is as long as a batch of audit events waits: those of the window before have been sent when it ends."""
PUTS_PER_SECOND: Final = 100.0
"""As the census' writer: a machine that is full would measure its own queues."""
MOST: Final = 1.05


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds from due to answered of each request, and seconds of processor time for each."""

    taken: list[float]
    apiserver: float
    exporter: float


def measure(report: Report, watched: ControlPlane, plain: ControlPlane, exporter: Service) -> None:
    """Of ``watched``, whose events ``exporter`` takes, beside ``plain``."""
    seen = asyncio.run(_windows({"with_audit": watched, "without_audit": plain}, exporter))
    for name, windows in seen.items():
        print(f"  {name:14} {' '.join(f'{p99(each.taken) * 1000:.1f}' for each in windows)} ms", file=sys.stderr)
        every = [taken for each in windows for taken in each.taken]
        report.shown(f"apiserver_real_median_{name}", statistics.median(every) * 1000, "ms")
        report.shown(f"apiserver_real_p99_{name}", p99(every) * 1000, "ms")
        for whose in ("apiserver", "exporter"):
            cpu = statistics.median(getattr(each, whose) for each in windows)
            report.shown(f"apiserver_real_cpu_of_{whose}_{name}", cpu * 1e6, "us/request")
    tell(report, p99_ratio(*([each.taken for each in windows] for windows in seen.values())))


def tell(report: Report, found: Ratio) -> None:
    """The ratio with audit to without, where its interval leaves no doubt of the target."""
    report.shown("apiserver_real_p99_with_by_without_low", found.low, "ratio")
    report.shown("apiserver_real_p99_with_by_without_high", found.high, "ratio")
    if found.low <= MOST < found.high:
        why = f"measured {found.value:.3f}, and with 95 % it lies from {found.low:.3f} to {found.high:.3f}"
        report.not_known("apiserver_real_p99_with_by_without", "ratio", MOST, why)
    else:
        report.at_most("apiserver_real_p99_with_by_without", found.value, "ratio", MOST)


async def _windows(planes: dict[str, ControlPlane], exporter: Service) -> dict[str, list[Window]]:
    first = front_proxy(planes["with_audit"])
    renewals = await leases(first)
    first.close()
    seen: dict[str, list[Window]] = {name: [] for name in planes}
    with _uncollected():
        for number in range(PAIRS):
            print(f"renewals, pair {number + 1} of {PAIRS}", file=sys.stderr, flush=True)
            # The order turns, so that neither always follows the other.
            for name in sorted(planes, reverse=bool(number % 2)):
                # Connections of its own: an apiserver ends those that nobody used for 90 s.
                way = front_proxy(planes[name])
                await steady(renewals.through(way), PUTS_PER_SECOND, WARM_SECONDS)
                gc.collect()
                pids = (planes[name].apiservers[0].process.pid, exporter.process.pid)
                seen[name].append(await _window(renewals, way, pids))
                way.close()
    return seen


@contextmanager
def _uncollected() -> Iterator[None]:
    """Python's own pauses are no latency of an apiserver's."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


async def _window(renewals: Renewals, way: Lines, pids: Sequence[int]) -> Window:
    before = [cpu_seconds(pid) for pid in pids]
    taken = await steady(renewals.through(way), PUTS_PER_SECOND, WINDOW_SECONDS)
    apiserver, served = (cpu_seconds(pid) - was for pid, was in zip(pids, before, strict=True))
    return Window(taken, apiserver / len(taken), served / len(taken))
