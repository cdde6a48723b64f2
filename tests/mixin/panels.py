"""The panels of a dashboard, and promtool's answers to what they ask."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.mixin.generated import ALERTS, DASHBOARDS
from tests.mixin.programs import run


def panels_of(dashboard: str) -> list[Any]:
    """Without the rows' titles."""
    content = json.loads((DASHBOARDS / f"{dashboard}.json").read_text())
    return [panel for panel in content["panels"] if panel["type"] != "row"]


def stat(dashboard: str, title: str) -> Any:
    """The panel of one large number."""
    [panel] = [each for each in panels_of(dashboard) if each["type"] == "stat" and each["title"] == title]
    return panel


def asked(expression: str) -> str:
    """What Grafana makes of an expression while all is chosen."""
    for variable, value in {"$cluster": ".*", "$etcd_cluster": ".*", "$__rate_interval": "5m"}.items():
        expression = expression.replace(variable, value)
    return expression


def judge(folder: Path, series: Sequence[Mapping[str, str]], cases: Sequence[Mapping[str, Any]]) -> None:
    """Lets promtool compare answers at one hour with those expected."""
    path = folder / "panels_test.yaml"
    document = {
        "rule_files": [str(ALERTS / "ballast-rules.yaml")],
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [{"eval_time": "1h", **case} for case in cases],
            }
        ],
    }
    YAML().dump(document, path)
    run("promtool", "test", "rules", str(path))
