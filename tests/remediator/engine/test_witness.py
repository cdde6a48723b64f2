"""Whether an alert is true now: what Prometheus and Alertmanager may answer, and what is made of it."""

import threading
from collections.abc import Iterator, Mapping

import pytest

from ballast_remediator.contract import Answer, Mode, RunState, Verdict
from ballast_remediator.engine import witness
from ballast_remediator.engine.witness import Monitored
from ballast_remediator.notification import parse
from ballast_remediator.policy import Policy
from ballast_remediator.store.database import Store
from tests.remediator.chain import UNREACHABLE, payload
from tests.remediator.doubles import FakeAlertmanager, http_server
from tests.remediator.engine.desk import Recording, say
from tests.remediator.engine.monitors import LABELS, TARGET, Monitors, alert, asking, judged, monitors
from tests.remediator.incidents.incident import witnessed
from tests.remediator.standing import policy


@pytest.fixture
def said() -> Iterator[Monitors]:
    with monitors() as both:
        yield both


def refused(answer: Answer, words: str, *, passing: bool) -> bool:
    assert answer.verdict is Verdict.REFUSE
    assert words in answer.reason
    assert answer.passing is passing
    return True


def test_an_alert_that_fires_is_true(said: Monitors) -> None:
    said.prometheus.fires(age="5", severity="none")
    answer = said.judged()
    assert answer.verdict is Verdict.ALLOW
    assert "5.0 s ago" in answer.reason
    (question,) = said.prometheus.asked
    assert question == (
        'time() - timestamp(ALERTS{alertname="EtcdFull",alertstate="firing",ballast_runbook="recording",'
        'etcd_cluster="main"})'
    )


def test_the_policy_gets_the_labels_that_prometheus_knows_and_not_those_that_were_delivered(said: Monitors) -> None:
    said.prometheus.fires(severity="none")
    evidence = said.witness.look(alert(team="loose"), TARGET, "etcd_cluster")
    assert evidence.series == {**LABELS, "alertstate": "firing", "severity": "none"}


def two_teams() -> Policy:
    loose, strict = policy(Mode.AUTO, match={"team": "loose"}), policy(Mode.SHADOW)
    rules = (*loose.content.rules, *strict.content.rules)
    return Policy(loose.content.model_copy(update={"rules": rules}))


def test_an_invented_label_of_a_looser_rule_gets_nowhere(said: Monitors, store: Store) -> None:
    said.prometheus.fires()
    desk = witnessed(store, Recording(), said.witness, two_teams())
    assert desk.answer(say(alertname="EtcdFull", team="loose")).state is RunState.SHADOWED
    said.prometheus.series.clear()
    said.prometheus.fires(team="loose")
    assert desk.answer(say(alertname="EtcdFull", team="loose")).state is RunState.SUCCEEDED


def test_an_alert_that_does_not_fire_is_not(said: Monitors) -> None:
    assert refused(said.judged(), "does not fire any more, or never did", passing=True)


def test_an_empty_answer_with_a_warning_says_nothing(said: Monitors) -> None:
    said.prometheus.warnings.append("store-2 did not answer")
    assert refused(said.judged(), "is unknown: time() - ", passing=True)
    assert "gives nothing, and a warning: store-2 did not answer" in said.judged().reason
    said.prometheus.fires()
    assert said.judged().verdict is Verdict.ALLOW


def test_a_rule_that_is_no_longer_evaluated_is_no_proof(said: Monitors) -> None:
    said.prometheus.fires(age="61")
    assert refused(said.judged(), "1 min 1 s ago", passing=True)


@pytest.mark.parametrize("age", ["NaN", "-3", "+Inf", "-Inf"])
def test_an_age_that_is_none_is_no_proof(said: Monitors, age: str) -> None:
    said.prometheus.fires(age=age)
    assert refused(said.judged(), "which is no age", passing=True)
    evidence = said.witness.look(alert(), TARGET, "etcd_cluster")
    assert "which is no age" in (evidence.problem or "")
    assert evidence.age == 0.0


