"""Whether an alert is true now, asked of a real Prometheus and a real Alertmanager."""

import json
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ballast_remediator.contract import Alert, Answer, Verdict
from ballast_remediator.engine.witness import Monitored
from drills.stack import Service, Stack
from kube_ballast.clients.alertmanager import Alertmanager, AlertStatus
from kube_ballast.config import HttpConfig
from tests.remediator.engine.monitors import LABELS, alert, asking, judged
from tests.waiting import eventually

NAME = LABELS["alertname"]
QUIET = {
    "route": {"receiver": "nobody"},
    "receivers": [{"name": "nobody"}],
    "inhibit_rules": [{"source_matchers": ["alertname=Outage"], "target_matchers": [f"alertname={NAME}"]}],
}


def post(url: str, content: object = None) -> Any:
    body = json.dumps(content).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.urlopen(request, timeout=5.0) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def rules(**expressions: str) -> str:
    """Rules by alert name, with their expressions."""
    one = {"ballast_runbook": "recording", "etcd_cluster": "main", "severity": "none"}
    found = [{"alert": name, "expr": expr, "labels": one} for name, expr in expressions.items()]
    return json.dumps({"groups": [{"name": "test", "interval": "1s", "rules": found}]})


class Installation:
    """Both servers, and a rule file that a test writes anew."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.file = folder / "rules.yml"
        self.file.write_text(rules(EtcdFull="vector(1)"))
        self.alertmanager: Service = stack.alertmanager(config=QUIET)
        self.prometheus: Service = stack.prometheus(
            rules=[self.file],
            alertmanagers=[self.alertmanager.url],
            external_labels={"cluster": "here"},
            evaluation_interval="1s",
            # It finds its Alertmanagers some seconds after it began to evaluate.
            flags={"rules.alert.resend-delay": "1s"},
        )
        self.witness = Monitored({"here": asking(self.prometheus.url, self.alertmanager.url)})

    def now_rules(self, **expressions: str) -> None:
        self.file.write_text(rules(**expressions))
        post(f"{self.prometheus.url}/-/reload")

    def held(self) -> AlertStatus | None:
        client = Alertmanager(HttpConfig(url=self.alertmanager.url))
        return next(iter(client.alerts(timeout=5.0, labels={"alertname": NAME})), None)

    def delivered(self) -> Alert:
        """The alert as Alertmanager delivers it."""
        one = eventually(self.held, within=30.0)
        assert one is not None
        return Alert(one.fingerprint, one.labels, one.annotations, firing=True, starts_at=1.0)

    def judged(self, **invented: str) -> Answer:
        return judged(self.witness, alert(**invented) if invented else self.delivered())

    def becomes(self, verdict: Verdict, words: str) -> bool:
        answer = self.judged()
        return answer.verdict is verdict and words in answer.reason


def test_the_life_of_an_alert(stack: Stack, tmp_path: Path) -> None:
    here = Installation(stack, tmp_path)
    one = here.delivered()
    eventually(lambda: here.becomes(Verdict.ALLOW, "nobody silenced it"))
    assert one.labels == {**LABELS, "severity": "none", "cluster": "here"}

    ends = datetime.now(UTC) + timedelta(hours=1)
    silence = {
        "matchers": [{"name": "etcd_cluster", "value": "main", "isRegex": False, "isEqual": True}],
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": ends.isoformat(),
        "createdBy": "anna",
        "comment": "leave it to me",
    }
    silence_id = post(f"{here.alertmanager.url}/api/v2/silences", silence)["silenceID"]
    eventually(lambda: here.becomes(Verdict.REFUSE, f"the alert is silenced ({silence_id})"))
    assert "is silenced" in here.judged(part="3").reason
    over = urllib.request.Request(f"{here.alertmanager.url}/api/v2/silence/{silence_id}", method="DELETE")
    urllib.request.urlopen(over, timeout=5.0).close()
    eventually(lambda: here.becomes(Verdict.ALLOW, "nobody silenced it"))

    here.now_rules(EtcdFull="vector(1)", Outage="vector(1)")
    eventually(lambda: (one := here.held()) is not None and one.inhibited_by)
    assert here.judged().verdict is Verdict.ALLOW

    for name in ('EtcdFull"} or vector(1) #', "EtcdFull\\", 'x"} or ALERTS{alertname="EtcdFull', "a\x00\x1b\x7f\nb"):
        answer = here.judged(alertname=name)
        assert answer.verdict is Verdict.REFUSE
        assert "does not fire any more, or never did" in answer.reason

    here.now_rules(EtcdFull="vector(1) > 1")
    eventually(lambda: judged(here.witness, one).verdict is Verdict.REFUSE)
    assert "does not fire any more" in judged(here.witness, one).reason


def test_an_alert_whose_rule_is_no_longer_evaluated_ages_out(stack: Stack, tmp_path: Path) -> None:
    here = Installation(stack, tmp_path)
    one = here.delivered()
    ends = datetime.now(UTC) + timedelta(hours=1)
    post(f"{here.alertmanager.url}/api/v2/alerts", [{"labels": one.labels, "endsAt": ends.isoformat()}])
    # A Prometheus that dies marks nothing as stale: the next one serves its last sample for five minutes.
    here.prometheus.process.kill()
    here.file.write_text(rules())
    here.prometheus.process.restart()
    assert judged(here.witness, one).verdict is Verdict.ALLOW
    eventually(lambda: judged(here.witness, one, fresh_within=3.0).verdict is Verdict.REFUSE)
    answer = judged(here.witness, one, fresh_within=3.0)
    assert "is its rule still evaluated?" in answer.reason
    assert answer.passing
