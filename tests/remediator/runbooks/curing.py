"""Apiservers without any apiserver: what they would say is given, and what is done to them is written down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ballast_remediator.apiservers import Apiservers, Evidence
from ballast_remediator.config import ClusterConfig
from ballast_remediator.contract import Alert, Target
from kube_ballast.analysis.control_plane import Load, MemberReads
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.exporter import Finding
from kube_ballast.clients.hosts import Apiserver, Process, Restart, Sight
from tests.remediator.guards import planes

URL = "http://exporter:9790"
SICK, WELL, OTHER = planes.NAMES
BEFORE, LATER = Process(4711, 100, "boot"), Process(4712, 200, "boot")
LINES = ("10.0.0.1:50001 10.0.0.1:2379", "10.0.0.1:50002 10.0.0.1:2379")
MIB = 2**20


def alert(since: float = 500.0) -> Alert:
    return Alert("fingerprint", {"apiserver": SICK}, {}, firing=True, starts_at=since)


def target(runbook: str) -> Target:
    return Target("here", runbook, SICK)


def config(**instance: Any) -> ClusterConfig:
    """Three apiservers, the first with what is given besides."""
    others = [{"url": f"https://{name}"} for name in (WELL, OTHER)]
    return ClusterConfig.model_validate(
        {
            "etcd": [{"members": [{"endpoint": endpoint} for endpoint in planes.ENDPOINTS]}],
            "prometheus": {"url": "http://prometheus:9090"},
            "alertmanagers": [{"url": "http://alertmanager:9093"}],
            "exporters": [{"url": URL}],
            "apiservers": {
                "instances": [{"url": f"https://{SICK}", "etcd": [planes.ENDPOINTS[0]], **instance}, *others]
            },
            "hosts": {"local": True, "become": False},
        }
    )


@dataclass
class Host:
    """`Hosts` that does nothing: ``cut`` and ``restart`` are what somebody wanted done."""

    process: Process | ClientError = BEFORE
    lines: tuple[str, ...] = LINES
    refuses: ClientError | None = None
    cannot_restart: ClientError | None = None
    helps: Callable[[], object] = lambda: None
    done: list[tuple[Any, ...]] = field(default_factory=list)

    def look(self, apiserver: Apiserver, expected: Process | None = None) -> Process:
        del apiserver, expected
        if isinstance(self.process, ClientError):
            raise self.process
        return self.process

    def connections(self, apiserver: Apiserver) -> Sight:
        return Sight(self.look(apiserver), ("10.0.0.1:2379",), self.lines, "ok: [10.0.0.1]")

    def cut(self, apiserver: Apiserver, expected: Process, only: tuple[str, ...]) -> Sight:
        self.done.append(("cut", apiserver.host, expected, only))
        if self.refuses is not None:
            raise self.refuses
        gone = tuple(line for line in self.lines if line in only)
        self.lines = tuple(line for line in self.lines if line not in only)
        self.helps()
        return Sight(expected, ("10.0.0.1:2379",), gone, "changed: [10.0.0.1]")

    def rehearse(self, apiserver: Apiserver, how: Restart) -> Sight:
        del how
        if self.cannot_restart is not None:
            raise self.cannot_restart
        return Sight(self.look(apiserver), ("10.0.0.1:2379",), (), "ok: [10.0.0.1]")

    def restart(self, apiserver: Apiserver, expected: Process, how: Restart) -> Sight:
        self.done.append(("restart", apiserver.host, expected, how.method))
        if self.refuses is not None:
            raise self.refuses
        self.process = LATER
        self.helps()
        return Sight(expected, (), (), "changed: [10.0.0.1]")


class Given(Apiservers):
    """Says what it is given; ``verdicts`` are by apiserver, and each evidence is observed a second after the last."""

    def __init__(self, verdicts: Mapping[str, str] | None = None, **instance: Any) -> None:
        super().__init__("here", config(**instance), ())
        self.verdicts = {SICK: planes.STALLED, WELL: planes.OK, OTHER: planes.OK, **(verdicts or {})}
        self.host = Host()
        self.etcd = planes.members()
        self.at = 1000.0
        self.goes_on = True
        self.loads: dict[str, list[Load]] = {}
        self.not_ready: ClientError | None = None
        self.others: dict[str, tuple[Finding, ...]] = {}
        """What other exporters say, by their URL."""

    @property
    def hosts(self) -> Any:
        return self.host

    def evidence(self) -> Evidence:
        if self.goes_on:
            self.at += 1.0
        told = tuple(planes.finding(name, verdict, self.at) for name, verdict in self.verdicts.items())
        return {URL: told, **self.others}

    def members(self, name: str) -> tuple[MemberReads, ...]:
        del name
        return self.etcd

    def ready(self, name: str) -> None:
        if name == SICK and self.not_ready is not None:
            raise self.not_ready

    def load(self, name: str) -> Load:
        waiting = self.loads.get(name) or [Load(5.0, 300.0 * MIB)]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def heals(self) -> None:
        """From now on the sick one is ok."""
        self.verdicts[SICK] = planes.OK
