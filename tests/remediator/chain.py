"""The remediator's engine in this process, on a real etcd: what the tests of the chain stand on."""

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ballast_remediator import runbooks
from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.contract import FINAL, Done, Observed, RunState, Step, StepContext, StepSpec
from ballast_remediator.engine.scheduler import Engine
from ballast_remediator.policy import Policy, load
from ballast_remediator.runbooks.lock import digest
from ballast_remediator.store import decisions, inbox, reading
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import AuditEntry, Run
from drills.faults import invariants
from drills.filling import client, fill
from drills.stack import EtcdCluster, EtcdMember, Stack, tool
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Alarm, AlarmKind
from kube_ballast.config import EtcdConfig
from tests.remediator.standing import Believing, Given
from tests.waiting import eventually

MIB = 2**20
QUOTA = 16 * MIB
SOON = 5.0
QUICK: Mapping[str, object] = {
    "compact_keep": "1s",
    "rearm_watch": "1s",
    "patience": "5s",
    "cluster_restored_within": "5s",
    "settle_timeout": "30s",
    "defrag_timeout": "30s",
}
KNOBS: Mapping[str, Mapping[str, object]] = {
    "etcd-free-space": QUICK,
    "etcd-defrag": {"least_free_bytes": "2MiB", "patience": "5s", "defrag_timeout": "30s"},
    "apiserver-cut-etcd-connections": {"canary_within": "2s", "settle_within": "30s"},
}
UNREACHABLE = "http://127.0.0.1:9"
ORDER = [
    "snapshot",
    "compact",
    "compact-further",
    "check-live-data",
    "defragment",
    "defragment",
    "defragment",
    "disarm",
    "test-write",
    "watch-alarm",
]


def payload(*, firing: bool = True, labels: Mapping[str, str | None] | None = None, **top: object) -> bytes:
    """A notification of Alertmanager about etcd-free-space; a label given as None is left out."""
    all_labels = {
        "alertname": "EtcdFreeSpaceNeeded",
        "ballast_runbook": "etcd-free-space",
        "etcd_cluster": "main",
        "severity": "none",
        **(labels or {}),
    }
    all_labels = {name: value for name, value in all_labels.items() if value is not None}
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


class Preceded:
    """A step before which, once, in the engine's own thread, something happens."""

    def __init__(self, step: Step, happens: Callable[[], object]) -> None:
        self._step = step
        self._happens: Callable[[], object] | None = happens

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
        return self._step.observe(spec, context)

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        return self._step.act(spec, context)


class Chain:
    """One engine with its store, started by `start`."""

    def __init__(self, config: Config, policy: Policy, runbook: str = "etcd-free-space") -> None:
        self.config = config
        self.store = Store(config.store.place)
        self.connections = Connections(config.clusters)
        self.runbook = runbooks.build(self.connections, config)[runbook]
        self.policies = Given(policy)
        self.engine = Engine(
            self.store,
            runbooks={self.runbook.name: self.runbook},
            # That runbooks.lock holds this very digest is a test of its own (test_meta.py).
            reviewed={self.runbook.name: digest(self.runbook)},
            policies=self.policies,
            witness=Believing(),
            alertmanagers=self.connections.alertmanagers,
            settings=config.engine,
        )

    @property
    def snapshots(self) -> Path:
        return self.config.snapshots.directory

    def before(self, kind: str, happens: Callable[[], object]) -> None:
        """Has ``happens`` called when the first step of that kind is about to be looked at."""
        step = Preceded(self.runbook.steps[kind], happens)
        vars(self.runbook)["steps"] = MappingProxyType({**self.runbook.steps, kind: step})

    def receive(self, body: bytes | None = None) -> None:
        """As the web does after it has checked who sends."""
        asking = payload(labels={"ballast_runbook": self.runbook.name}) if body is None else body
        self.store.write_together(inbox.accept, inbox.Arrival(asking, "test"))
        self.engine.wake()

    def runs(self) -> tuple[Run, ...]:
        return self.store.read(reading.recent_runs, limit=100)

    def run(self) -> Run:
        (run,) = self.runs()
        return run

    def approve(self, run: Run, *acknowledged: str) -> None:
        assert run.plan_hash is not None
        self.store.write(
            decisions.approve,
            run.id,
            plan_hash=run.plan_hash,
            person="somebody",
            reason="test",
            acknowledged=acknowledged,
        )
        self.engine.wake()

    def until(self, *states: RunState, within: float = 60.0) -> Run:
        """The newest run, once it is in one of ``states``; a final state that is none of them fails at once."""

        def there() -> Run | None:
            found = self.runs()
            if not found or found[0].state in states:
                return found[0] if found else None
            if found[0].state in FINAL:
                raise RuntimeError(f"the run became {found[0].state}:\n{self.story(found[0])}")
            return None

        run = eventually(there, within=within, retry=())
        assert run is not None
        return run

    def until_final(self, within: float = 60.0) -> Run:
        return self.until(*FINAL, within=within)

    def answer(self, body: bytes | None = None) -> Run:
        """What becomes of one notification, in the end."""
        self.receive(body)
        return self.until_final()

    def resolved(self) -> bytes:
        """The notification that takes back what `receive` says."""
        return payload(firing=False)

    def timeline(self, run: Run) -> tuple[AuditEntry, ...]:
        return self.store.read(reading.timeline, run.id)

    def done(self, run: Run) -> list[tuple[str, str]]:
        """Kind and target of each step that was checkpointed, in that order."""
        return [(e.data["kind"], e.data["target"]) for e in self.timeline(run) if e.event == "step_done"]

    def facts(self, run: Run, kind: str) -> dict[str, Any]:
        """What the steps of that kind recorded."""
        found: dict[str, Any] = {}
        for step in self.store.read(reading.steps_of, run.id):
            if step.spec.kind == kind:
                found.update(step.facts)
        return found

    def words(self, run: Run, kind: str) -> str:
        """The results of the steps of that kind, a line each."""
        steps = self.store.read(reading.steps_of, run.id)
        return "\n".join(step.result or "" for step in steps if step.spec.kind == kind)

    def story(self, run: Run) -> str:
        """The timeline as text, for assertions and for whoever reads a failure."""
        return "\n".join(f"{entry.event}: {entry.words}" for entry in self.timeline(run))


