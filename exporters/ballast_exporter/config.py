"""The exporter's configuration file.

    listen: 127.0.0.1:9790            # the default; ":9790" is every address
    web_config_file: web.yml          # TLS and passwords, as exporter-toolkit has them
    log: {format: logfmt, level: info}    # or json; debug, info, warning, error
    etcd:
      - name: main                    # label etcd_cluster; "main" is the default
        members:
          - endpoint: https://10.0.0.1:2379
            metrics_url: http://10.0.0.1:2381    # where --listen-metrics-urls points; default: endpoint
        tls: {ca: ca.crt, cert: healthcheck-client.crt, key: healthcheck-client.key}
    apiservers:                       # without them none is asked
      urls: [https://10.0.0.1:6443, https://10.0.0.2:6443]    # each by its own address, no load balancer; or
      # kubernetes: {kubeconfig: exporter.kubeconfig}         # as the Service kubernetes has them
      tls: {ca: ca.crt}
      bearer_token_file: token
    audit:                            # without it no audit events are taken
      listen: :9792                   # where apiservers send them, or: log: /var/log/kubernetes/audit.log
      tls: {cert: sink.crt, key: sink.key, client_ca: apiservers.crt}
      token_file: token               # instead of client_ca, or besides
    collectors:
      etcd_quota: {enabled: true, interval: 10s, deadline: 5s}
      etcd_keyspace:                  # what fills etcd; see the collector's text
        enabled: true
        every: 10m                    # from one census to the next
        prefixes: [/registry]         # --etcd-prefix of each apiserver that uses it
        top: 30                       # resources that are told one by one
        object_names: false           # the names of the largest objects, as a label
        keys_per_second: 4000         # read no faster than this, nor than that many bytes
        bytes_per_second: 16MiB
        exact_bytes: 4GiB             # with more live data than this, sizes are sampled
      apiserver_requests:
        interval: 1m
        deadline: 50s                 # an apiserver that is cut off from its etcd needs 20 s for its metrics
        top: 500                      # resources that are told one by one
      apiserver_clients:
        top: 500                      # series of clients that are told one by one
        node_group: ^([a-z]+)-        # nodes are told as nodes:GROUP; without it as nodes

Paths are taken from the working directory.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, FilePath, ValidationInfo, field_validator, model_validator

from kube_ballast.analysis.keyspace import DEFAULT_PREFIX
from kube_ballast.config import Duration, EtcdConfig, HttpUrl, KubernetesConfig, ListenAddress, Model, TLSFiles


class LogConfig(Model):
    """What is written to stderr, one event a line."""

    format: Literal["logfmt", "json"] = "logfmt"
    level: Literal["debug", "info", "warning", "error"] = "info"


class CollectorConfig(Model):
    """When a collector looks at its sources: every ``interval`` seconds, for ``deadline`` seconds at most."""

    enabled: bool = True
    interval: Duration = 10.0
    deadline: Duration = 5.0

    @model_validator(mode="after")
    def _ends_before_the_next(self) -> Self:
        if self.deadline > self.interval:
            raise ValueError(f"the deadline ({self.deadline:g} s) is longer than the interval ({self.interval:g} s)")
        return self


class EtcdKeyspaceConfig(CollectorConfig):
    """What is counted, how often and how fast. ``interval`` is how often what is known is rendered anew."""

    every: Duration = 600.0
    prefixes: tuple[str, ...] = Field(default=(DEFAULT_PREFIX,), min_length=1)
    top: int = Field(default=30, ge=1, le=500)
    object_names: bool = False
    keys_per_second: float = Field(default=4000.0, ge=100, allow_inf_nan=False)
    bytes_per_second: ByteSize = Field(default=ByteSize(16 * 2**20), ge=2**20)
    exact_bytes: ByteSize = Field(default=ByteSize(4 * 2**30), ge=0)


class ApiserversConfig(Model):
    """The apiservers of a cluster, listed or found by asking it, and what they are asked with."""

    urls: tuple[HttpUrl, ...] | None = Field(default=None, min_length=1)
    kubernetes: KubernetesConfig | None = None
    tls: TLSFiles | None = None
    bearer_token_file: FilePath | None = None

    @field_validator("urls")
    @classmethod
    def _addresses_differ(cls, urls: tuple[str, ...] | None) -> tuple[str, ...] | None:
        addresses = [urlsplit(url).netloc for url in urls or ()]
        if len(set(addresses)) != len(addresses):
            raise ValueError("the same address stands twice")
        return urls

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.urls is None) == (self.kubernetes is None):
            raise ValueError("either list the apiservers in urls, or say in kubernetes which cluster names them")
        return self


class ApiserverRequestsConfig(CollectorConfig):
    """How many resources are told by name, and when apiservers are asked."""

    interval: Duration = 60.0
    deadline: Duration = 50.0
    top: int = Field(default=500, ge=1, le=5000)


class AuditTLS(Model):
    """PEM files of the audit sink, read once; with ``client_ca`` apiservers show a certificate that it signed."""

    cert: FilePath
    key: FilePath
    client_ca: FilePath | None = None


class AuditConfig(Model):
    """Where audit events come from: apiservers that send them to ``listen``, or a file that one writes."""

    listen: ListenAddress | None = None
    tls: AuditTLS | None = None
    token_file: FilePath | None = None
    log: Path | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.listen is None) == (self.log is None):
            raise ValueError("either listen for the apiservers' webhook, or name the log that one writes")
        if (self.listen is None) != (self.tls is None):
            raise ValueError("listen and tls belong together: audit events tell who does what")
        if self.tls is not None and self.tls.client_ca is None and self.token_file is None:
            raise ValueError("anybody could send events: set tls.client_ca, token_file or both")
        if self.log is not None and self.token_file is not None:
            raise ValueError("token_file is for listen: a log has none")
        return self


class ApiserverClientsConfig(CollectorConfig):
    """How many series are told, chosen anew at each ``interval``, and how nodes are grouped."""

    top: int = Field(default=500, ge=1, le=5000)
    node_group: str | None = None

    @field_validator("node_group")
    @classmethod
    def _with_one_group(cls, pattern: str | None) -> str | None:
        try:
            groups = 1 if pattern is None else re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"{pattern!r} needs one group in parentheses: what it matches names the nodes' group")
        return pattern


class GrpcStallConfig(CollectorConfig):
    """Off by default: it writes a Lease for each apiserver. ``uses`` says which members each apiserver asks."""

    enabled: bool = False
    interval: Duration = 1.0
    deadline: Duration = 1.0
    uses: Mapping[str, tuple[HttpUrl, ...]] = Field(default_factory=dict)


class CollectorsConfig(Model):
    """One entry a collector, by its name."""

    etcd_quota: CollectorConfig = CollectorConfig()
    etcd_keyspace: EtcdKeyspaceConfig = EtcdKeyspaceConfig()
    apiserver_requests: ApiserverRequestsConfig = ApiserverRequestsConfig()
    apiserver_clients: ApiserverClientsConfig = ApiserverClientsConfig()
    grpc_stall: GrpcStallConfig = GrpcStallConfig()


class Config(Model):
    """The whole file."""

    listen: ListenAddress = "127.0.0.1:9790"
    web_config_file: FilePath | None = None
    log: LogConfig = LogConfig()
    etcd: tuple[EtcdConfig, ...] = Field(min_length=1)
    apiservers: ApiserversConfig | None = None
    audit: AuditConfig | None = None
    collectors: CollectorsConfig = CollectorsConfig()

    @field_validator("etcd")
    @classmethod
    def _names_differ(cls, value: tuple[EtcdConfig, ...]) -> tuple[EtcdConfig, ...]:
        names = [etcd.name for etcd in value]
        if len(set(names)) != len(names):
            raise ValueError("two etcds have the same name: their series could not be told apart")
        return value

    @field_validator("collectors")
    @classmethod
    def _somebody_to_ask(cls, value: CollectorsConfig, known: ValidationInfo) -> CollectorsConfig:
        if "apiserver_requests" in value.model_fields_set and known.data.get("apiservers", value) is None:
            raise ValueError("apiserver_requests has nobody to ask: list the apiservers under `apiservers`")
        if "apiserver_clients" in value.model_fields_set and known.data.get("audit", value) is None:
            raise ValueError("apiserver_clients has no events to count: say under `audit` where they come from")
        apiservers = known.data.get("apiservers")
        if value.grpc_stall.enabled and apiservers is None:
            raise ValueError("grpc_stall has nobody to ask: say under `apiservers` where they are")
        return value

    @field_validator("collectors")
    @classmethod
    def _members_are_known(cls, value: CollectorsConfig, known: ValidationInfo) -> CollectorsConfig:
        first: EtcdConfig | None = next(iter(known.data.get("etcd", ())), None)
        members = {urlsplit(each.endpoint).netloc for each in first.members} if first else set()
        for apiserver, endpoints in value.grpc_stall.uses.items():
            strange = [each for each in endpoints if urlsplit(each).netloc not in members]
            if first and (strange or not endpoints):
                words = (
                    f"{', '.join(strange)} is none of the first etcd's `members`" if strange else "no member is listed"
                )
                raise ValueError(
                    f"grpc_stall: uses: {apiserver}: {words}: nobody could tell its etcd from its way there"
                )
        return value

    def apiserver_requests(self) -> ApiserverRequestsConfig:
        """The collector's settings; not enabled while no apiservers are configured."""
        settings = self.collectors.apiserver_requests
        return settings if self.apiservers else settings.model_copy(update={"enabled": False})

    def apiserver_clients(self) -> ApiserverClientsConfig:
        """The collector's settings; not enabled while no audit events are configured."""
        settings = self.collectors.apiserver_clients
        return settings if self.audit else settings.model_copy(update={"enabled": False})
