"""The program as `ballast_remediator.app.service` puts it together, but for its runbook, policy and witness."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ballast_remediator.app import create_app
from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.contract import Runbook
from ballast_remediator.engine.scheduler import Engine
from ballast_remediator.engine.witness import Monitored, Witness
from ballast_remediator.policy import Policy, PolicyFile
from ballast_remediator.runbooks.lock import digest
from ballast_remediator.store.database import Store
from ballast_remediator.web.admission import admission, refusal
from ballast_remediator.web.ingest import QUICK
from kube_ballast import wsgi


@dataclass(frozen=True)
class _Given:
    policy: Policy
    problem: str | None = None

    def current(self) -> Policy:
        return self.policy


def assembled(
    config: Config, runbook: Runbook[Any], policy: PolicyFile, *, witness: Witness | None = None
) -> wsgi.Service:
    """Started. Without a ``witness`` it asks the configured Prometheus and Alertmanager."""
    connections = Connections(config.clusters)
    store = Store(config.store.place)
    engine = Engine(
        store,
        runbooks={runbook.name: runbook},
        reviewed={runbook.name: digest(runbook)},
        policies=_Given(Policy(policy)),
        witness=witness or Monitored(connections.monitoring),
        alertmanagers=connections.alertmanagers,
        settings=config.engine,
    )
    app = create_app(config, engine=engine, store=store)
    engine.start()

    def stop() -> None:
        engine.stop(8.0)
        store.close()

    admit = admission(app, body_bytes=config.limits.body_bytes)
    return wsgi.Service(app.wsgi_app, admit, stop, admit_is_quick=True, refused=refusal(app), quick=QUICK)


def family(pid: int) -> tuple[int, ...]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return (pid, *map(int, children))


def memory(pid: int) -> int:
    """The high-water marks, in bytes, of a process and its children, added up: pages that they share count twice."""
    return sum(_kibibytes(Path(f"/proc/{one}/status"), "VmHWM:") for one in family(pid)) * 1024


class Memory:
    """The most memory, in bytes, that a process and its children had meanwhile; pages that they share count once."""

    def __init__(self, pid: int) -> None:
        self.most = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            now = sum(_kibibytes(Path(f"/proc/{one}/smaps_rollup"), "\nPss:") for one in family(self._pid))
            self.most = max(self.most, now * 1024)


def _kibibytes(file: Path, name: str) -> int:
    return int(file.read_text(encoding="ascii").partition(name)[2].split()[0])
