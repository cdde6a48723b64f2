"""What an audit backend costs an apiserver, in its p99 and in processor time.

Two apiservers on one etcd, with an audit backend and without, and nobody else who asks them. The Leases of all nodes
are renewed at a steady rate through the one and the other in turns, in many short windows. Two neighbours make a pair,
in changing order, so that what troubles the machine for longer than a window troubles both. What is told is the median
of the pairs' ratios. Latencies count from when each was due; CPU time is the processes' own.

Windows without audit are compared with their next ones in the same way. Where those differ by more than the target
allows, the machine cannot tell, and neither does the figure.
"""

import asyncio
import gc
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from benchmarks.apiserver_figures import Ratio, known, p99, paired
from benchmarks.apiserver_load import Lines, Renewals, front_proxy, leases, steady
from benchmarks.report import Report
from drills.stack import ControlPlane, Service
from drills.stack.families import cpu_seconds

PAIRS: Final = 40
WINDOW_SECONDS, WARM_SECONDS = 4.0, 1.0
"""A warm-up is as long as a batch of audit events waits: those of the window before have been sent when it ends."""
PUTS_PER_SECOND: Final = 250.0
MOST: Final = 1.05


@dataclass(frozen=True, slots=True)
class Window:
    """p99 in seconds, and seconds of processor time for each request."""

    p99: float
    apiserver: float
    exporter: float


def measure(report: Report, watched: ControlPlane, plain: ControlPlane, exporter: Service) -> None:
    """Of ``watched``, whose events ``exporter`` takes, beside ``plain``."""
    seen = asyncio.run(_windows({"with_audit": watched, "without_audit": plain}, exporter))
    for name, windows in seen.items():
        print(f"  {name:14} {' '.join(f'{each.p99 * 1000:.1f}' for each in windows)} ms", file=sys.stderr)
        report.shown(f"apiserver_real_p99_{name}", statistics.median(each.p99 for each in windows) * 1000, "ms")
        for whose in ("apiserver", "exporter"):
            cpu = statistics.median(getattr(each, whose) for each in windows)
            report.shown(f"apiserver_real_cpu_of_{whose}_{name}", cpu * 1e6, "us/request")
    with_audit, without = ([each.p99 for each in seen[name]] for name in ("with_audit", "without_audit"))
    tell(report, paired(with_audit, without), paired(without[1:], without[:-1]))


def tell(report: Report, found: Ratio, floor: Ratio) -> None:
    """The ratio of pairs with and without audit, unless ``floor``, that of pairs without, is too far from 1."""
    for name, ratio in (("with_by_without_audit", found), ("without_audit_by_itself", floor)):
        for part, value in ratio._asdict().items():
            report.shown(f"apiserver_real_p99_{name}_{part}", value, "ratio")
    if known(floor, MOST):
        report.at_most("apiserver_real_p99_with_by_without", found.median, "ratio", MOST)
    else:
        why = f"without audit a window differs from the next by {floor.low:.3f} to {floor.high:.3f}"
        report.not_known("apiserver_real_p99_with_by_without", "ratio", MOST, why)


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
    return Window(p99(taken), apiserver / len(taken), served / len(taken))
