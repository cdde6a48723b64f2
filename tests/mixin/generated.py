"""Reads the generated files and the promtool tests the way the tests of this folder look at them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import promql_parser
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "alerts"
DASHBOARDS = ROOT / "dashboards"
RULE_FILES = sorted(ALERTS.glob("ballast-*.yaml"))
PROMTOOL_TESTS = sorted(Path(__file__).parent.glob("*_test.yaml"))

# What a template in an annotation asks Prometheus.
QUERY_IN_TEMPLATE = re.compile(r"printf `([^`]+)`")


def load(path: Path) -> Any:
    return YAML(typ="safe").load(path)


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    wait: str | None
    keep_firing_for: str | None

    @property
    def is_action(self) -> bool:
        return "ballast_runbook" in self.labels

    def __str__(self) -> str:
        return "-".join([self.name, *(self.labels[key] for key in ("severity", "reason") if key in self.labels)])


def rules() -> Iterator[Mapping[str, Any]]:
    for path in RULE_FILES:
        for group in load(path)["groups"]:
            yield from group["rules"]


def alerts() -> list[Alert]:
    return [
        Alert(
            name=rule["alert"],
            labels=rule["labels"],
            annotations=rule["annotations"],
            wait=rule.get("for"),
            keep_firing_for=rule.get("keep_firing_for"),
        )
        for rule in rules()
        if "alert" in rule
    ]


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of every rule, template and dashboard panel."""
    for rule in rules():
        where = rule.get("alert") or rule["record"]
        yield where, rule["expr"]
        for text in rule.get("annotations", {}).values():
            yield from ((f"{where}, template", found.replace("%q", '"x"')) for found in QUERY_IN_TEMPLATE.findall(text))
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.name}: {panel['title']}", target["expr"].replace("$__rate_interval", "5m")


def metrics(expression: str) -> set[str]:
    """Names of the metrics and recorded series that a PromQL expression reads."""
    names: set[str] = set()

    def visit(node: object) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name, f"a selector without a metric name in {expression}"
            names.add(node.name)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return names


@dataclass(frozen=True, slots=True)
class Observation:
    """What one promtool test expects of all alerts at one moment."""

    at: timedelta
    series: tuple[Mapping[str, str], ...]

    def state(self, alert: Alert) -> str | None:
        wanted = {"alertname": alert.name, **alert.labels}
        for labels in self.series:
            if wanted.items() <= labels.items():
                return labels["alertstate"]
        return None


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    step: timedelta
    observations: tuple[Observation, ...]


def scenarios() -> list[Scenario]:
    return [
        Scenario(
            name=f"{path.name}: {test['name']}",
            step=promql_parser.parse_duration(document["evaluation_interval"]),
            observations=tuple(
                Observation(promql_parser.parse_duration(case["eval_time"]), _series(case["exp_samples"]))
                for case in test.get("promql_expr_test", [])
                if case["expr"] == "ALERTS"
            ),
        )
        for path in PROMTOOL_TESTS
        for document in [load(path)]
        for test in document["tests"]
    ]


def _series(samples: list[Mapping[str, Any]]) -> tuple[Mapping[str, str], ...]:
    return tuple(_labels(sample["labels"]) for sample in samples)


def _labels(series: str) -> Mapping[str, str]:
    selector = promql_parser.parse(series)
    assert isinstance(selector, promql_parser.VectorSelector), series
    return {matcher.name: matcher.value for matcher in selector.matchers.matchers}
