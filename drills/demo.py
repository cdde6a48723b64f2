"""`make demo`: watch a full etcd free itself."""

import os
import shutil
import sys
import threading
import time

from drills.space import DEMO, MIB, Chain, Drill, Phases, start
from drills.stack import Stack

WIDTH = 30


class Terminal:
    """Prints the timeline; while etcd fills, one line shows how far it is."""

    def __init__(self) -> None:
        self._tty = sys.stdout.isatty()
        self._bar = False
        self._lock = threading.Lock()
        self._tenth = -1

    def line(self, text: str = "") -> None:
        with self._lock:
            self._clear()
            print(text, flush=True)

    def tell(self, seconds: float, who: str, what: str) -> None:
        colour = {"etcd": "33", "alert": "31", "ballast": "36"}.get(who, "0")
        name = f"\033[{colour}m{who:<8}\033[0m" if self._tty else f"{who:<8}"
        self.line(f"{seconds:7.1f} s  {name} {what}")

    def progress(self, seconds: float, ratio: float) -> None:
        filled = min(WIDTH, int(ratio * WIDTH))
        bar = f"{seconds:7.1f} s  etcd     {'█' * filled}{'░' * (WIDTH - filled)} {ratio:4.0%} of the quota written"
        if self._tty:
            with self._lock:
                self._clear()
                print(bar[: shutil.get_terminal_size().columns - 1], end="", flush=True)
                self._bar = True
        elif int(ratio * 10) > self._tenth:
            self._tenth = int(ratio * 10)
            self.line(bar)

    def _clear(self) -> None:
        if self._bar:
            print("\r\033[K", end="")
            self._bar = False


def summary(phases: Phases) -> list[str]:
    """One line per phase; a phase that did not come to pass says so."""

    def since(at: float | None, start: float | None) -> str:
        return "did not happen" if at is None or start is None else f"{at - start:6.1f} s"

    nospace = phases.nospace
    return [
        f"  warned            {since(nospace, phases.warned)} before NOSPACE",
        f"  fired             {since(phases.fired, nospace)} after NOSPACE",
        f"  accepted          {since(phases.accepted, nospace)} after NOSPACE",
        f"  started           {since(phases.started, nospace)} after NOSPACE",
        f"  restored          {since(phases.restored, nospace)} after NOSPACE: etcd takes writes",
        f"  cluster restored  {since(phases.cluster_restored, nospace)} after NOSPACE: no alarm since, Leases renewed",
    ]


def addresses(chain: Chain) -> list[str]:
    """What a person may want to open or type while it runs."""
    ctl = f"BALLAST_URL={chain.remediator.url} BALLAST_TOKEN_FILE={chain.token_file} .venv/bin/ballastctl"
    return [
        f"  Prometheus    {chain.prometheus.url}",
        f"  Alertmanager  {chain.alertmanager.url}",
        f"  exporter      {chain.exporter.url}",
        f"  remediator    {chain.remediator.url}",
        f"  etcd          {','.join(chain.etcd.endpoints)}",
        f"  ballastctl    {ctl} runs",
    ]


def main() -> int:
    """Runs the drill and tells it. Exit code 1 when it did not end well."""
    terminal = Terminal()
    terminal.line("Ballast demo: a full etcd frees itself. Nobody touches anything.\n")
    terminal.line("starting etcd ×3, Prometheus, Alertmanager, node_exporter, exporter, remediator …")
    began = time.monotonic()
    with Stack() as stack:
        chain = start(stack, DEMO)
        terminal.line(f"… ready after {time.monotonic() - began:.1f} s")
        terminal.line(
            f"The quota is {DEMO.quota_bytes // MIB} MiB, intervals are 5 s, and 10 s of history are kept "
            "(usual: 2 GiB and more, 30 s, 5 min).\nA few seeded Leases stand for the control plane and the nodes. "
            "Nobody compacts, so every write stays.\n"
        )
        drill = Drill(chain, tell=terminal.tell, progress=terminal.progress)
        phases = drill.play()
        good = drill.run is not None and drill.run.state == "succeeded" and not phases.missing
        terminal.line("\nIn short:" if good else "\nThis did not end well:")
        for line in summary(phases):
            terminal.line(line)
        if not good:
            stack.fail()
            terminal.line(f"\nlogs: {stack.logs}")
        if os.environ.get("KEEP"):
            terminal.line("\nEverything keeps running until Ctrl-C:")
            for line in addresses(chain):
                terminal.line(line)
            threading.Event().wait()
    return 0 if good else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nstopped")
        sys.exit(130)