def configuration(
    folder: Path,
    etcd: EtcdConfig,
    *,
    runbook: str = "etcd-free-space",
    prometheus: str = UNREACHABLE,
    alertmanager: str = UNREACHABLE,
    settings: Mapping[str, object] | None = None,
    engine: Mapping[str, object] | None = None,
    keep: int = 3,
) -> Config:
    """``etcd`` as the only one of the cluster "here", with quick knobs."""
    for name, text in (("tokens.yaml", "tokens: []\n"), ("policy.yaml", "rules: []\n")):
        if not (folder / name).exists():
            (folder / name).write_text(text)
    return Config.model_validate(
        {
            "store": {"path": folder / "remediator.db"},
            "tokens_file": folder / "tokens.yaml",
            "policy_file": folder / "policy.yaml",
            "snapshots": {"directory": folder / "snapshots", "keep": keep},
            "clusters": {
                "here": {
                    "etcd": [etcd],
                    "prometheus": {"url": prometheus},
                    "alertmanagers": [{"url": alertmanager}],
                }
            },
            "runbooks": {runbook: {**KNOBS[runbook], **(settings or {})}},
            "engine": {"planning_patience": "1s", "reopen_after": "1ms", **(engine or {})},
        }
    )


@contextmanager
def chain(
    folder: Path,
    etcd: EtcdCluster | EtcdConfig,
    *,
    runbook: str = "etcd-free-space",
    mode: str = "auto",
    rules: Sequence[Mapping[str, Any]] | None = None,
    start: bool = True,
    **options: Any,
) -> Iterator[Chain]:
    """An engine that answers for ``etcd`` as cluster "here"."""
    policy_file = folder / "policy.yaml"
    wide = {"match": {"cluster": "here"}, "budget": {"runs": 1000}, "cooldown": "1ms"}
    wanted = [{"runbook": runbook, "mode": mode, **wide}] if rules is None else rules
    policy_file.write_text(json.dumps({"rules": wanted}))
    config = configuration(folder, etcd if isinstance(etcd, EtcdConfig) else etcd.config, runbook=runbook, **options)
    one = Chain(config, load(policy_file), runbook)
    if start:
        one.engine.start()
    try:
        yield one
    finally:
        one.engine.stop(timeout=10.0)
        one.store.close()


def full(stack: Stack, *, members: int = 3, tls: bool = False, **options: Any) -> EtcdCluster:
    """A cluster that is full and refuses writes."""
    etcd = stack.etcd(members=members, tls=tls, quota_bytes=QUOTA, **options)
    fill(etcd)
    return etcd


