"""The whole chain on real components: etcd fills up, and everything after that happens by itself.

The demo tells this story to a person, the benchmark measures its phases, the end-to-end test asserts them.
"""

import hashlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from drills.filling import client, fill
from drills.stack import EtcdCluster, Scrape, Service, Stack, mountpoint
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.clients.remediator import Remediator
from kube_ballast.clients.remediator_types import Run
from kube_ballast.config import HttpConfig
from tools.mixin import build

MIB: Final = 1024 * 1024
POLL: Final = 0.2
SETTLED: Final = 1.0
"""Seconds after which nobody reports anything earlier."""
TIMEOUT: Final = 3.0
RENEWAL: Final = 2.0
FILLING: Final = "what fills it"
"""Begins the line of the plan that a person wants to read at once."""
LEASES: Final = (
    "kube-system/kube-controller-manager",
    "kube-system/kube-scheduler",
    *(f"kube-node-lease/node-{number}" for number in range(1, 6)),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How large and how fast. ``knobs`` are the mixin's, ``runbook`` the remediator's for etcd-free-space.

    ``census_every`` is how often the exporter counts what fills etcd.
    """

    quota_bytes: int
    fill_bytes_per_second: float
    value_bytes: int
    interval: str
    census_every: str
    knobs: Mapping[str, object]
    runbook: Mapping[str, object]
    within: float


DEMO: Final = Settings(
    quota_bytes=64 * MIB,
    fill_bytes_per_second=0.7 * MIB,
    value_bytes=64 * 1024,
    interval="5s",
    census_every="5s",
    knobs={
        "scrapeIntervalSeconds": 5,
        "compactionIntervalSeconds": 10,
        "forecastShortWindowSeconds": 30,
        "predictedCriticalFor": "5s",
        "predictedKeepFiringFor": "15s",
        "noSpaceKeepFiringFor": "10s",
        "freeSpaceKeepFiringFor": "30s",
    },
    runbook={"compact_keep": "10s", "rearm_watch": "10s"},
    within=300.0,
)
"""Everything at a thirtieth of its usual size and time, so that a person can watch."""

PRODUCTION: Final = Settings(
    quota_bytes=2048 * MIB,
    fill_bytes_per_second=3.4 * MIB,
    value_bytes=128 * 1024,
    interval="30s",
    census_every="10m",
    knobs={},
    runbook={},
    within=1200.0,
)
"""etcd's default quota, kube-prometheus' stock intervals, every knob of the mixin and the runbook at its default."""


@dataclass(slots=True)
class Phases:
    """Seconds since the fill began; None where it has not come to that."""

    warned: float | None = None
    nospace: float | None = None
    fired: float | None = None
    accepted: float | None = None
    started: float | None = None
    restored: float | None = None
    cluster_restored: float | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """What did not happen."""
        return tuple(each.name for each in fields(self) if getattr(self, each.name) is None)


@dataclass(frozen=True, slots=True)
class Chain:
    """What runs, and how a person reaches it."""

    settings: Settings
    etcd: EtcdCluster
    prometheus: Service
    alertmanager: Service
    exporter: Service
    remediator: Service
    token_file: Path


def start(stack: Stack, settings: Settings, *, notices: str | None = None, rules: Sequence[Path] = ()) -> Chain:
    """Starts every component and connects them as a user would.

    ``notices`` is the URL of a webhook for people; ``rules`` are evaluated besides the mixin's.
    """
    folder = stack.data("chain")
    etcd = stack.etcd(members=3, quota_bytes=settings.quota_bytes)
    node = stack.node_exporter()
    clock = {"interval": settings.interval, "deadline": "3s"}
    collectors = {"etcd_quota": clock, "etcd_keyspace": {**clock, "every": settings.census_every}}
    exporter = stack.exporter(config={"etcd": [etcd.config], "collectors": collectors})
    ingest, approver = _tokens(folder)
    address = stack.address()
    built = build(folder / "mixin", settings.knobs)
    alertmanager = stack.alertmanager(config=_alertmanager(folder / "mixin/alerts", f"http://{address}", ingest))
    prometheus = stack.prometheus(
        scrape=[
            Scrape(job="ballast-exporter", targets=[exporter.address]),
            Scrape(job="ballast-remediator", targets=[address]),
            Scrape(job="node-exporter", targets=[node.address], labels={"instance": "this-host"}),
        ],
        rules=[*rules, *(path for path in built if path.name.startswith("ballast-") and path.suffix == ".yaml")],
        alertmanagers=[alertmanager.url],
        scrape_interval=settings.interval,
        evaluation_interval=settings.interval,
    )
    policy = folder / "policy.yaml"
    _dump(policy, {"rules": [{"runbook": "etcd-free-space", "match": {"cluster": "demo"}, "mode": "auto"}]})
    disk = {"instance": "this-host", "mountpoint": mountpoint(folder)}
    members = [{**member.model_dump(exclude_none=True), "disk": disk} for member in etcd.config.members]
    remediator = stack.remediator(
        config={
            "store": {"path": folder / "remediator.db"},
            "tokens_file": folder / "tokens.yaml",
            "policy_file": policy,
            "snapshots": {"directory": folder / "snapshots"},
            "clusters": {
                "demo": {
                    "etcd": [{"name": etcd.config.name, "members": members}],
                    "prometheus": {"url": prometheus.url},
                    "alertmanagers": [{"url": alertmanager.url}],
                }
            },
            "runbooks": {"etcd-free-space": settings.runbook},
            **({} if notices is None else {"notices": {"url": notices}}),
        },
        address=address,
    )
    return Chain(settings, etcd, prometheus, alertmanager, exporter, remediator, approver)


def _tokens(folder: Path) -> tuple[Path, Path]:
    """Files with Alertmanager's token and an approver's, and the tokens file that knows both."""
    entries = []
    for name, role in (("alertmanager", "ingest"), ("you", "approver")):
        token = secrets.token_hex(32)
        file = folder / f"{name}.token"
        file.touch(mode=0o600)
        file.write_text(token)
        entries.append({"name": name, "role": role, "sha256": hashlib.sha256(token.encode()).hexdigest()})
    _dump(folder / "tokens.yaml", {"tokens": entries})
    return folder / "alertmanager.token", folder / "you.token"


def _alertmanager(alerts: Path, remediator: str, token: Path) -> Mapping[str, Any]:
    """The example route and the inhibit rules as they ship, with this remediator's address and token."""
    config = dict(_parse(alerts / "alertmanager-route-example.yaml"))
    for receiver in config["receivers"]:
        for webhook in receiver.get("webhook_configs", ()):
            webhook["url"] = f"{remediator}/api/v1/alertmanager"
            webhook["http_config"]["authorization"]["credentials_file"] = str(token)
    return {**config, **_parse(alerts / "alertmanager-inhibit-rules.yaml")}


def _parse(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = YAML(typ="safe", pure=True).load(path)
    return content


def _dump(path: Path, content: object) -> None:
    YAML().dump(content, path)


@dataclass(slots=True)
class Drill:
    """One fill and what follows. ``tell(seconds, who, what)`` hears of everything that a person would want to."""

    chain: Chain
    tell: Callable[[float, str, str], None] = lambda _seconds, _who, _what: None
    progress: Callable[[float, float], None] = lambda _seconds, _ratio: None
    phases: Phases = field(default_factory=Phases)
    run: Run | None = None
    _heard: list[tuple[float, str, str]] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _ended: threading.Event = field(default_factory=threading.Event)
    _told: int = 0

    def play(self) -> Phases:
        """Fills etcd, then only looks. Raises `TimeoutError` when the story does not come to its end in time."""
        self._began = time.monotonic()
        threads = [threading.Thread(target=work, daemon=True) for work in (self._renew_leases, self._fill)]
        for thread in threads:
            thread.start()
        try:
            while not self._over():
                if self._now() > self.chain.settings.within:
                    raise TimeoutError(f"after {self._now():.0f} s still missing: {', '.join(self.phases.missing)}")
                self._look()
                self._tell_in_order(until=self._now() - SETTLED)
                time.sleep(POLL)
            self._tell_in_order(until=math.inf)
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(TIMEOUT)
        return self.phases

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _tell_in_order(self, until: float) -> None:
        """Passes on what was heard up to ``until``: some hear of a thing before others say it happened."""
        ripe = sorted(event for event in self._heard if event[0] <= until)
        for event in ripe:
            self._heard.remove(event)
            self.tell(*event)

    def _hear(self, seconds: float, who: str, what: str) -> None:
        self._heard.append((seconds, who, what))

    def _over(self) -> bool:
        return self.run is not None and self.run.finished_at is not None and self.phases.restored is not None

    def _fill(self) -> None:
        settings = self.chain.settings
        filled = fill(
            self.chain.etcd,
            value_bytes=settings.value_bytes,
            bytes_per_second=settings.fill_bytes_per_second,
            progress=lambda written: self.progress(self._now(), written / settings.quota_bytes),
        )
        self.phases.nospace = filled.at - self._began
        self._hear(self.phases.nospace, "etcd", "NOSPACE: etcd refuses writes, the cluster is read-only")
        with client(self.chain.etcd) as one:
            while not self._ended.wait(POLL):
                try:
                    one.put(b"/registry/configmaps/drill/probe", b"alive", timeout=TIMEOUT)
                except ClientError:
                    continue
                self.phases.restored = self._now()
                self._hear(self.phases.restored, "etcd", "a write passes again")
                return

    def _renew_leases(self) -> None:
        """Stands for the control plane and the kubelets: writes their Leases every two seconds."""
        with client(self.chain.etcd, 1) as one:
            while not self._ended.wait(RENEWAL):
                for name in LEASES:
                    try:
                        one.put(f"/registry/leases/{name}".encode(), str(time.time()).encode(), timeout=TIMEOUT)
                    except ClientError:
                        break

    def _look(self) -> None:
        try:
            self._look_at_run()
            self._look_at_alerts()
        except ClientError as error:
            self._hear(self._now(), "drill", f"cannot look: {error}")

    def _look_at_alerts(self) -> None:
        if self.phases.warned is not None and self.phases.fired is not None:
            return
        firing = Prometheus(HttpConfig(url=self.chain.prometheus.url)).query(
            'ALERTS{alertstate="firing"}', timeout=TIMEOUT
        )
        names = {sample.labels["alertname"] for sample in firing}
        if self.phases.warned is None and "EtcdQuotaExhaustionPredicted" in names:
            self.phases.warned = self._now()
            self._hear(self.phases.warned, "alert", "EtcdQuotaExhaustionPredicted fires: etcd will be full soon")
        if self.phases.fired is None and "EtcdFreeSpaceNeeded" in names:
            # It is seen a moment late, and was firing when the remediator heard of it.
            self.phases.fired = min(self._now(), self.phases.accepted or math.inf)
            self._hear(
                self.phases.fired, "alert", "EtcdNoSpace pages a person; EtcdFreeSpaceNeeded calls the remediator"
            )

    def _look_at_run(self) -> None:
        remediator = Remediator(HttpConfig(url=self.chain.remediator.url, bearer_token_file=self.chain.token_file))
        runs = remediator.runs(limit=1, timeout=TIMEOUT)
        if not runs:
            return
        self.run = remediator.run(runs[0].id, timeout=TIMEOUT)
        offset = self._now() - time.time()
        for entry in self.run.timeline[self._told :]:
            at = entry.at.timestamp() + offset
            if entry.event == "received":
                self.phases.accepted = at
            elif entry.event == "step_started" and self.phases.started is None:
                self.phases.started = at
            elif entry.event == "queued" and self.run.plan is not None:
                self._hear(at, "ballast", next(line for line in self.run.plan.because if line.startswith(FILLING)))
            elif entry.event == "succeeded":
                self.phases.cluster_restored = at
            self._hear(at, "ballast", _sentence(entry.event, entry.words))
        self._told = len(self.run.timeline)


def _sentence(event: str, words: str) -> str:
    return {"step_started": f"→ {words}", "step_done": f"✓ {words}", "note": f"  {words}"}.get(
        event, f"{event}: {words}"
    )
