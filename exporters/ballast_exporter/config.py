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
    collectors:
      etcd_quota: {enabled: true, interval: 10s, deadline: 5s}

Paths are taken from the working directory.
"""

from typing import Literal, Self

from pydantic import Field, FilePath, field_validator, model_validator

from kube_ballast.config import Duration, EtcdConfig, ListenAddress, Model


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


class CollectorsConfig(Model):
    """One entry a collector, by its name."""

    etcd_quota: CollectorConfig = CollectorConfig()


class Config(Model):
    """The whole file."""

    listen: ListenAddress = "127.0.0.1:9790"
    web_config_file: FilePath | None = None
    log: LogConfig = LogConfig()
    etcd: tuple[EtcdConfig, ...] = Field(min_length=1)
    collectors: CollectorsConfig = CollectorsConfig()

    @field_validator("etcd")
    @classmethod
    def _names_differ(cls, value: tuple[EtcdConfig, ...]) -> tuple[EtcdConfig, ...]:
        names = [etcd.name for etcd in value]
        if len(set(names)) != len(names):
            raise ValueError("two etcds have the same name: their series could not be told apart")
        return value
