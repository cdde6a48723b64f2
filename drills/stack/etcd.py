"""etcd, one member or several."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from drills.stack.certificates import Authority
from drills.stack.ground import Ground, clean
from drills.stack.process import Component, Process, http_probe, tool
from kube_ballast.config import EtcdConfig, EtcdMemberConfig, TLSFiles


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """One member: `endpoint` for clients (gRPC and HTTP), `metrics_url` plain HTTP, as kubeadm has it."""

    name: str
    endpoint: str
    metrics_url: str
    data_dir: Path
    process: Process

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def stop(self) -> None:
        self.process.stop()

    def restart(self) -> None:
        """Same data, same ports; waits until it is ready, which needs a quorum."""
        self.process.restart()


@dataclass(frozen=True, slots=True)
class EtcdCluster:
    """The members, and what a client needs: `tls` is a client's certificate, None for a plain cluster."""

    members: tuple[EtcdMember, ...]
    tls: TLSFiles | None
    authority: Authority | None

    @property
    def endpoints(self) -> tuple[str, ...]:
        return tuple(member.endpoint for member in self.members)

    @property
    def config(self) -> EtcdConfig:
        """As the programs' configuration has it."""
        members = (EtcdMemberConfig(endpoint=each.endpoint, metrics_url=each.metrics_url) for each in self.members)
        return EtcdConfig(members=tuple(members), tls=self.tls)


@dataclass(frozen=True, slots=True)
class _Plan:
    name: str
    client: str
    peer: str
    metrics: str
    data_dir: Path


def start_etcd(
    ground: Ground,
    *,
    members: int = 1,
    tls: bool = False,
    quota_bytes: int | None = None,
    heartbeat_ms: int = 100,
    election_ms: int = 1000,
    flags: Mapping[str, str] | None = None,
) -> EtcdCluster:
    """Start a cluster; ready means that every member answers a linearizable read.

    Args:
        ground: where it runs.
        members: how many.
        tls: mutual TLS for clients and peers.
        quota_bytes: `--quota-backend-bytes`; None leaves etcd's default of 2 GiB, negative disables it.
        heartbeat_ms: `--heartbeat-interval`.
        election_ms: `--election-timeout`; raise it with the heartbeat where the machine is noisy.
        flags: further flags of etcd without the dashes, such as `{"auto-compaction-retention": "1h"}`.
    """
    folder = ground.data("etcd")
    authority = Authority(ground.data("etcd-certificates")) if tls else None
    server = authority.issue("etcd") if authority else None
    scheme = "https" if tls else "http"
    plans = [
        _Plan(
            name=f"{folder.name}-{number}",
            client=f"{scheme}://{ground.address()}",
            peer=f"{scheme}://{ground.address()}",
            metrics=f"http://{ground.address()}",
            data_dir=folder / str(number),
        )
        for number in range(1, members + 1)
    ]
    shared = {
        "initial-cluster": ",".join(f"{plan.name}={plan.peer}" for plan in plans),
        "initial-cluster-token": ground.folder.name,
        "quota-backend-bytes": None if quota_bytes is None else str(quota_bytes),
        "heartbeat-interval": str(heartbeat_ms),
        "election-timeout": str(election_ms),
        **_tls_flags(server),
        **(flags or {}),
    }
    processes = ground.run(*(_component(plan, shared) for plan in plans))
    return EtcdCluster(
        members=tuple(
            EtcdMember(plan.name, plan.client, plan.metrics, plan.data_dir, process)
            for plan, process in zip(plans, processes, strict=True)
        ),
        tls=authority.issue("ballast") if authority else None,
        authority=authority,
    )


def _component(plan: _Plan, shared: Mapping[str, str | None]) -> Component:
    own = {
        "name": plan.name,
        "data-dir": str(plan.data_dir),
        "listen-client-urls": plan.client,
        "advertise-client-urls": plan.client,
        "listen-peer-urls": plan.peer,
        "initial-advertise-peer-urls": plan.peer,
        "listen-metrics-urls": plan.metrics,
    }
    return Component(
        name=plan.name,
        program=tool("etcd"),
        arguments=clean({**own, **shared}),
        ready=http_probe(f"{plan.metrics}/readyz"),
    )


def _tls_flags(server: TLSFiles | None) -> dict[str, str]:
    if server is None:
        return {}
    return {
        f"{prefix}{flag}": value
        for prefix in ("", "peer-")
        for flag, value in (
            ("cert-file", str(server.cert)),
            ("key-file", str(server.key)),
            ("trusted-ca-file", str(server.ca)),
            ("client-cert-auth", "true"),
        )
    }