def with_disk(etcd: EtcdCluster) -> EtcdConfig:
    """The cluster's configuration with a disk for each member, for a Prometheus that knows it."""
    config = etcd.config.model_dump()
    for member in config["members"]:
        member["disk"] = {"instance": "control-plane", "mountpoint": "/"}
    return EtcdConfig.model_validate(config)


def seed_compact_rev(etcd: EtcdCluster) -> int:
    """What the apiserver's compactor leaves behind: the present revision under compact_rev_key."""
    with client(etcd) as one:
        revision = one.put(b"compact_rev_key", b"0", timeout=SOON).revision
        one.put(b"compact_rev_key", str(revision).encode(), timeout=SOON)
    return revision


def revision(etcd: EtcdCluster) -> int:
    with client(etcd) as one:
        return one.status(timeout=SOON).revision


def sizes(etcd: EtcdCluster) -> list[int]:
    """Bytes of each member's database."""
    found = []
    for number in range(len(etcd.members)):
        with client(etcd, number) as one:
            found.append(one.status(timeout=SOON).db_size)
    return found


def alarms(etcd: EtcdCluster) -> set[AlarmKind]:
    return {alarm.kind for alarm in listed_alarms(etcd)}


def listed_alarms(etcd: EtcdCluster) -> tuple[Alarm, ...]:
    with client(etcd) as one:
        return one.alarms(timeout=SOON)


def leader(etcd: EtcdCluster) -> int:
    """Which of the members leads."""
    ids = []
    for number in range(len(etcd.members)):
        with client(etcd, number) as one:
            status = one.status(timeout=SOON)
            ids.append(status.member_id)
    return ids.index(status.leader_id)


def move_leadership(etcd: EtcdCluster, to: int) -> None:
    """Makes that member lead, if another does."""
    old = leader(etcd)
    if old != to:
        with client(etcd, old) as one, client(etcd, to) as heir:
            one.move_leader(heir.status(timeout=SOON).member_id, timeout=SOON)
    eventually(lambda: leader(etcd) == to)


def arm(etcd: EtcdCluster, kind: AlarmKind, member: int = 0) -> None:
    """Arms an alarm by hand, which the client has no method for, and never should."""
    with client(etcd, member) as one:
        member_id = one.status(timeout=SOON).member_id
        request = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=member_id, alarm=kind.value)
        one._unary("Maintenance/Alarm", request, rpc_pb2.AlarmResponse, SOON, acts=True)


def disarm(etcd: EtcdCluster, kind: AlarmKind) -> None:
    """Lifts that alarm everywhere."""
    with client(etcd) as one:
        for alarm in one.alarms(timeout=SOON):
            if alarm.kind is kind:
                one.disarm(alarm.member_id, kind, timeout=SOON)


@contextmanager
def somebody_reads_a_snapshot(etcd: EtcdCluster, member: int = 0) -> Iterator[None]:
    """A Snapshot stream of which one message is taken and then no more, as of a backup on a slow disk."""
    with EtcdClient(etcd.endpoints[member], tls=etcd.tls) as one, one._channel.use() as channel:
        call = channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot",
            request_serializer=rpc_pb2.SnapshotRequest.SerializeToString,
            response_deserializer=rpc_pb2.SnapshotResponse.FromString,
        )(rpc_pb2.SnapshotRequest(), timeout=60.0)
        next(call)
        try:
            yield
        finally:
            call.cancel()


def etcdctl(etcd: EtcdCluster, *arguments: str) -> None:
    command = [tool("etcdctl"), "--endpoints", etcd.endpoints[0], "--command-timeout=10s", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)


def pause(member: EtcdMember) -> None:
    """Stops the member and waits until each of its threads stands still."""
    member.pause()
    tasks = Path(f"/proc/{member.pid}/task")
    eventually(lambda: all(" T " in (task / "stat").read_text() for task in tasks.iterdir()))


def log_lines(etcd: EtcdCluster, member: int) -> list[dict[str, Any]]:
    """What that member wrote to its log."""
    lines = etcd.members[member].process.log.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def defragmentations(etcd: EtcdCluster) -> list[invariants.Interval]:
    """Every defragmentation, by the members' own logs, in the order of their starts."""
    found = [each for member in etcd.members for each in invariants.defragmentations(member.name, member.process.log)]
    return sorted(found, key=lambda interval: interval.start)


def never_two_at_once(etcd: EtcdCluster) -> bool:
    """Whether each defragmentation had ended before the next began, on whatever member."""
    return invariants.two_at_once(defragmentations(etcd)) == ()
