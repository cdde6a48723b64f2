"""The generated files, judged by Prometheus' and Alertmanager's own programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from ruamel.yaml import YAML

from tests.mixin.generated import ALERTS, PROMTOOL_TESTS, RULE_FILES, alerts, load
from tests.mixin.programs import run


@pytest.mark.parametrize("path", PROMTOOL_TESTS, ids=lambda path: path.stem)
def test_promtool_agrees_with_every_expectation(path: Path) -> None:
    run("promtool", "test", "rules", str(path))


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_promtool_finds_no_fault_in_the_rules(path: Path) -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", str(path))


def assembled() -> dict[str, Any]:
    """Our route and our inhibit rules, put together as a user would."""
    return {
        **load(ALERTS / "alertmanager-route-example.yaml"),
        **load(ALERTS / "alertmanager-inhibit-rules.yaml"),
    }


def test_alertmanager_accepts_the_route_with_the_inhibit_rules(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    YAML().dump(assembled(), config)
    run("amtool", "check-config", str(config))


def timed(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every route below that has times of its own."""
    for child in route.get("routes", []):
        yield from ([child] if "repeat_interval" in child else [])
        yield from timed(child)


def test_a_repeat_comes_when_it_says() -> None:
    """Alertmanager looks for repeats once a group_interval, so what is no multiple of it comes late."""
    for route in timed(assembled()["route"]):
        repeat, interval = (promql_parser.parse_duration(route[key]) for key in ("repeat_interval", "group_interval"))
        assert repeat > interval
        assert not repeat % interval


@pytest.mark.parametrize("runbook", sorted({alert.labels["ballast_runbook"] for alert in alerts() if alert.is_action}))
def test_an_action_alert_reaches_the_remediator_and_goes_on(tmp_path: Path, runbook: str) -> None:
    config = tmp_path / "alertmanager.yml"
    tree = assembled()
    YAML().dump(tree, config)
    run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={config}",
        "--verify.receivers=ballast-remediator",
        f"ballast_runbook={runbook}",
        "severity=none",
    )
    run(
        "amtool",
        "config",
        "routes",
        "test",
        f"--config.file={config}",
        "--verify.receivers=default",
        "severity=critical",
    )
