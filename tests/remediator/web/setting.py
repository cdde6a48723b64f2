"""An application with a recording engine and a real store: what the tests of the web and of ballastctl stand on."""

import hashlib
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from ballast_remediator.config import Config
from ballast_remediator.contract import Alert, Answer, Mode, Plan, RunState, StepSpec, Target, Verdict
from ballast_remediator.engine.explaining import Explained
from ballast_remediator.store import inbox, reading, runs
from ballast_remediator.store.database import Store
from kube_ballast import configfile
from tests.remediator.standing import NO_BRAKE
from tests.waiting import eventually

ROLES = ("ingest", "viewer", "approver", "admin")
PLAN_HASH = "ab" * 32
INGEST = "/api/v1/alertmanager"


@dataclass
class RecordingEngine:
    woken: int = 0
    trouble: str | None = None
    stop_file: str | None = None
    bad_policy: str | None = None
    reviewed: dict[str, str] = field(default_factory=lambda: {"etcd-free-space": "ef" * 32})

    def wake(self) -> None:
        self.woken += 1

    def ignored_alerts(self) -> int:
        return 0

    def notifications_set_aside(self) -> int:
        return 0

    def problem(self) -> str | None:
        return self.trouble

    def kill_switch_file(self) -> str | None:
        return self.stop_file

    def explain(self, alert: Alert) -> Explained:
        return Explained(alert, self.policy_digest(), "the alert has no label ballast_runbook: it is for people")

    def policy_digest(self) -> str:
        return "cd" * 32

    def policy_problem(self) -> str | None:
        return self.bad_policy

    def runbooks(self) -> Mapping[str, str]:
        return self.reviewed


def entry(name: str, role: str, secret: str) -> str:
    return f'  - {{name: {name}, role: {role}, sha256: "{hashlib.sha256(secret.encode()).hexdigest()}"}}\n'


@dataclass(frozen=True)
class Site:
    """A configuration whose tokens are ROLE-secret for each role."""

    folder: Path
    file: Path
    port: int

    @property
    def config(self) -> Config:
        return configfile.load(self.file, Config)

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.yaml"


def make_site(folder: Path) -> Site:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "tokens.yaml").write_text("tokens:\n" + "".join(entry(role, role, f"{role}-secret") for role in ROLES))
    (folder / "policy.yaml").write_text("rules:\n  - {runbook: etcd-free-space, mode: ask}\n")
    file = folder / "remediator.yaml"
    file.write_text(
        f"""listen: 127.0.0.1:{port}
store: {{path: {folder}/remediator.db}}
tokens_file: {folder}/tokens.yaml
policy_file: {folder}/policy.yaml
snapshots: {{directory: {folder}/snapshots}}
clusters:
  production:
    etcd: [{{members: [{{endpoint: "https://127.0.0.1:1"}}]}}]
    prometheus: {{url: "http://127.0.0.1:1"}}
    alertmanagers: [{{url: "http://127.0.0.1:1"}}]
limits: {{body_bytes: 64KiB}}
"""
    )
    return Site(folder, file, port)


@dataclass
class Caller:
    """Asks the application in the name of a role."""

    client: FlaskClient
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, headers=self.headers)

    def post(self, path: str, data: bytes | None = None, json: object = None) -> TestResponse:
        return self.client.post(path, headers=self.headers, data=data, json=json)


AsRole = Callable[[str], Caller]

TARGET = Target("production", "etcd-free-space", "main")
PLAN = Plan(
    summary="free 1.5 GiB on 3 members",
    because=("the database is 1.9 GiB of 2.0 GiB",),
    steps=(StepSpec("snapshot", "m1", "snapshot m1"), StepSpec("defragment", "m2", "defragment m2", {"bytes": 5})),
    limits={"members": 3},
    answers=(
        Answer("quorum_survives", Verdict.ALLOW, "3 of 3 voters are healthy"),
        Answer("stall_fits", Verdict.ASK, "each member stalls for 40 s"),
    ),
)


def seed(store: Store, *, starts_at: float = 1e9, **planned: Any) -> str:
    """A run that waits for approval; ``planned`` goes to `runs.keep_plan`."""
    labels = {"alertname": "EtcdFreeSpaceNeeded", "etcd_cluster": "main"}
    alert = Alert("9e5f", labels, {}, firing=True, starts_at=starts_at)
    store.write_together(inbox.accept, inbox.Arrival(b"{}", "ingest"))
    (notification,) = store.read(inbox.unfiled)
    store.write(inbox.file, [notification], [inbox.Finding(alert, TARGET)], brake=NO_BRAKE, reopen_after=1.0)
    (run,) = store.read(reading.recent_runs, limit=1)
    store.write(runs.transition, run.id, RunState.PLANNING, words="looking")
    store.write(
        runs.keep_plan,
        run.id,
        RunState.AWAITING_APPROVAL,
        plan=PLAN,
        plan_hash=PLAN_HASH,
        mode=Mode.ASK,
        policy_digest="cd" * 32,
        words="a person has to approve this plan",
        **{"expires_at": 4e9, **planned},
    )
    return run.id


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    """`site`'s application on the real server, with an engine that does nothing."""
    program = Path(__file__).with_name("serve.py")
    process = subprocess.Popen([sys.executable, str(program), str(site.file)])
    try:
        eventually(lambda: _answers(site.port), within=30.0, retry=OSError)
        yield site
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
        return bool(answer.status == 200)
