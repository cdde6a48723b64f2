"""`make dashboards-pictures`: each dashboard as an operator sees it while etcd fills, when it is full, and after.

Plays the demo's drill on real components and keeps its Prometheus for the pictures. The drawing itself is
`tools/pictures`, with Grafana's own components; it names every panel that has nothing to show.
"""

import math
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from drills.demo import Terminal
from drills.space import DEMO, Chain, Drill, Phases, start
from drills.stack import Stack
from tools.chromium import ChromiumError, chromium

ROOT = Path(__file__).resolve().parent.parent
DRAW = ROOT / "tools" / "pictures" / "build" / "main.js"
DASHBOARDS = ROOT / "dashboards"
PICTURES = ROOT / "docs" / "dashboards"
INTERVAL = 5
"""Seconds between two scrapes of the demo."""

BEFORE = 2 * INTERVAL
"""Seconds shown before the fill begins."""


def moments(began: float, phases: Phases) -> Mapping[str, float]:
    """When to look, in Unix seconds: warned of, paged for, and over. Raises `ValueError` for an unfinished drill."""
    warned, fired, over = phases.warned, phases.fired, phases.cluster_restored
    if warned is None or fired is None or over is None:
        raise ValueError(f"the drill did not come to its end: {', '.join(phases.missing)} missing")
    return {"filling": began + warned + INTERVAL, "full": _next_scrape(began + fired), "freed": began + over + INTERVAL}


def _next_scrape(at: float) -> float:
    """A second after the first moment that can show it: range queries are asked on multiples of the interval."""
    return (math.floor(at / INTERVAL) + 1) * INTERVAL + 1


def draw(chain: Chain, browser: Path, began: float, phases: Phases) -> int:
    """Draws all dashboards at all moments; gives the drawing's exit code: 1 when a panel has no data."""
    looks = moments(began, phases)
    time.sleep(max(0.0, max(looks.values()) - time.time()))  # the last look is just ahead
    argv = [
        *("node", str(DRAW)),
        *("--prometheus", chain.prometheus.url, "--chromium", str(browser), "--scrape", str(INTERVAL)),
        *("--from", f"{began - BEFORE:.3f}"),
        *(part for name, at in looks.items() for part in ("--moment", f"{name}={at:.3f}")),
        *("--out", str(PICTURES.relative_to(ROOT))),
        *(str(path.relative_to(ROOT)) for path in sorted(DASHBOARDS.glob("*.json"))),
    ]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


def main() -> int:
    """Exit code 1 when a panel has no data or the drill did not end well, 2 when nothing could be drawn."""
    terminal = Terminal()
    try:
        browser = chromium()
    except ChromiumError as error:
        print(error, file=sys.stderr)
        return 2
    terminal.line("playing the demo's drill, about two minutes ...")
    with Stack() as stack:
        chain = start(stack, DEMO)
        began = time.time()
        phases = Drill(chain, tell=terminal.tell, progress=terminal.progress).play()
        return draw(chain, browser, began, phases)


if __name__ == "__main__":
    sys.exit(main())
