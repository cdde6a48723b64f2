"""`make dashboards-pictures`: each dashboard as an operator sees it, in four stories.

The demo's drill: etcd fills with history, is full, and is freed. And a flood of Events into a keyspace like that of a
real cluster: live data fills it, and the dashboard has to say whose. And kubelets that flood an apiserver with requests
for ConfigMaps: the dashboards have to say who floods it, and what helps. And an apiserver whose channels to etcd stall:
the dashboard has to say which one's, and what helps.

    python -m drills.pictures [demo|events|configmaps|stall]

All on real components, whose Prometheus is kept for the pictures. The drawing itself is `tools/pictures`, with
Grafana's own components; it names every panel that has nothing to show.
"""

import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from drills import configmap_flood, stall_story
from drills.demo import Terminal
from drills.keyspace import churn, flood, plant, plant_strangers
from drills.kubelets import Load
from drills.space import DEMO, MIB, Drill, Phases, start
from drills.stack import Scrape, Service, Stack
from kube_ballast.clients.errors import NoSpace
from tools.chromium import ChromiumError, chromium
from tools.mixin import build

ROOT = Path(__file__).resolve().parent.parent
DRAW = ROOT / "tools" / "pictures" / "build" / "main.js"
DASHBOARDS = ROOT / "dashboards"
PICTURES = ROOT / "docs" / "dashboards"
INTERVAL = 5
"""Seconds between two scrapes of the demo."""

BEFORE = 2 * INTERVAL
"""Seconds shown before the fill begins."""

NODES = 300
"""A sixteenth of the cluster whose proportions the keyspace has: 41,000 keys, and a quota to match."""
QUOTA = 400 * MIB
EVENTS_PER_SECOND = 900.0
WATCHDOG = "groups: [{name: watchdog, rules: [{alert: Watchdog, expr: vector(1)}]}]"
"""As kube-prometheus has it."""
CALM = 45.0
FLOOD = 110.0
"""Seconds of the story before the flood, and of the flood."""

KUBELETS = 2000
PREPARED, ORDINARY, KUBELETS_FLOOD = 240.0, 60.0, 330.0
"""Seconds until what was made for the story is out of the rules' five minutes; before the kubelets begin; and after."""


def moments(began: float, phases: Phases) -> Mapping[str, float]:
    """When to look, in Unix seconds: warned of, paged for, and over. Raises `ValueError` for an unfinished drill."""
    warned, fired, over = phases.warned, phases.fired, phases.cluster_restored
    if warned is None or fired is None or over is None:
        raise ValueError(f"the drill did not come to its end: {', '.join(phases.missing)} missing")
    return {"filling": began + warned + INTERVAL, "full": _next_scrape(began + fired), "freed": began + over + INTERVAL}


def _next_scrape(at: float) -> float:
    """A second after the first moment that can show it: range queries are asked on multiples of the interval."""
    return (math.floor(at / INTERVAL) + 1) * INTERVAL + 1


def draw(
    prometheus: Service, browser: Path, began: float, looks: Mapping[str, float], *, dashboard: str = "etcd-space"
) -> int:
    """Draws a dashboard at all moments; gives the drawing's exit code: 1 when a panel has no data."""
    time.sleep(max(0.0, max(looks.values()) - time.time()))  # the last look is just ahead
    argv = [
        *("node", str(DRAW)),
        *("--prometheus", prometheus.url, "--chromium", str(browser), "--scrape", str(INTERVAL)),
        *("--from", f"{began - BEFORE:.3f}"),
        *(part for name, at in looks.items() for part in ("--moment", f"{name}={at:.3f}")),
        *("--out", str(PICTURES.relative_to(ROOT))),
        str((DASHBOARDS / f"ballast-{dashboard}.json").relative_to(ROOT)),
    ]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


def demo(stack: Stack, browser: Path, terminal: Terminal) -> int:
    """It fills, is full, and is freed."""
    terminal.line("playing the demo's drill, about two minutes ...")
    watchdog = stack.data("watchdog") / "watchdog.yaml"
    watchdog.write_text(WATCHDOG)
    with _receiver() as notices:
        chain = start(stack, DEMO, notices=notices, rules=[watchdog])
        began = time.time()
        phases = Drill(chain, tell=terminal.tell, progress=terminal.progress).play()
        looks = moments(began, phases)
        return max(
            draw(chain.prometheus, browser, began, looks),
            draw(chain.prometheus, browser, began, {"freed": looks["freed"] + 3 * INTERVAL}, dashboard="remediation"),
        )


