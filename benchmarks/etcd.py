"""From NOSPACE to the first successful write, unattended: the demo's story, small and at production's settings."""

import sys
from typing import Final

from benchmarks.report import Report
from drills.space import DEMO, PRODUCTION, Drill, Settings, start
from drills.stack import Stack

CASES: Final = (("64_mib_5s_intervals", DEMO, 60.0), ("2_gib_stock_intervals", PRODUCTION, 300.0))


def run(report: Report) -> None:
    """About two minutes for the first case and a quarter of an hour for the second."""
    for name, settings, target in CASES:
        _measure(report, name, settings, target)


def _measure(report: Report, name: str, settings: Settings, target: float) -> None:
    with Stack() as stack:
        drill = Drill(
            start(stack, settings), tell=lambda at, who, what: print(f"{at:8.1f} s  {who:<8} {what}", file=sys.stderr)
        )
        phases = drill.play()
    if phases.missing or phases.nospace is None or phases.restored is None or phases.warned is None:
        raise RuntimeError(f"{name}: never happened: {', '.join(phases.missing)}")
    nospace = phases.nospace
    report.at_most(f"nospace_to_first_write_{name}", phases.restored - nospace, "s", target)
    report.at_least(f"warned_before_nospace_{name}", nospace - phases.warned, "s", 0.0)
    for phase in ("fired", "accepted", "started", "cluster_restored"):
        report.shown(f"nospace_to_{phase}_{name}", getattr(phases, phase) - nospace, "s")
