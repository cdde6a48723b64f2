"""A cluster's apiservers in the remediator's configuration: where each is, and how it is restarted."""

from ipaddress import ip_address
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, FilePath, field_validator, model_validator

from kube_ballast.clients.hosts.restart import Restart, RestartMethod
from kube_ballast.config import HOST_NAME, HttpUrl, ListenAddress, Model, TLSFiles, split_address


class RestartConfig(Model):
    """How an apiserver is restarted: by a command of the site's own, as a unit of systemd, or as a container.

    The command is a program with its arguments; no shell reads it.
    """

    command: tuple[Annotated[str, Field(min_length=1, pattern=r"^[^{\x00-\x1f]*$")], ...] | None = Field(
        default=None, min_length=1
    )
    unit: Annotated[str, Field(pattern=r"^[A-Za-z0-9:_.@-]+\.service$")] | None = None
    container: Annotated[str, Field(pattern=HOST_NAME)] | None = None
    grace: int = Field(default=5, ge=1, le=60)
    """Seconds from SIGTERM to SIGKILL, where it is us who send them."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if [self.command, self.unit, self.container].count(None) != 2:  # noqa: PLR2004 - all of three but one
            raise ValueError("say one of command, unit and container")
        return self

    @property
    def how(self) -> Restart:
        """As the client of hosts takes it."""
        if self.command is not None:
            return Restart(RestartMethod.COMMAND, self.grace, command=self.command)
        if self.unit is not None:
            return Restart(RestartMethod.SYSTEMD, self.grace, unit=self.unit)
        return Restart(RestartMethod.CRI, self.grace, container=self.container or "")


class ApiserverConfig(Model):
    """One apiserver, by its own address: the one that the exporter probes it at, and that alerts name."""

    url: HttpUrl
    host: Annotated[str, Field(pattern=HOST_NAME)] | None = None
    """As the inventory or a Node has it; the URL's host when none is named."""
    listens: ListenAddress | None = None
    """IP:PORT on its host; the URL's when none is named."""
    etcd: tuple[HttpUrl, ...] = ()
    """The members that it uses, as ``etcd`` has them; all when none is named."""
    restart: RestartConfig | None = None

    @property
    def name(self) -> str:
        """HOST:PORT, as alerts and evidence have it."""
        return urlsplit(self.url).netloc

    @property
    def host_name(self) -> str:
        """What the inventory is asked for."""
        return self.host or str(urlsplit(self.url).hostname)

    @property
    def listening(self) -> str:
        """IP:PORT."""
        return self.listens or self.name

    @model_validator(mode="after")
    def _listens_somewhere(self) -> Self:
        try:
            host, _ = split_address(self.listening)
            ip_address(host)
        except ValueError as error:
            raise ValueError(
                f"{self.url} is not of the form https://IP:PORT: say in listens where it listens"
            ) from error
        return self


class ApiserversConfig(Model):
    """A cluster's apiservers, one by one, and what they are asked with."""

    instances: tuple[ApiserverConfig, ...] = Field(min_length=1)
    tls: TLSFiles | None = None
    bearer_token_file: FilePath | None = None
    executable: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]+$")] = "kube-apiserver"
    """The program that an apiserver's process has to be."""

    @field_validator("instances")
    @classmethod
    def _addresses_differ(cls, value: tuple[ApiserverConfig, ...]) -> tuple[ApiserverConfig, ...]:
        if len({one.name for one in value}) != len(value):
            raise ValueError("the same address stands twice")
        return value
