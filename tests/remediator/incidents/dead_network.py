"""An automation that acts on what a dead network shows: Slack, 4 January 2021.

AWS' transit gateways were overloaded and dropped packets. Web servers waited for answers and so used little CPU, which
the autoscaler took for servers to spare: it shut some down in the middle of the outage, also those that responders were
logged in to. Dashboards and alerts lay behind the same gateways and were gone.

Here an alert has just come through, and then neither Prometheus nor two of three members can be reached any more: from
here that looks like an etcd that needs help.

Source: https://slack.engineering/slacks-outage-on-january-4th-2021/
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from ballast_remediator.connections import Monitoring
from ballast_remediator.contract import Answer
from ballast_remediator.engine.witness import Monitored
from ballast_remediator.guards.alert_is_true_now import alert_is_true_now
from ballast_remediator.guards.quorum_survives import quorum_survives
from ballast_remediator.store.database import Store
from kube_ballast.analysis.etcd import EtcdState
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import HttpConfig
from tests.remediator.chain import UNREACHABLE
from tests.remediator.engine.desk import FAR, Recording, SeenWorld
from tests.remediator.guards.states import cluster, member
from tests.remediator.incidents.incident import Outcome, guard, let_it_run, witnessed

STOPPED_BY = (guard(alert_is_true_now), guard(quorum_survives))


def _unreachable() -> EtcdState:
    silent = (replace(member(number), status=None, problem="no answer within 5 s", ready=False) for number in (2, 3))
    return cluster(member(1), *silent)


@dataclass(frozen=True)
class _Seen(SeenWorld):
    state: EtcdState = field(default_factory=_unreachable)


def _quorum(world: _Seen) -> Answer:
    return quorum_survives(world.state)


def happens(folder: Path) -> Outcome:
    dead = HttpConfig(url=UNREACHABLE)
    runbook = Recording(guards=(_quorum,), seeing=lambda: _Seen(FAR))
    with Store(folder / "remediator.db") as store:
        monitoring = Monitoring(Prometheus(dead), {}, (Alertmanager(dead),))
        desk = witnessed(store, runbook, Monitored({"here": monitoring}))
        desk.receive()
        return let_it_run(desk)
