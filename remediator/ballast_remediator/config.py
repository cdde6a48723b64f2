"""The remediator's configuration file.

The smallest one that runs::

    store: {path: /var/lib/ballast/remediator.db}
    tokens_file: /etc/ballast/tokens.yaml
    policy_file: /etc/ballast/policy.yaml
    snapshots: {directory: /var/lib/ballast/snapshots}
    clusters:
      production:
        etcd:
          - members: [{endpoint: https://10.0.0.1:2379, metrics_url: http://10.0.0.1:2381}]
        prometheus: {url: http://prometheus:9090}
        alertmanagers: [{url: http://alertmanager:9093}]
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import ByteSize, Field, FilePath, field_validator, model_validator

from ballast_remediator.config_apiservers import ApiserversConfig
from ballast_remediator.notice_kinds import ROUTINE, NoticeKind
from ballast_remediator.store.places import Place, PostgresqlServer, SqliteFile, conninfo_problem
from kube_ballast.analysis.space import WORTH_A_DEFRAG, WORTH_BYTES
from kube_ballast.config import Duration, EtcdConfig, HostsConfig, HttpConfig, HttpUrl, ListenAddress, Model


class ServerTLS(Model):
    """PEM files of the server's own certificate (with its chain) and key."""

    cert: FilePath
    key: FilePath