def test_prometheus_is_not_there() -> None:
    nobody = Monitored({"here": asking(UNREACHABLE, UNREACHABLE)})
    assert refused(judged(nobody, alert()), "whether the alert is true is unknown: http://127.0.0.1:9", passing=True)


@pytest.mark.parametrize("status", [400, 422, 500, 503])
def test_prometheus_answers_with_a_fault(said: Monitors, status: int) -> None:
    said.prometheus.fires()
    said.prometheus.status = status
    said.prometheus.series = [({}, "no number")]
    assert refused(said.judged(), "whether the alert is true is unknown", passing=True)


def test_prometheus_takes_longer_than_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness, "TIMEOUT", 0.1)
    over = threading.Event()

    def hang(path: str, query: Mapping[str, list[str]]) -> tuple[int, object]:
        del path, query
        over.wait(30.0)
        return 200, {}

    with http_server(hang) as url:
        answer = judged(Monitored({"here": asking(url, UNREACHABLE)}), alert())
        over.set()
    assert refused(answer, "whether the alert is true is unknown", passing=True)


def test_what_fires_with_other_labels_is_another_alert(said: Monitors) -> None:
    said.prometheus.fires(severity="page")
    assert refused(said.judged(severity="none"), "it fires with other labels: {", passing=True)


def test_of_several_series_the_one_that_was_delivered_counts(said: Monitors) -> None:
    said.prometheus.fires(age="1", member="m1")
    said.prometheus.fires(age="70", member="m2")
    assert said.judged(member="m1").verdict is Verdict.ALLOW
    assert refused(said.judged(member="m2"), "1 min 10 s ago", passing=True)
    assert said.judged().verdict is Verdict.ALLOW
    evidence = said.witness.look(alert(), TARGET, "etcd_cluster")
    assert [one["member"] for one in (evidence.series or {}, *evidence.others)] == ["m1", "m2"]


def test_an_alert_that_may_be_one_of_several_rules_is_none(said: Monitors, store: Store) -> None:
    said.prometheus.fires(age="1", team="loose")
    said.prometheus.fires(age="2", team="strict")
    desk = witnessed(store, Recording(), said.witness, two_teams())
    assert desk.answer(say(alertname="EtcdFull", team="strict")).state is RunState.SHADOWED
    unclear = desk.answer(say(alertname="EtcdFull"))
    assert unclear.state is RunState.SUPPRESSED
    assert "the policy has different rules for them" in unclear.reason
    assert desk.answer(say(alertname="EtcdFull", team="loose")).state is RunState.SUCCEEDED


def test_an_invented_alert_cannot_borrow_the_truth_of_another_runbook_or_target(said: Monitors) -> None:
    said.prometheus.fires(ballast_runbook="another")
    said.prometheus.fires(etcd_cluster="events")
    assert refused(said.judged(), "it fires with other labels", passing=True)


@pytest.mark.parametrize("delivered", [{}, {"cluster": "here"}])
def test_another_clusters_series_prove_nothing(said: Monitors, delivered: dict[str, str]) -> None:
    said.prometheus.fires(cluster="there")
    assert refused(said.judged(**delivered), "it fires with other labels", passing=True)


def test_one_prometheus_of_many_clusters_is_asked_for_this_one() -> None:
    with monitors(labels={"k8s": "production"}) as said:
        said.prometheus.fires(k8s="production")
        assert said.judged().verdict is Verdict.ALLOW
        assert said.prometheus.asked[0].endswith(',etcd_cluster="main",k8s="production"})')
        said.prometheus.series.clear()
        said.prometheus.fires(k8s="test")
        assert refused(said.judged(), "it fires with other labels", passing=True)


@pytest.mark.parametrize(
    "name",
    [
        'x"} or vector(1) or ALERTS{alertname="y',
        'x\\"} or vector(1) #',
        "x\\",
        "line\nbreak",
        "a\x00\x1b[2J\x7f\u2028b",
        "e" * 60_000,
    ],
)
def test_no_label_gets_out_of_its_quotes(said: Monitors, name: str) -> None:
    said.judged(alertname=name)
    (question,) = said.prometheus.asked
    assert question.startswith('time() - timestamp(ALERTS{alertname="')
    assert question.endswith('",alertstate="firing",ballast_runbook="recording",etcd_cluster="main"})')
    quoted = question.removeprefix("time() - timestamp(ALERTS{alertname=").split(',alertstate="firing"')[0]
    assert '"' not in quoted[1:-1].replace("\\\\", "").replace('\\"', "")
    assert "\n" not in question


