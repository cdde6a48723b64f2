"""The remediator's engine in this process, on a real etcd: what the tests of the chain stand on."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ballast_remediator import runbooks
from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.contract import RunState
from ballast_remediator.engine.scheduler import Engine
from ballast_remediator.policy import Policy, load
from ballast_remediator.runbooks.lock import approved
from ballast_remediator.store import inbox, reading, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import AuditEntry, Run
from drills.filling import client
from drills.stack import EtcdCluster
from tests.waiting import eventually

QUICK: Mapping[str, object] = {
    "compact_keep": "1s",
    "rearm_watch": "1s",
    "patience": "5s",
    "cluster_restored_within": "5s",
    "settle_timeout": "30s",
    "defrag_timeout": "30s",
}
UNREACHABLE = "http://127.0.0.1:9"


def payload(*, firing: bool = True, labels: Mapping[str, str] | None = None, **top: object) -> bytes:
    """A notification of Alertmanager about etcd-free-space."""
    all_labels = {
        "alertname": "EtcdFreeSpaceNeeded",
        "ballast_runbook": "etcd-free-space",
        "etcd_cluster": "main",
        "severity": "none",
        **(labels or {}),
    }
    content = {
        "version": "4",
        "groupKey": "{}:{}",
        "status": "firing" if firing else "resolved",
        "receiver": "ballast",
        "externalURL": "http://alertmanager",
        "truncatedAlerts": 0,
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "alerts": [
            {
                "status": "firing" if firing else "resolved",
                "labels": all_labels,
                "annotations": {},
                "startsAt": "2026-01-01T00:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus",
                "fingerprint": hashlib.sha256(json.dumps(all_labels).encode()).hexdigest()[:16],
            }
        ],
        **top,
    }
    return json.dumps(content).encode()


class Chain:
    """One engine with its store."""

    def __init__(self, folder: Path, config: Config, policy: Policy) -> None:
        self.config = config
        self.store = Store(config.store.path)
        self.connections = Connections(config.clusters)
        self.engine = Engine(
            self.store,
            runbooks=runbooks.build(self.connections, config),
            reviewed=approved(),
            policy=policy,
            alertmanagers=self.connections.alertmanagers,
            settings=config.engine,
        )
        self.folder = folder

    def receive(self, body: bytes) -> None:
        """As the web does after it has checked who sends."""
        self.store.write(inbox.accept, body, "test")
        self.engine.wake()

    def runs(self) -> tuple[Run, ...]:
        return self.store.read(reading.recent_runs, limit=100)

    def run(self) -> Run:
        (run,) = self.runs()
        return run

    def approve(self, run: Run, *acknowledged: str) -> None:
        assert run.plan_hash is not None
        self.store.write(
            runs.approve,
            run.id,
            plan_hash=run.plan_hash,
            person="somebody",
            reason="test",
            acknowledged=acknowledged,
        )
        self.engine.wake()

    def until(self, *states: RunState, within: float = 60.0) -> Run:
        """The only run, once it is in one of ``states``."""

        def there() -> Run | None:
            found = self.runs()
            return found[0] if found and found[0].state in states else None

        run = eventually(there, within=within, retry=())
        assert run is not None
        return run

    def timeline(self, run: Run) -> tuple[AuditEntry, ...]:
        return self.store.read(reading.timeline, run.id)

    def story(self, run: Run) -> str:
        """The timeline as text, for assertions and for whoever reads a failure."""
        return "\n".join(f"{entry.event}: {entry.words}" for entry in self.timeline(run))


@contextmanager
def chain(
    folder: Path,
    etcd: EtcdCluster,
    *,
    mode: str = "auto",
    prometheus: str = UNREACHABLE,
    settings: Mapping[str, object] | None = None,
    engine: Mapping[str, object] | None = None,
    etcd_config: Mapping[str, object] | None = None,
    rules: Sequence[Mapping[str, Any]] | None = None,
    start: bool = True,
) -> Iterator[Chain]:
    """An engine that answers for ``etcd`` as cluster "here"."""
    policy_file = folder / "policy.yaml"
    policy_file.write_text(json.dumps({"rules": rules or [{"runbook": "etcd-free-space", "mode": mode}]}))
    tokens_file = folder / "tokens.yaml"
    tokens_file.write_text("tokens: []\n")
    config = Config.model_validate(
        {
            "store": {"path": folder / "remediator.db"},
            "tokens_file": tokens_file,
            "policy_file": policy_file,
            "snapshots": {"directory": folder / "snapshots"},
            "clusters": {
                "here": {
                    "etcd": [etcd_config or etcd.config.model_dump()],
                    "prometheus": {"url": prometheus},
                    "alertmanagers": [{"url": UNREACHABLE}],
                }
            },
            "runbooks": {"etcd-free-space": {**QUICK, **(settings or {})}},
            "engine": {"planning_patience": "3s", "cooldown": "1s", **(engine or {})},
        }
    )
    one = Chain(folder, config, load(policy_file))
    if start:
        one.engine.start()
    try:
        yield one
    finally:
        one.engine.stop(timeout=5.0)
        one.store.close()


def seed_compact_rev(etcd: EtcdCluster) -> int:
    """What the apiserver's compactor leaves behind: the present revision under compact_rev_key."""
    with client(etcd) as one:
        revision = one.put(b"compact_rev_key", b"0", timeout=5).revision
        one.put(b"compact_rev_key", str(revision).encode(), timeout=5)
    return revision


def now() -> float:
    return time.monotonic()