class StoreConfig(Model):
    """What holds every accepted notification, run and audit entry: an SQLite file, or a PostgreSQL for replicas.

    The file must lie on a local disk. ``postgresql`` is what libpq takes, as a URL or as ``key=value``; the password
    comes from a file.
    """

    path: Path | None = None
    postgresql: str | None = Field(default=None, min_length=1)
    password_file: FilePath | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.path is None) == (self.postgresql is None):
            raise ValueError("a store has a path (SQLite) or says postgresql, and not both")
        if self.password_file is not None and self.postgresql is None:
            raise ValueError("password_file is PostgreSQL's: SQLite has none")
        return self

    @field_validator("postgresql")
    @classmethod
    def _usable(cls, value: str | None) -> str | None:
        problem = None if value is None else conninfo_problem(value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @property
    def place(self) -> Place:
        """What `Store` opens."""
        if self.postgresql is not None:
            return PostgresqlServer(self.postgresql, self.password_file)
        assert self.path is not None
        return SqliteFile(self.path)


class SnapshotsConfig(Model):
    """Where etcd snapshots are kept. They hold every Secret of the cluster: the directory wants mode 0700."""

    directory: Path
    keep: int = Field(default=3, ge=1)


RESTART_SECONDS: Final = 75.0
"""For all of a restart by systemd or the container runtime but the wait between SIGTERM and SIGKILL: the connection to
the host, and a minute in which a process that was killed gives its memory back."""


class ClusterConfig(Model):
    """How one Kubernetes cluster is reached. More than one etcd only where events have their own.

    ``prometheus_labels`` pick this cluster's series where one Prometheus, Thanos or Mimir holds several clusters.
    """

    etcd: tuple[EtcdConfig, ...] = Field(min_length=1)
    prometheus: HttpConfig
    prometheus_labels: Mapping[Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")], str] = {}
    alertmanagers: tuple[HttpConfig, ...] = Field(min_length=1)
    exporters: tuple[HttpConfig, ...] = ()
    """Who tells on ``/evidence`` what is wrong with which apiserver."""
    apiservers: ApiserversConfig | None = None
    hosts: HostsConfig | None = None

    @property
    def targets(self) -> frozenset[str]:
        """What a run can be about: its etcds and its apiservers."""
        instances = () if self.apiservers is None else self.apiservers.instances
        return frozenset((*(etcd.name for etcd in self.etcd), *(one.name for one in instances)))

    @model_validator(mode="after")
    def _members_are_known(self) -> Self:
        known = {member.endpoint for etcd in self.etcd for member in etcd.members}
        for one in () if self.apiservers is None else self.apiservers.instances:
            if strange := sorted({*one.etcd} - known):
                raise ValueError(f"{one.name} uses {', '.join(strange)}, which is no member's endpoint under etcd")
        return self

    @model_validator(mode="after")
    def _a_restart_has_time(self) -> Self:
        """Whoever gives up between SIGTERM and SIGKILL leaves an apiserver that neither serves nor ends."""
        for one in () if self.apiservers is None else self.apiservers.instances:
            if self.hosts is None or one.restart is None or one.restart.command is not None:
                continue
            if self.hosts.timeout < one.restart.grace + RESTART_SECONDS:
                raise ValueError(
                    f"hosts.timeout is {self.hosts.timeout:g} s, and a restart of {one.name} takes up to its grace of "
                    f"{one.restart.grace} s and {RESTART_SECONDS:g} s more"
                )
        return self

    @field_validator("etcd")
    @classmethod
    def _names_differ(cls, value: tuple[EtcdConfig, ...]) -> tuple[EtcdConfig, ...]:
        names = [etcd.name for etcd in value]
        if len(set(names)) != len(names):
            raise ValueError("two etcds have the same name: alerts could not tell them apart")
        return value


class EtcdFreeSpaceSettings(Model):
    """Knobs of the runbook etcd-free-space; docs/runbooks/etcd-free-space.md says how to choose them."""

    compact_keep: Duration = 300.0
    """Seconds of history that stay readable: watchers and pagers that are behind do not have to start over."""
    liveness_budget: Duration = 80.0
    """Seconds a member may stall before its liveness probe kills it. kubeadm: 8 probes, 10 s apart."""
    defrag_bytes_per_second: ByteSize = Field(default=ByteSize(52428800), gt=0)
    """How fast a defragmentation is taken to be before the first member of the run was measured."""
    rearm_watch: Duration = 30.0
    """Seconds for which the alarm must stay away after it was lifted."""
    settle_timeout: Duration = 300.0
    """Seconds until a compaction has to have settled. A member after its defragmentation has `patience`."""
    defrag_timeout: Duration = 600.0
    """Seconds after which a defragmentation's outcome is unknown."""
    snapshot_timeout: Duration = 600.0
    """Seconds a snapshot may take to arrive."""
    patience: Duration = 120.0
    """Seconds a step waits for its guards, or for a member after its defragmentation, before the run gives up."""
    cluster_restored_within: Duration = 600.0
    """Seconds after etcd takes writes again within which the nodes' Leases have to advance."""
    census_max_age: Duration = 1800.0
    """Seconds for which a census says what fills etcd: three times the exporter's ``every``."""
    lease_prefix: str = Field(default="/registry/leases/", min_length=1)
    test_key: str = Field(default="/ballast/write-test", min_length=1)
    accept_unsafe_versions: bool = False
    """Run on etcd versions with known faults in what the runbook does (guard version_is_safe)."""


class EtcdDefragSettings(Model):
    """Knobs of the runbook etcd-defrag; docs/runbooks/etcd-defrag.md says how to choose them."""

    least_free_share: float = Field(default=WORTH_A_DEFRAG, gt=0, lt=1)
    """Of a member's file: from here on, and from `least_free_bytes` on, it is worth a defragmentation."""
    least_free_bytes: ByteSize = Field(default=ByteSize(WORTH_BYTES), gt=0)
    liveness_budget: Duration = 80.0
    """Seconds a member may stall before its liveness probe kills it. kubeadm: 8 probes, 10 s apart."""
    defrag_bytes_per_second: ByteSize = Field(default=ByteSize(52428800), gt=0)
    """How fast a defragmentation is taken to be."""
    defrag_timeout: Duration = 600.0
    """Seconds after which a defragmentation's outcome is unknown."""
    patience: Duration = 120.0
    """Seconds a step waits for its guards, or for a member after its defragmentation, before the run gives up."""
    accept_unsafe_versions: bool = False
    """Run on etcd versions with known faults in what the runbook does (guard version_is_safe)."""


class CureSettings(Model):
    """What the two cures of a stalled channel share; their pages say how to choose it."""

    canary_within: Annotated[Duration, Field(le=60)] = 10.0
    """Seconds from the act within which its verdict has to be ok."""
    ready_within: Duration = 60.0
    """Seconds until its /readyz has to say so."""
    settle_within: Duration = 120.0
    """Seconds for which the other apiservers are watched until their load has settled."""
    rest: Annotated[Duration, Field(ge=300)] = 300.0
    """Seconds between two of them in one cluster, whatever their target."""


class CutSettings(CureSettings):
    """Knobs of the runbook apiserver-cut-etcd-connections."""


class RestartSettings(CureSettings):
    """Knobs of the runbook apiserver-restart."""

    canary_within: Annotated[Duration, Field(le=600)] = 120.0
    """Seconds from the act within which its verdict has to be ok: it fills its caches first."""
    cut_within: Duration = 1800.0
    """Seconds since a cut that did not help, for which this may follow it."""


class RunbooksConfig(Model):
    """The settings of each runbook, by its name."""

    etcd_free_space: EtcdFreeSpaceSettings = Field(default=EtcdFreeSpaceSettings(), alias="etcd-free-space")
    etcd_defrag: EtcdDefragSettings = Field(default=EtcdDefragSettings(), alias="etcd-defrag")
    cut: CutSettings = Field(default=CutSettings(), alias="apiserver-cut-etcd-connections")
    restart: RestartSettings = Field(default=RestartSettings(), alias="apiserver-restart")


class EngineSettings(Model):
    """How runs are planned and carried out."""

    workers: int = Field(default=32, ge=1, le=64)
    """How many runs may be carried out at once, each on its own target."""
    planning_patience: Duration = 120.0
    """Seconds for which a plan that a guard refuses, or a world that cannot be seen, is looked at again."""
    lease: Annotated[Duration, Field(ge=1)] = 15.0
    """Seconds without a sign of life after which a replica's runs are taken over by another one."""
    evidence_valid: Duration = 30.0
    """Seconds for which what was observed may be acted on."""
    reopen_after: Annotated[Duration, Field(le=60)] = 30.0
    """Seconds after the end of a target's run before another one of it is looked at: alerts may flap."""
    alert_fresh_within: Duration = 180.0
    """Seconds since Prometheus evaluated the alert's rule for which it is taken to be true."""
    kill_switch_file: Path | None = None
    """While this file exists nothing runs. It works when the store does not."""
    approval_expires: Duration = 1800.0
    """Seconds a plan waits for a person."""


class NoticesConfig(HttpConfig):
    """Where people are told what they want to know: a generic JSON webhook, see docs/notices.md."""

    kinds: tuple[NoticeKind, ...] = tuple(kind for kind in NoticeKind if kind not in ROUTINE)
    """What is sent. All but what is routine."""
    timeout: Annotated[Duration, Field(le=60)] = 10.0
    """Seconds the receiver has for its answer. One that takes longer is sent the same notice again."""


class HeartbeatConfig(Model):
    """The dead man's switch: an alert that always fires, of each cluster, has to keep arriving."""

    alertname: str = Field(default="Watchdog", min_length=1)
    absent_after: Annotated[Duration, Field(ge=60)] = 900.0
    """Seconds without it, since the last one or since the start, after which people are told."""


_LEAST_KEPT = 31 * 86400
"""A pre-approval lasts so long at most, a shadow report covers 30 days unless it is asked for more."""


class RetentionSettings(Model):
    """How long what has ended is kept, since it ended. A policy that looks back further keeps more."""

    runs: Annotated[Duration, Field(ge=_LEAST_KEPT)] = 90 * 86400.0
    """Seconds: runs, notifications, stops, pre-approvals and notices."""
    audit: Annotated[Duration, Field(ge=_LEAST_KEPT)] = 400 * 86400.0
    """Seconds: the audit, from which a run's timeline is read."""

    @model_validator(mode="after")
    def _timelines_stay(self) -> Self:
        if self.audit < self.runs:
            raise ValueError("audit must not be shorter than runs: a run that is kept would lose its timeline")
        return self


class Limits(Model):
    """What one request may cost. Alertmanager sends about 1 KiB for each alert."""

    body_bytes: Annotated[ByteSize, Field(ge=1024, le=64 * 1024 * 1024)] = ByteSize(4 * 1024 * 1024)


class Config(Model):
    """The whole file."""

    listen: ListenAddress = "127.0.0.1:9791"
    tls: ServerTLS | None = None
    store: StoreConfig
    tokens_file: FilePath
    policy_file: FilePath
    snapshots: SnapshotsConfig
    clusters: Mapping[Annotated[str, Field(min_length=1)], ClusterConfig] = Field(min_length=1)
    runbooks: RunbooksConfig = RunbooksConfig()
    engine: EngineSettings = EngineSettings()
    notices: NoticesConfig | None = None
    heartbeat: HeartbeatConfig = HeartbeatConfig()
    external_url: HttpUrl | None = None
    """Where people reach the remediator: what the links in notices begin with."""
    retention: RetentionSettings = RetentionSettings()
    limits: Limits = Limits()