def test_an_alert_without_a_name_is_not_true(said: Monitors) -> None:
    said.prometheus.fires(alertname="")
    (nameless,) = parse(payload(labels={"alertname": None, "ballast_runbook": "recording"})).alerts
    said.alertmanager.hold("f", {**LABELS, "alertname": ""}, silenced=True)
    assert refused(judged(said.witness, nameless), "is silenced", passing=False)


def test_a_silence_is_a_persons_no(said: Monitors) -> None:
    said.prometheus.fires()
    said.alertmanager.hold("f", LABELS, silenced=True)
    assert refused(said.judged(), "the alert is silenced (a-silence)", passing=False)


def test_an_invented_fingerprint_or_label_does_not_get_round_a_silence(said: Monitors) -> None:
    said.prometheus.fires(severity="none")
    true = {**LABELS, "severity": "none", "region": "eu", "cluster": "here"}
    said.alertmanager.held.clear()
    said.alertmanager.hold("the true one", true, silenced=True)
    for invented in ({}, {"region": "us"}, {"part": "3"}):
        assert refused(said.judged(**invented), "the alert is silenced", passing=False)


def test_a_silence_of_something_else_is_none_of_this(said: Monitors) -> None:
    said.prometheus.fires()
    said.alertmanager.hold("1", {**LABELS, "cluster": "there"}, silenced=True)
    said.alertmanager.hold("2", {**LABELS, "etcd_cluster": "events"}, silenced=True)
    said.alertmanager.hold("3", {**LABELS, "ballast_runbook": "another"}, silenced=True)
    assert said.judged().verdict is Verdict.ALLOW


def test_a_silence_of_any_such_alert_of_the_target_is_a_no(said: Monitors) -> None:
    said.prometheus.fires(member="m1")
    said.alertmanager.hold("1", {**LABELS, "member": "m2"}, silenced=True)
    assert refused(said.judged(member="m1"), "the alert is silenced (a-silence)", passing=False)


def test_an_inhibition_is_no_persons_no(said: Monitors) -> None:
    said.prometheus.fires()
    said.alertmanager.held[0]["status"] = {"state": "suppressed", "silencedBy": [], "inhibitedBy": ["x"], "mutedBy": []}
    assert said.judged().verdict is Verdict.ALLOW


def test_an_alertmanager_that_does_not_have_the_alert_knows_of_no_silence(said: Monitors) -> None:
    said.prometheus.fires()
    said.alertmanager.held.clear()
    assert refused(said.judged(), "whether somebody silenced the alert is unknown", passing=True)
    assert "does not have the alert" in said.judged().reason


def test_one_alertmanager_that_answers_is_enough() -> None:
    with monitors(UNREACHABLE) as said:
        said.prometheus.fires()
        assert said.judged().verdict is Verdict.ALLOW
        said.alertmanager.hold("f", LABELS, silenced=True)
        assert refused(said.judged(), "the alert is silenced", passing=False)


def test_a_silence_that_only_one_of_them_knows_counts() -> None:
    other = FakeAlertmanager()
    other.hold("f", LABELS)
    with http_server(other) as url, monitors(url) as said:
        said.prometheus.fires()
        assert said.judged().verdict is Verdict.ALLOW
        said.alertmanager.hold("f", LABELS, silenced=True)
        assert refused(said.judged(), "the alert is silenced", passing=False)
        said.alertmanager.held.clear()
        other.hold("f", LABELS, silenced=True)
        assert refused(said.judged(), "the alert is silenced", passing=False)


def test_when_no_alertmanager_answers_nobody_knows_of_a_silence(said: Monitors) -> None:
    said.prometheus.fires()
    alone = Monitored({"here": asking(said.monitoring.prometheus.url, UNREACHABLE, UNREACHABLE)})
    assert refused(judged(alone, alert()), "whether somebody silenced the alert is unknown", passing=True)
