"""What every Ballast program says the same way in its configuration: how to reach etcd and HTTP services."""

import re
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    field_validator,
    model_validator,
)

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

HOST_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"
"""Of users and hosts: nothing that a shell, a template or ssh's configuration would read as anything else."""
_JUMP = r"^([A-Za-z0-9_][A-Za-z0-9._-]*@)?[A-Za-z0-9_][A-Za-z0-9._-]*(:\d{1,5})?$"
_PATH = r"^[A-Za-z0-9._/-]+$"


def _seconds(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"{value} is no duration: write for example 30s, 5m or 1h30m")  # noqa: TRY004 (pydantic's way)
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ValueError(f"{value!r} is no duration: write for example 30s, 5m or 1h30m")
        return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    return value


Duration = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]
"""Seconds; written as a number or like Prometheus writes it: ``30s``, ``5m``, ``1h30m``."""


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable, parts = False, urlsplit("")
    if parts.username is not None or parts.password is not None:
        raise ValueError("credentials in a URL end up in logs: configure auth or bearer_token_file")
    if not usable or parts.query or parts.fragment:
        raise ValueError(f"{value!r} is no URL of the form http(s)://HOST[:PORT][/PATH]")
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]


_PORTS = range(1, 65536)


def split_address(value: str) -> tuple[str, int]:
    """``HOST:PORT`` in two; the host is empty for every address. Raises ValueError."""
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) not in _PORTS:
        raise ValueError(f"{value!r} is no address of the form HOST:PORT, for example 127.0.0.1:9790 or :9790")
    bare = host.removeprefix("[").removesuffix("]")
    if (":" in bare) != (host != bare):
        raise ValueError(f"{value!r}: an IPv6 address, and nothing else, is written in brackets")
    return bare, int(port)


def _address(value: str) -> str:
    split_address(value)
    return value


ListenAddress = Annotated[str, AfterValidator(_address)]


class Model(BaseModel):
    """A part of a configuration file: unknown keys are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class TLSFiles(Model):
    """PEM files for a TLS client. They are read at each connect, so that renewed files take effect."""

    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None
    server_name: str | None = None

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: give both or neither")
        return self


class BasicAuth(Model):
    """A user whose password stands in a file."""

    username: str
    password_file: FilePath

    def password(self) -> str:
        """The password as the file holds it now, without the line's end."""
        return self.password_file.read_text(encoding="utf-8").rstrip("\r\n")


class HttpConfig(Model):
    """An HTTP service such as Prometheus or Alertmanager."""

    url: HttpUrl
    tls: TLSFiles | None = None
    auth: BasicAuth | None = None
    bearer_token_file: FilePath | None = None

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.auth is not None and self.bearer_token_file is not None:
            raise ValueError("auth and bearer_token_file exclude each other")
        return self


class DiskSource(Model):
    """Where node_exporter reports the filesystem that holds a member's data directory."""

    instance: str
    mountpoint: str


class EtcdMemberConfig(Model):
    """One member: ``endpoint`` speaks gRPC, ``metrics_url`` (kubeadm: ``http://127.0.0.1:2381``) HTTP."""

    endpoint: HttpUrl
    metrics_url: HttpUrl | None = None
    failure_domain: str | None = Field(default=None, min_length=1)
    """What fails together with this member, such as a host or a zone; its endpoint's host when none is named."""
    disk: DiskSource | None = None

    @property
    def http_url(self) -> str:
        """Where ``/metrics``, ``/health`` and ``/readyz`` are asked for."""
        return self.metrics_url or self.endpoint


class EtcdConfig(Model):
    """One etcd cluster; ``name`` (label ``etcd_cluster``) tells the etcds of one Kubernetes cluster apart."""

    name: str = Field(default="main", min_length=1)
    members: tuple[EtcdMemberConfig, ...] = Field(min_length=1)
    tls: TLSFiles | None = None
    auth: BasicAuth | None = None

    @field_validator("members")
    @classmethod
    def _endpoints_differ(cls, members: tuple[EtcdMemberConfig, ...]) -> tuple[EtcdMemberConfig, ...]:
        endpoints = [member.endpoint for member in members]
        if len(set(endpoints)) != len(endpoints):
            raise ValueError("the same endpoint stands twice")
        return members


class KubernetesConfig(Model):
    """How a cluster's apiserver is reached: a ``context`` of a kubeconfig, by default its current one.

    Without a kubeconfig it is the cluster this runs in, with the rights of the pod's service account.
    """

    kubeconfig: FilePath | None = None
    context: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _context_of_something(self) -> Self:
        if self.context is not None and self.kubeconfig is None:
            raise ValueError("context is one of a kubeconfig: name that too")
        return self


class SshConfig(Model):
    """How hosts are reached. Nobody's host key is taken on trust: ``known_hosts_file`` has to have it."""

    known_hosts_file: FilePath
    private_key_file: FilePath | None = None
    user: Annotated[str, Field(pattern=HOST_NAME)] | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    jump: Annotated[str, Field(pattern=_JUMP)] | None = None
    """``[USER@]HOST[:PORT]``, which is passed on the way."""


class NodesConfig(Model):
    """Hosts as the cluster's Nodes name them, kept in the file ``cache``: the apiserver may be gone when they count."""

    kubernetes: KubernetesConfig
    cache: Path
    selector: Annotated[str, Field(pattern=r"^[A-Za-z0-9./_=!, -]+$")] = "node-role.kubernetes.io/control-plane"
    refresh: Annotated[Duration, Field(ge=10)] = 30.0
    """Seconds between two looks at the Nodes; so late is it known that somebody works on one."""


class HostsConfig(Model):
    """Where the hosts of a cluster stand, and how Ansible reaches them: one of three ways.

    ``inventory`` is an inventory of Ansible's, whose variables win over what is given here; ``nodes`` are the
    cluster's own; ``local`` is this machine alone.
    """

    inventory: Path | None = None
    nodes: NodesConfig | None = None
    local: bool = False
    ssh: SshConfig | None = None
    become: bool = True
    """Whether it takes sudo to be root there."""
    python: Annotated[str, Field(pattern=_PATH)] | None = None
    """The hosts' Python; Ansible looks for one where none is given."""
    ss: Annotated[str, Field(pattern=_PATH)] = "ss"
    timeout: Annotated[Duration, Field(ge=5, le=300)] = 90.0
    """Seconds for one playbook."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if [self.inventory is not None, self.nodes is not None, self.local].count(True) != 1:
            raise ValueError("say one of inventory, nodes and local: true")
        if self.nodes is not None and self.ssh is None:
            raise ValueError("nodes are reached by ssh: say how, with a known_hosts_file at least")
        return self
