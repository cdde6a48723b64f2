"""`make bench [SUITE=…]`: runs the suites, prints their figures, exits 1 when one misses its target."""

import sys
from pathlib import Path

from benchmarks import apiserver, apiserver_real, census, etcd, exporter, guards, ingest, stall, store
from benchmarks.report import Report

SUITES = {
    "exporter": exporter.run,
    "apiserver": apiserver.run,
    "ingest": ingest.run,
    "store": store.run,
    "guards": guards.run,
    "census": census.run,
    "etcd": etcd.run,
    "apiserver-real": apiserver_real.run,
    "stall": stall.run,
}
FILE = Path("build/bench.jsonl")


def main(wanted: str) -> int:
    """Exit code 2 for a suite that does not exist."""
    if wanted != "all" and wanted not in SUITES:
        print(f"there is no suite {wanted!r}; there are: all, {', '.join(SUITES)}", file=sys.stderr)
        return 2
    FILE.unlink(missing_ok=True)
    report = Report(sys.stdout, FILE)
    for name, run in SUITES.items():
        if wanted in {"all", name}:
            run(report)
    for name in report.missed:
        print(f"missed its target: {name}", file=sys.stderr)
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "all"))
