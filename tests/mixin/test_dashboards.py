"""What the panels of a dashboard show, asked of promtool: on a calm etcd, and where a label or a number is missing."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.mixin.panels import asked, judge, panels_of, stat

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
RESOURCES = {"pods": 400_000_000, "events": 60_000_000, "applications": 20_000_000}
GROUPS = {"applications": "argoproj.io"}
PER_RESOURCE = {
    "keys": "40000x120",
    "sampling_error_bytes": "0x120",
    "largest_bytes": "20000x120",
    "writes_per_second": "3x120",
}
SHARE = "resource:ballast_etcd_keyspace_live_bytes:share"
PARTS = {"live": 500_000_000, "half_empty": 20_000_000, "history": 80_000_000, "free": 300_000_000}
MAY_BE_EMPTY = (
    "Time to quota, member by member",
    "Growth of what is in use, per hour",
    "Growth per hour by resource",
    "Keys that are not Kubernetes'",
    "Largest objects by name",
)


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
    yield from counted(f'{exporter}, etcd_cluster="main"', PARTS)
    last = f'ballast_collector_last_success_timestamp_seconds{{{exporter}, collector="etcd_quota"}}'
    yield {"series": last, "values": "0+60x120"}


def counted(which: str, parts: Mapping[str, int]) -> Iterator[Mapping[str, str]]:
    """The census of it."""
    for resource, stored in RESOURCES.items():
        whose = f'{which}, group="{GROUPS.get(resource, "")}", resource="{resource}"'
        yield {"series": f"ballast_etcd_keyspace_live_bytes{{{whose}}}", "values": f"{stored}x120"}
        for name, values in PER_RESOURCE.items():
            yield {"series": f"ballast_etcd_keyspace_{name}{{{whose}}}", "values": values}
    for part, held in parts.items():
        yield {"series": f'ballast_etcd_keyspace_space_bytes{{{which}, part="{part}"}}', "values": f"{held}x120"}
    yield {"series": f"ballast_etcd_keyspace_unattributed_writes_per_second{{{which}}}", "values": "1x120"}
    yield {"series": f"ballast_etcd_keyspace_census_timestamp_seconds{{{which}}}", "values": "0+60x120"}


def panels() -> list[Any]:
    return panels_of("ballast-etcd-space")


@pytest.mark.parametrize("extra", ["", ', cluster="east"'], ids=["no cluster label", "cluster label"])
def test_on_a_calm_etcd_every_panel_shows_something_or_says_what_empty_means(tmp_path: Path, extra: str) -> None:
    cases = []
    for panel in panels():
        says = panel["fieldConfig"]["defaults"].get("noValue")
        empty = panel["title"] in MAY_BE_EMPTY
        assert not empty or says not in {None, "unknown", "No data"}
        for target in panel["targets"]:
            shown = f"count({asked(target['expr'])}) > bool 0"
            cases.append({"expr": shown, "exp_samples": [] if empty else [{"labels": "{}", "value": 1}]})
    judge(tmp_path, list(calm(extra)), cases)


def big(title: str) -> str:
    return asked(stat("ballast-etcd-space", title)["targets"][0]["expr"])


def test_the_large_numbers_of_a_calm_etcd(tmp_path: Path) -> None:
    never = 1e9
    words = mappings("Time to quota")
    assert words[1]["options"][f"{never:.0f}"]["text"] == "not growing"
    expected = {
        "Fullest member": [{"labels": '{etcd_cluster="main", member="b"}', "value": 0.43}],
        "Quota": [{"labels": "{}", "value": 2147483648}],
        "Time to quota": [{"labels": "{}", "value": never}],
        "Alarms": [{"labels": f'{{alarm="{kind}"}}', "value": 0} for kind in ("NOSPACE", "CORRUPT")],
        "Members down": [{"labels": "{}", "value": 0}],
        "Age of these numbers": [{"labels": "{}", "value": 0}],
        "Age of the census": [{"labels": "{}", "value": 0}],
        "Fills it most": [
            {"labels": f'{SHARE}{{etcd_cluster="main", resource="pods", what="pods"}}', "value": 400 / 480}
        ],
        "Grows most, per hour": [{"labels": '{what="any resource"}', "value": 0}],
        "What helps": [{"labels": '{etcd_cluster="main"}', "value": 0}],
    }
    cases = [{"expr": big(title), "exp_samples": samples} for title, samples in expected.items()]
    judge(tmp_path, list(calm("")), cases)


def mappings(title: str) -> list[Any]:
    [found] = [each["fieldConfig"]["defaults"]["mappings"] for each in panels() if each["title"] == title]
    return list(found)


def test_what_grows_and_what_fills_it_are_those_of_the_fullest_etcd(tmp_path: Path) -> None:
    other = 'job="ballast-exporter", etcd_cluster="other"'
    grows = 'etcd_cluster="main", group="argoproj.io", resource="applications"'
    series: list[Mapping[str, str]] = [
        {**each, "values": "20000000+1048576x120"}
        if f'live_bytes{{job="ballast-exporter", {grows}' in each["series"]
        else each
        for each in calm("")
    ]
    # Another etcd, less full, where all is Events and these grow faster.
    series += [
        {"series": f'ballast_etcd_quota_used_ratio{{{other}, member="x"}}', "values": "0.3x120"},
        {"series": f'ballast_etcd_keyspace_live_bytes{{{other}, resource="events"}}', "values": "1+9999999x120"},
    ]
    name = "applications.argoproj.io"
    whose = f'{{{grows}, what="{name}"}}'
    cases = [
        {"expr": f"round({big('Grows most, per hour')})", "exp_samples": [{"labels": whose, "value": 60 * 1048576}]},
        {"expr": f"count({big('Fills it most')})", "exp_samples": [{"labels": "{}", "value": 1}]},
        {
            "expr": f"count by (etcd_cluster) ({big('Fills it most')})",
            "exp_samples": [{"labels": '{etcd_cluster="main"}', "value": 1}],
        },
    ]
    judge(tmp_path, series, cases)


@pytest.mark.parametrize(
    ("parts", "grows", "text"),
    [
        pytest.param({"live": 100, "history": 700, "free": 200}, 0, "nothing needed", id="most of the quota is free"),
        pytest.param({"live": 1100, "free": 300}, 0, "less live data", id="half of the quota is live"),
        pytest.param({"live": 700, "half_empty": 100, "free": 300}, 0, "defragment", id="a third is loose"),
        pytest.param({"live": 700, "history": 400, "free": 100}, 0, "compact, defragment", id="a third is history"),
        pytest.param({"live": 1639, "history": 300}, 0, "less live data", id="no cure returns enough"),
        pytest.param({"live": 1400, "history": 400, "free": 100}, 6, "stop what grows", id="full within two hours"),
    ],
)
def test_the_dashboard_says_what_helps(tmp_path: Path, parts: Mapping[str, int], grows: int, text: str) -> None:
    mib = 1048576
    which = 'job="ballast-exporter", etcd_cluster="main"'
    series = [each for each in calm("") if "space_bytes" not in each["series"]]
    series += [
        each for each in counted(which, {part: held * mib for part, held in parts.items()}) if "space" in each["series"]
    ]
    if grows:
        series = [
            each
            for each in series
            if 'live_bytes{job="ballast-exporter", etcd_cluster="main", group="", resource="pods"' not in each["series"]
        ]
        pods = f'ballast_etcd_keyspace_live_bytes{{{which}, resource="pods"}}'
        series.append({"series": pods, "values": f"400000000+{grows * mib}x120"})
    [code] = [
        code
        for mapping in mappings("What helps")[:-1]
        for code, meaning in mapping["options"].items()
        if meaning["text"] == text and (text != "less live data" or (code == "4") == (parts["live"] > 1638))
    ]
    expected = [{"labels": '{etcd_cluster="main"}', "value": int(code)}]
    judge(tmp_path, series, [{"expr": big("What helps"), "exp_samples": expected}])


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        pytest.param({"live": 100, "history": 700, "free": 200}, "history", id="history"),
        pytest.param({"live": 100, "half_empty": 100, "history": 200, "free": 600}, "free pages", id="free pages"),
    ],
)
def test_shares_of_live_data_are_no_answer_where_it_is_the_least_of_the_file(
    tmp_path: Path, parts: Mapping[str, int], what: str
) -> None:
    series = [each for each in calm("") if "space_bytes" not in each["series"]]
    which = 'job="ballast-exporter", etcd_cluster="main"'
    series += [each for each in counted(which, parts) if "space_bytes" in each["series"]]
    expected = [{"labels": f'{{etcd_cluster="main", what="{what}"}}', "value": 0.7}]
    judge(tmp_path, series, [{"expr": big("Fills it most"), "exp_samples": expected}])


def test_history_that_soon_fills_an_empty_etcd_is_told_at_once(tmp_path: Path) -> None:
    which = 'job="ballast-exporter", etcd_cluster="main"'
    fast = {"db_size_bytes": "60000000+15000000x120", "db_in_use_bytes": "50000000+15000000x120"}
    series = [
        each for each in calm("") if "space_bytes" not in each["series"] and not any(n in each["series"] for n in fast)
    ]
    series += [
        each for each in counted(which, {"live": 100_000_000, "history": 700_000_000}) if "space" in each["series"]
    ]
    for name, values in fast.items():
        series.append({"series": f'ballast_etcd_quota_{name}{{{which}, member="a"}}', "values": values})
    [text] = [each["options"]["3"]["text"] for each in mappings("What helps") if "3" in each["options"]]
    assert text == "compact, defragment"
    expected = [{"labels": '{etcd_cluster="main"}', "value": 3}]
    judge(tmp_path, series, [{"expr": big("What helps"), "exp_samples": expected}])


def test_without_any_quota_the_largest_etcd_is_spoken_of(tmp_path: Path) -> None:
    series = [each for each in calm("") if "limit_bytes" not in each["series"] and "used_ratio" not in each["series"]]
    judge(tmp_path, series, [{"expr": f"count({big('Fills it most')})", "exp_samples": [{"labels": "{}", "value": 1}]}])


def test_once_a_member_has_raised_nospace_no_forecast_is_shown(tmp_path: Path) -> None:
    raised = 'member="b", alarm="NOSPACE"'
    series = [{**each, "values": "1x120"} if raised in each["series"] else each for each in calm("")]
    words = mappings("Time to quota")
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
