"""What the panels of a dashboard show, asked of promtool: on a calm etcd, and where a label or a number is missing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.mixin.generated import ALERTS, DASHBOARDS
from tests.mixin.programs import run

USED = {"a": 0.41, "b": 0.43, "c": 0.42}
PER_MEMBER = {
    "member_up": "1x120",
    "db_size_bytes": "900000000x120",
    "db_in_use_bytes": "600000000x120",
    "db_free_bytes": "300000000x120",
    "limit_bytes": "2147483648x120",
    "leader": "0x120",
    "raft_term": "7x120",
    "revision": "1000+60x120",
    "defragmenting": "0x120",
}
NOTHING_GROWS = ("Time to quota, member by member", "Growth per hour")


def calm(extra: str) -> Iterator[Mapping[str, str]]:
    """Two hours of an etcd that nobody troubles. ``extra`` are further labels of every series, as matchers."""
    exporter = f'job="ballast-exporter"{extra}'
    for member, used in USED.items():
        which = f'{exporter}, etcd_cluster="main", member="{member}"'
        for name, values in PER_MEMBER.items():
            yield {"series": f"ballast_etcd_quota_{name}{{{which}}}", "values": values}
        yield {"series": f"ballast_etcd_quota_used_ratio{{{which}}}", "values": f"{used}x120"}
        for alarm in ("NOSPACE", "CORRUPT"):
            yield {"series": f'ballast_etcd_quota_alarm{{{which}, alarm="{alarm}"}}', "values": "0x120"}
    last = f'ballast_collector_last_success_timestamp_seconds{{{exporter}, collector="etcd_quota"}}'
    yield {"series": last, "values": "0+60x120"}


def panels() -> list[Any]:
    dashboard = json.loads((DASHBOARDS / "ballast-etcd-space.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


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


@pytest.mark.parametrize("extra", ["", ', cluster="east"'], ids=["no cluster label", "cluster label"])
def test_on_a_calm_etcd_every_panel_shows_something_or_says_what_empty_means(tmp_path: Path, extra: str) -> None:
    cases = []
    for panel in panels():
        says = panel["fieldConfig"]["defaults"].get("noValue")
        empty = panel["title"] in NOTHING_GROWS
        assert says == "No growth seen" or not empty
        for target in panel["targets"]:
            shown = f"count({asked(target['expr'])}) > bool 0"
            cases.append({"expr": shown, "exp_samples": [] if empty else [{"labels": "{}", "value": 1}]})
    judge(tmp_path, list(calm(extra)), cases)


def big(title: str) -> str:
    [panel] = [each for each in panels() if each["type"] == "stat" and each["title"] == title]
    [target] = panel["targets"]
    return asked(target["expr"])


def test_the_large_numbers_of_a_calm_etcd(tmp_path: Path) -> None:
    never = 1e9
    [words] = [each["fieldConfig"]["defaults"]["mappings"] for each in panels() if each["id"] == 4]
    assert words[1]["options"][f"{never:.0f}"]["text"] == "not growing"
    expected = {
        "Fullest member": [{"labels": '{etcd_cluster="main", member="b"}', "value": 0.43}],
        "Quota": [{"labels": "{}", "value": 2147483648}],
        "Time to quota": [{"labels": "{}", "value": never}],
        "Alarms": [{"labels": f'{{alarm="{kind}"}}', "value": 0} for kind in ("NOSPACE", "CORRUPT")],
        "Members down": [{"labels": "{}", "value": 0}],
        "Age of these numbers": [{"labels": "{}", "value": 0}],
    }
    cases = [{"expr": big(title), "exp_samples": samples} for title, samples in expected.items()]
    judge(tmp_path, list(calm("")), cases)


def test_once_a_member_has_raised_nospace_no_forecast_is_shown(tmp_path: Path) -> None:
    raised = 'member="b", alarm="NOSPACE"'
    series = [{**each, "values": "1x120"} if raised in each["series"] else each for each in calm("")]
    [words] = [each["fieldConfig"]["defaults"]["mappings"] for each in panels() if each["id"] == 4]
    assert words[0]["options"]["0"]["text"] == "reached"
    expected = [{"labels": '{etcd_cluster="main", member="b"}', "value": 0}]
    judge(tmp_path, series, [{"expr": big("Time to quota"), "exp_samples": expected}])


def test_without_a_quota_the_time_to_it_is_unknown_and_not_endless(tmp_path: Path) -> None:
    series = [each for each in calm("") if "limit_bytes" not in each["series"]]
    judge(tmp_path, series, [{"expr": big(title), "exp_samples": []} for title in ("Quota", "Time to quota")])


def test_what_is_unknown_is_grey_and_never_the_colour_of_a_threshold() -> None:
    for panel in panels():
        if panel["type"] == "stat":
            unknown = panel["fieldConfig"]["defaults"]["mappings"][-1]["options"]
            assert (unknown["match"], unknown["result"]["text"]) == ("null", "unknown"), panel["title"]
            assert unknown["result"]["color"] == "#808080"
