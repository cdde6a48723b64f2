"""What every alert, rule and dashboard owes to those who read it."""

import json
import re
from pathlib import Path

import pytest

from kube_ballast.analysis import keyspace, space
from kube_ballast.analysis.etcd import MIB
from tests.mixin.generated import (
    ALERTS,
    DASHBOARDS,
    ROOT,
    Alert,
    Scenario,
    alerts,
    expressions,
    load,
    metrics,
    rules,
    scenarios,
)
from tests.mixin.metric_sources import UPSTREAM, UPSTREAM_ALERTS, emitted

DOCS = ROOT / "docs" / "alerts"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

ALL = alerts()
PAGES = [alert for alert in ALL if not alert.is_action]
ACTIONS = [alert for alert in ALL if alert.is_action]


def shows_the_wait(alert: Alert, scenario: Scenario) -> bool:
    """Silent first; then, one evaluation apart, pending and firing (or silent and firing where there is no wait)."""
    before = "pending" if alert.wait else None
    states = {observation.at: observation.state(alert) for observation in scenario.observations}
    return any(
        state == "firing"
        and at - scenario.step in states
        and states[at - scenario.step] == before
        and any(other < at and silent is None for other, silent in states.items())
        for at, state in states.items()
    )


@pytest.mark.parametrize("alert", ALL, ids=str)
def test_every_alert_is_tested_on_both_sides_of_its_wait(alert: Alert) -> None:
    assert any(shows_the_wait(alert, scenario) for scenario in scenarios()), (
        f"{alert}: no promtool test sees it {'pending' if alert.wait else 'silent'} and, one evaluation later, firing, "
        "with a silent moment before; expect `ALERTS` at these times in tests/mixin/*_test.yaml"
    )


@pytest.mark.parametrize("alert", ALL, ids=str)
def test_every_alert_has_its_page(alert: Alert) -> None:
    page = DOCS / f"{alert.name}.md"
    assert page.exists(), f"write docs/alerts/{alert.name}.md"
    text = page.read_text()
    assert text.startswith(f"# {alert.name}\n")
    for heading in ("What it means", "Impact", "Look", "Do", "What Ballast does"):
        assert f"\n## {heading}\n" in text, f"{page.name} lacks the section {heading!r}"


def test_every_page_has_its_alert() -> None:
    assert {page.stem for page in DOCS.glob("*.md")} == {alert.name for alert in ALL}


@pytest.mark.parametrize("alert", ALL, ids=str)
def test_every_alert_tells_a_person_what_happens_and_where_to_read_on(alert: Alert) -> None:
    assert alert.annotations["summary"].endswith(".")
    assert len(alert.annotations["description"]) > len(alert.annotations["summary"])
    assert alert.annotations["runbook_url"].endswith(f"/{alert.name}.md")


def test_an_etcd_of_its_own_is_advised_for_what_can_have_one() -> None:
    [text] = [alert.annotations["description"] for alert in ALL if alert.name == "EtcdResourceDominates"]
    pattern = re.search(r'match "([^"]+)" \$labels\.group', text)
    assert pattern is not None
    groups = {"wgpolicyk8s.io", "snapshot.storage.k8s.io", "appsXk8s", "example.com", "", *keyspace._GROUPS}
    for group in groups:
        assert bool(re.search(pattern[1], group)) == keyspace.is_built_in(keyspace.Resource(group, "things")), group


def test_the_alerts_on_what_fills_etcd_have_the_thresholds_of_the_terminal() -> None:
    written = {rule["alert"]: rule["expr"] for rule in rules() if "alert" in rule}
    dominates, near, foreign = (
        written[f"Etcd{name}"] for name in ("ResourceDominates", "ObjectNearRequestLimit", "ForeignKeys")
    )
    assert f":share >= {space.DOMINATES:g}\n" in dominates
    assert f">= {space.WORTH_BYTES}\n" in dominates
    assert f">= {space.NEAR_LIMIT * space.REQUEST_LIMIT:.0f}\n" in near
    assert f">= {space.NOTABLE_STRANGERS:g} *" in foreign
    assert f">= {MIB}\n" in foreign


@pytest.mark.parametrize("alert", PAGES, ids=str)
def test_a_page_alert_says_how_bad_it_is(alert: Alert) -> None:
    assert alert.labels["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("alert", ACTIONS, ids=str)
def test_an_action_alert_names_its_runbook_wakes_nobody_and_survives_a_blink(alert: Alert) -> None:
    assert DNS_LABEL.fullmatch(alert.labels["ballast_runbook"])
    assert alert.labels["severity"] == "none"
    assert alert.keep_firing_for
    assert alert.labels["ballast_runbook"] in alert.annotations["description"]


def test_no_inhibit_rule_can_match_an_action_alert() -> None:
    for rule in load(ALERTS / "alertmanager-inhibit-rules.yaml")["inhibit_rules"]:
        assert 'ballast_runbook=""' in rule["target_matchers"]


def test_every_inhibit_rule_names_alerts_that_exist() -> None:
    names = {alert.name for alert in ALL} | set(UPSTREAM_ALERTS)
    for rule in load(ALERTS / "alertmanager-inhibit-rules.yaml")["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            if matcher.startswith("alertname"):
                assert set(re.findall(r"\w+", matcher.split('"')[1])) <= names


@pytest.mark.parametrize(
    ("where", "expression"), [pytest.param(where, expression, id=where) for where, expression in expressions()]
)
def test_every_metric_read_is_one_that_somebody_emits(where: str, expression: str) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    unknown = metrics(expression) - recorded - emitted() - set(UPSTREAM)
    assert not unknown, (
        f"{where} reads {', '.join(sorted(unknown))}, which no rule records, no golden of the exporter shows "
        "and tests/mixin/metric_sources.py does not list as upstream"
    )


@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_fits_kube_prometheus_and_explains_itself(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert DNS_LABEL.fullmatch(path.stem)
    assert len(path.stem) <= 45
    assert "Generated from mixin/" in dashboard["description"]
    source = dashboard["templating"]["list"][0]
    assert (source["type"], source["query"], source["current"]["value"]) == ("datasource", "prometheus", "prometheus")
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len(panel["description"]) > 60, f"{panel['title']}: say what to do about what it shows"
        assert all(target["legendFormat"] or panel["type"] == "stat" for target in panel["targets"])


@pytest.mark.parametrize("path", sorted(ALERTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_generated_file_says_so_in_its_first_line(path: Path) -> None:
    assert path.read_text().startswith("# Generated from mixin/")
