"""What a sender, a Prometheus or a policy may say that nobody meant: it is kept, told and not acted on."""

from pathlib import Path

import pytest
from sqlalchemy import select

from ballast_remediator.contract import Mode, RunState
from ballast_remediator.notification import MAX_TEXT, Malformed, parse
from ballast_remediator.policy import BudgetRule, load
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit
from kube_ballast.configfile import ConfigError
from tests.remediator.engine.desk import Desk, Recording, say, settings
from tests.remediator.engine.monitors import monitors
from tests.remediator.incidents.incident import let_it_run, witnessed
from tests.remediator.standing import policy

CONTROL = "".join(map(chr, range(1, 32))) + "\x7f\x9b\u2028\u202e\ufeff\U0010ffff"
NAMES = [
    CONTROL,
    'main"} or vector(1) or ALERTS{etcd_cluster="x',
    "'; DROP TABLE runs; --",
    "../../etc/passwd",
    "{{ .Labels }} ${x} %s",
    "m" * 20_000,
    " main",
    "Main",
]


def test_a_label_of_a_megabyte_is_refused_before_it_is_kept() -> None:
    with pytest.raises(Malformed, match="String should have at most 65536 characters"):
        parse(say(note="x" * 2**20))


def test_labels_of_a_megabyte_together_are_carried_and_read_as_they_came(desk: Desk) -> None:
    large = {f"note_{number}": f"{number}{CONTROL}" + "x" * (MAX_TEXT - 100) for number in range(16)}
    run = desk.answer(say(**large))
    assert run.state is RunState.SUCCEEDED
    assert {name: run.alert.labels[name] for name in large} == large


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_strange_name_is_one_target_and_no_other(desk: Desk, name: str) -> None:
    strange = desk.answer(say(name))
    assert (strange.target.name, strange.state) == (name, RunState.SUCCEEDED)
    assert desk.answer(say("main")).target.name == "main"
    assert len(desk.runs()) == 2


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_strange_name_is_asked_of_prometheus_and_of_no_other_alert(store: Store, name: str) -> None:
    with monitors() as said:
        said.prometheus.fires()
        desk = witnessed(store, Recording(), said.witness)
        desk.receive(say(name, alertname="EtcdFull"))
        let_it_run(desk)
    assert desk.run().state is RunState.SUPPRESSED
    assert desk.run().reason.startswith("alert_is_true_now: the alert does not fire any more, or never did")
    assert desk.runbook.effects == []


@pytest.mark.parametrize("cluster", ["there", "", "HERE", "here ", CONTROL, "h" * MAX_TEXT])
def test_another_clusters_alert_is_nobodys_here(desk: Desk, cluster: str) -> None:
    desk.receive(say(cluster=cluster))
    desk.turn()
    assert desk.runs() == ()
    (words,) = desk.store.read(lambda c: c.execute(select(audit.c.words)).scalars().all())
    assert words == f"cluster {cluster!r} is not configured (configured: here)"


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.ASK])
def test_an_alert_that_flaps_a_hundred_times_a_minute(store: Store, mode: Mode) -> None:
    usual = policy(mode, budget=BudgetRule(runs=3, window=86400), cooldown=1800.0)
    desk = Desk(store, rules=usual, knobs=settings(planning_patience="1ms"))
    deadlines = set()
    for _ in range(100):
        for firing in (True, False):
            desk.receive(say(firing=firing))
            desk.turn()
        deadlines.add(desk.run().expires_at)
    acted = {run_id for _, run_id in desk.runbook.effects}
    if mode is Mode.AUTO:
        assert len(acted) == 1
        assert len(desk.runs()) <= 101
        assert {run.state for run in desk.runs()} <= {RunState.SUCCEEDED, RunState.SUPPRESSED, RunState.RECEIVED}
    else:
        assert acted == set()
        assert len(desk.runs()) == 1
        assert len(deadlines) == 1


def test_prometheus_that_comes_back_is_asked_again(store: Store) -> None:
    with monitors() as said:
        desk = Desk(store, knobs=settings(planning_patience="1m"))
        desk.engine._planner._judge._witness = said.witness
        said.prometheus.status = 503
        said.prometheus.series = [({}, "no number")]
        desk.receive(say(alertname="EtcdFull"))
        for _ in range(3):
            desk.turn()
        assert desk.run().state is RunState.PLANNING
        assert "whether the alert is true is unknown" in desk.run().reason
        said.prometheus.status = 200
        said.prometheus.series.clear()
        said.prometheus.fires()
        assert desk.until(RunState.SUCCEEDED).mode is Mode.AUTO


@pytest.mark.parametrize("fault", ["NaN", "+Inf", "-5", "86400"])
def test_what_prometheus_says_wrongly_is_acted_on_by_nobody(store: Store, fault: str) -> None:
    with monitors() as said:
        said.prometheus.fires(age=fault)
        desk = witnessed(store, Recording(), said.witness)
        desk.receive(say(alertname="EtcdFull"))
        let_it_run(desk)
    assert desk.run().state is RunState.SUPPRESSED
    assert desk.runbook.effects == []


@pytest.mark.parametrize("match", ["", "match: {}, ", 'match: {"": ""}, ', 'match: {cluster: ""}, '])
def test_a_policy_that_matches_everything_is_not_taken_in_auto(tmp_path: Path, match: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f"rules: [{{runbook: etcd-free-space, {match}mode: auto}}]\n")
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize("value", [".*", "*", "~.+", "here|there", "!there"])
def test_a_pattern_is_a_value_like_any_other_and_matches_nothing_else(tmp_path: Path, value: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(f'rules: [{{runbook: etcd-free-space, match: {{cluster: "{value}"}}, mode: auto}}]\n')
    assert load(path).decide("etcd-free-space", {"cluster": "here"}) is None
    assert load(path).decide("etcd-free-space", {}) is None


def test_a_policy_that_matches_everything_asks_a_person_and_keeps_its_bounds(store: Store) -> None:
    desk = Desk(store, rules=policy(Mode.ASK, match={}, budget=BudgetRule(runs=2)))
    for number in range(4):
        desk.receive(say(f"etcd-{number}"))
    desk.turn()
    for run in desk.runs():
        desk.approve(run)
    let_it_run(desk)
    assert len({run_id for _, run_id in desk.runbook.effects}) == 2