@contextmanager
def _receiver() -> Iterator[str]:
    """A webhook that takes every notice; gives its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Takes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class _Takes(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(HTTPStatus.NO_CONTENT)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The terminal tells the drill's story."""


def events(stack: Stack, browser: Path, terminal: Terminal) -> int:
    """A busy cluster, and then a controller that cannot stop to tell of its failure."""
    terminal.line(f"planting a cluster of {NODES} nodes, then flooding it with Events, about four minutes ...")
    flags = {"auto-compaction-mode": "periodic", "auto-compaction-retention": "1m"}
    etcd = stack.etcd(members=3, quota_bytes=QUOTA, flags=flags)
    plant(etcd, NODES)
    plant_strangers(etcd, NODES)
    unhurried = {"every": f"{INTERVAL}s", "object_names": True, "keys_per_second": 1e6, "bytes_per_second": "1GiB"}
    exporter = stack.exporter(
        config={
            "etcd": [etcd.config],
            "collectors": {"etcd_quota": {"interval": f"{INTERVAL}s"}, "etcd_keyspace": unhurried},
        }
    )
    knobs = {**DEMO.knobs, "censusGrowthWindowSeconds": 60}
    prometheus = stack.prometheus(
        scrape=[Scrape(job="ballast-exporter", targets=[exporter.address])],
        rules=[path for path in build(stack.data("mixin"), knobs) if path.match("alerts/ballast-*.yaml")],
        scrape_interval=f"{INTERVAL}s",
        evaluation_interval=f"{INTERVAL}s",
    )
    began = time.time()
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        calm = pool.submit(_live, lambda: churn(etcd, NODES, writes=1000), stop)
        stop.wait(CALM)
        flooding = pool.submit(flood, etcd, per_second=EVENTS_PER_SECOND, stop=stop)
        stop.wait(FLOOD)
        try:
            return draw(prometheus, browser, began, {"events": _next_scrape(time.time())})
        finally:
            stop.set()
            calm.result()
            flooding.result()


def stall(_stack: Stack, browser: Path, terminal: Terminal) -> int:
    """An apiserver's channels to etcd stall, and are cut."""
    return stall_story.play(draw, browser, terminal)


def configmaps(stack: Stack, browser: Path, terminal: Terminal) -> int:
    """Controllers alone, and then kubelets that keep their ConfigMaps fresh, half of them in Get mode."""
    terminal.line(f"a real apiserver, and {KUBELETS} kubelets that flood it, about eleven minutes ...")
    chain = configmap_flood.start(stack)
    configmap_flood.prepare(chain)
    load = Load(chain.admin.url, chain.plane.authority.issue("front-proxy-client"))
    with load.controllers():
        configmap_flood.settle(chain)
        time.sleep(PREPARED)
        began = time.time()
        time.sleep(ORDINARY)
        with load.kubelets(KUBELETS):
            time.sleep(KUBELETS_FLOOD)
            looks = {"flood": _next_scrape(time.time())}
    return max(draw(chain.prometheus, browser, began, looks, dashboard=name) for name in ("request-mix", "clients"))


def _live(writes: Callable[[], object], stop: threading.Event) -> None:
    """What a cluster writes while nothing happens, every eight seconds; nothing once etcd refuses it."""
    while not stop.wait(8.0):
        try:
            writes()
        except NoSpace:
            return


def main(arguments: list[str]) -> int:
    """Exit code 1 when a panel has no data or the drill did not end well, 2 when nothing could be drawn."""
    terminal = Terminal()
    stories = {"demo": demo, "events": events, "configmaps": configmaps, "stall": stall}
    unknown = set(arguments) - stories.keys()
    if unknown:
        print(f"no such story: {', '.join(sorted(unknown))}; there are {', '.join(stories)}", file=sys.stderr)
        return 2
    try:
        browser = chromium()
    except ChromiumError as error:
        print(error, file=sys.stderr)
        return 2
    code = 0
    for name in arguments or stories:
        with Stack() as stack:
            code = max(code, stories[name](stack, browser, terminal))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
