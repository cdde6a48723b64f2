"""A Prometheus and an Alertmanager that say what a test has them say, and the witness that asks them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from ballast_remediator.connections import Monitoring
from ballast_remediator.contract import Alert, Answer, Target
from ballast_remediator.engine.witness import Monitored
from ballast_remediator.guards.alert_is_true_now import alert_is_true_now
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import HttpConfig
from tests.remediator.doubles import FakeAlertmanager, http_server

TARGET = Target("here", "recording", "main")
LABELS = {"alertname": "EtcdFull", "ballast_runbook": "recording", "etcd_cluster": "main"}
FRESH_WITHIN = 60.0


@dataclass
class Saying:
    """Prometheus: gives ``series`` with their values, whatever it is asked."""

    series: list[tuple[dict[str, str], str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    status: int = 200
    asked: list[str] = field(default_factory=list)

    def fires(self, age: str = "5", **labels: str) -> None:
        self.series.append(({**LABELS, "alertstate": "firing", **labels}, age))

    def __call__(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, object]:
        assert path == "/api/v1/query"
        (question,) = query["query"]
        self.asked.append(question)
        result = [{"metric": labels, "value": [1.0, value]} for labels, value in self.series]
        content: dict[str, Any] = {"status": "success", "data": {"resultType": "vector", "result": result}}
        return self.status, {**content, "warnings": self.warnings}


@dataclass(frozen=True)
class Monitors:
    """The two servers, and what the guard says of an alert that they are asked about."""

    prometheus: Saying
    alertmanager: FakeAlertmanager
    monitoring: Monitoring

    @property
    def witness(self) -> Monitored:
        return Monitored({"here": self.monitoring})

    def judged(self, **labels: str) -> Answer:
        return judged(self.witness, alert(**labels))


def alert(**labels: str) -> Alert:
    return Alert("f", {**LABELS, **labels}, {}, firing=True, starts_at=1.0)


def judged(witness: Monitored, one: Alert, *, fresh_within: float = FRESH_WITHIN) -> Answer:
    """What the guard says of what ``witness`` says."""
    return alert_is_true_now(witness.look(one, TARGET, "etcd_cluster"), fresh_within=fresh_within)


def asking(prometheus: str, *alertmanagers: str, labels: Mapping[str, str] | None = None) -> Monitoring:
    return Monitoring(
        Prometheus(HttpConfig(url=prometheus)),
        labels or {},
        tuple(Alertmanager(HttpConfig(url=url)) for url in alertmanagers),
    )


@contextmanager
def monitors(*others: str, labels: Mapping[str, str] | None = None) -> Iterator[Monitors]:
    """The Alertmanager holds the alert; ``others`` are the URLs of Alertmanagers besides it."""
    prometheus, alertmanager = Saying(), FakeAlertmanager()
    alertmanager.hold("f", LABELS)
    with ExitStack() as stack:
        urls = [stack.enter_context(http_server(server)) for server in (prometheus, alertmanager)]
        yield Monitors(prometheus, alertmanager, asking(urls[0], *others, urls[1], labels=labels))
