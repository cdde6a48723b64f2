"""What the dashboard Control-plane path shows while two apiservers are well, and for each way in which one is not."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kube_ballast.analysis.stall import Verdict
from tests.mixin import panels
from tests.mixin.generated import rules
from tests.mixin.panels import judge, panels_of, stat

NAME = "ballast-control-plane-path"
SICK, WELL = "10.0.0.1:6443", "10.0.0.2:6443"
MEMBERS = ("10.0.0.1:2379", "10.0.0.2:2379")
MAY_BE_EMPTY = (
    "Stalled channels, by resource",
    "Calls to etcd under way",
    "Probes that failed, by kind of answer",
)
NEVER = 1e9
Series = Mapping[str, str]


def asked(expression: str) -> str:
    return panels.asked(expression).replace("$apiserver", ".*")


def one(name: str, labels: str, values: str) -> Series:
    return {"series": f"ballast_grpc_stall_{name}{{{labels}}}", "values": values}


def of_apiserver(which: str, verdict: Verdict, write: str) -> Iterator[Series]:
    for each in Verdict:
        yield one("verdict", f'{which}, verdict="{each}"', "1x120" if each is verdict else "0x120")
    for probe in ("ping", "readiness", "canary", "pods"):
        yield one("probe_duration_seconds", f'{which}, probe="{probe}"', "0.004x120")
        yield one("probes_total", f'{which}, probe="{probe}", answer="ok"', "0+30x120")
        yield one("probes_total", f'{which}, probe="{probe}", answer="timeout"', "0x120")
    yield one("canary_last_success_timestamp_seconds", which, write)
    yield one("delivery_seconds", which, "0.005x120")
    yield one("calls_in_flight", f'{which}, method="Range"', "0x120")
    yield one("oldest_call_seconds", which, "0x120")
    yield one("calls_ended_total", f'{which}, code="OK"', "0+600x120")
    yield one("calls_ended_total", f'{which}, code="Canceled"', "0+6x120")
    yield one("etcd_requests_total", f'{which}, resource="pods"', "0+60x120")
    yield one("storage_size_known", which, "1x120")
    for member in MEMBERS:
        yield one("member_used", f'{which}, member="{member}"', "1x120")


def cluster(
    verdict: Verdict = Verdict.OK, *, extra: str = "", written: str = "0+60x120", silent: Sequence[str] = ()
) -> list[Series]:
    """Two hours; the first apiserver has that verdict, and ``silent`` are the members that do not answer."""
    exporter = f'job="ballast-exporter", instance="exporter"{extra}'
    series = list(of_apiserver(f'{exporter}, apiserver="{SICK}"', verdict, written))
    series += of_apiserver(f'{exporter}, apiserver="{WELL}"', Verdict.OK, "0+60x120")
    for member in set(MEMBERS) - set(silent):
        for probe in ("linearizable", "serializable"):
            which = f'{exporter}, member="{member}", probe="{probe}"'
            series.append(one("member_probe_duration_seconds", which, "0.003x120"))
    last = f'ballast_collector_last_success_timestamp_seconds{{{exporter}, collector="grpc_stall"}}'
    return [*series, {"series": last, "values": "0+60x120"}]


@pytest.mark.parametrize("extra", ["", ', cluster="east"'], ids=["no cluster label", "cluster label"])
def test_where_all_is_well_every_panel_shows_something_or_says_what_empty_means(tmp_path: Path, extra: str) -> None:
    cases = []
    for panel in panels_of(NAME):
        empty = panel["title"] in MAY_BE_EMPTY
        assert not empty or panel["fieldConfig"]["defaults"].get("noValue") not in {None, "unknown", "No data"}
        for target in panel["targets"]:
            shown = f"count({asked(target['expr'])}) > bool 0"
            cases.append({"expr": shown, "exp_samples": [] if empty else [{"labels": "{}", "value": 1}]})
    judge(tmp_path, cluster(extra=extra), cases)


def ask(title: str) -> str:
    [target] = stat(NAME, title)["targets"]
    return asked(target["expr"])


def words(title: str) -> Mapping[int, str]:
    """What the numbers of a panel mean."""
    mappings: list[Any] = stat(NAME, title)["fieldConfig"]["defaults"]["mappings"]
    return {int(k): v["text"] for each in mappings if each["type"] == "value" for k, v in each["options"].items()}


def answer(value: float, **labels: str) -> Mapping[str, Any]:
    return {"labels": "{" + ", ".join(f'{k}="{v}"' for k, v in labels.items()) + "}", "value": value}


def test_the_first_row_where_all_is_well(tmp_path: Path) -> None:
    everywhere = answer(0, apiserver="all apiservers")
    recorded = "apiserver:ballast_grpc_stall_verdict:code"
    cases = [
        {
            "expr": ask("Each apiserver"),
            "exp_samples": [{"labels": f'{recorded}{{apiserver="{name}"}}', "value": 0} for name in (SICK, WELL)],
        },
        *({"expr": ask(title), "exp_samples": [everywhere]} for title in ("Whose fault", "What to do")),
        {"expr": ask("Nodes go NotReady in"), "exp_samples": [answer(NEVER, apiserver="all apiservers")]},
        {"expr": ask("Exporters that look"), "exp_samples": [answer(1)]},
    ]
    judge(tmp_path, cluster(), cases)


@pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.OK])
def test_the_first_row_names_the_apiserver_and_says_what_to_do(tmp_path: Path, verdict: Verdict) -> None:
    spelt = {"etcd_slow": "etcd is slow", "watch_stale": "WATCHES STALE", "unknown": "cannot tell"}
    expected = spelt.get(verdict, verdict.replace("_", " "))
    [code] = [code for code, text in words("Each apiserver").items() if text.casefold() == expected.casefold()]
    assert words("Whose fault")[code]
    assert words("What to do")[code]
    cases = [
        {"expr": f"sum by (apiserver) ({ask(title)})", "exp_samples": [answer(code, apiserver=SICK)]}
        for title in ("Whose fault", "What to do")
    ]
    judge(tmp_path, cluster(verdict), cases)


@pytest.mark.parametrize(
    ("last", "left", "text"),
    [
        pytest.param(3589, 19, None, id="eleven seconds ago"),
        pytest.param(3500, 0, "NOW", id="longer ago than the grace period"),
        pytest.param(3591, NEVER, "no danger", id="nine seconds ago"),
    ],
)
def test_when_nodes_go_not_ready(tmp_path: Path, last: int, left: float, text: str | None) -> None:
    where = "all apiservers" if left == NEVER else SICK
    assert words("Nodes go NotReady in").get(int(left)) == text
    series = cluster(Verdict.CHANNEL_STALLED, written=f"{last}x120")
    # The other one writes all the time: what counts is the one that does not.
    judge(tmp_path, series, [{"expr": ask("Nodes go NotReady in"), "exp_samples": [answer(left, apiserver=where)]}])


def test_without_any_write_nobody_says_that_there_is_no_danger(tmp_path: Path) -> None:
    series = [each for each in cluster() if "canary_last" not in each["series"]]
    judge(tmp_path, series, [{"expr": ask("Nodes go NotReady in"), "exp_samples": []}])


def matrix() -> tuple[str, Mapping[str, int]]:
    [panel] = [each for each in panels_of(NAME) if each["title"].startswith("Which apiserver asks which etcd member")]
    [target] = panel["targets"]
    meaning = {v["text"]: int(k) for k, v in panel["fieldConfig"]["defaults"]["mappings"][0]["options"].items()}
    return asked(target["expr"]), meaning


@pytest.mark.parametrize(
    ("verdict", "silent", "sick", "well"),
    [
        pytest.param(Verdict.OK, (), "answers", "answers", id="well"),
        pytest.param(Verdict.CHANNEL_STALLED, (), "member answers, channel stalled", "answers", id="stalled"),
        pytest.param(Verdict.ETCD_DOWN, MEMBERS, "no answer", "no answer", id="no quorum"),
    ],
)
def test_the_matrix_tells_a_member_from_the_way_to_it(
    tmp_path: Path, verdict: Verdict, silent: Sequence[str], sick: str, well: str
) -> None:
    expression, meaning = matrix()
    samples = [
        answer(meaning[text], apiserver=name, member=member)
        for name, text in ((SICK, sick), (WELL, well))
        for member in MEMBERS
    ]
    judge(tmp_path, cluster(verdict, silent=silent), [{"expr": expression, "exp_samples": samples}])


def test_a_member_that_is_silent_is_so_for_everybody_who_asks_it(tmp_path: Path) -> None:
    expression, meaning = matrix()
    samples = [
        answer(meaning["no answer" if member == MEMBERS[0] else "answers"], apiserver=name, member=member)
        for name in (SICK, WELL)
        for member in MEMBERS
    ]
    series = cluster(Verdict.ETCD_MEMBER_BAD, silent=MEMBERS[:1])
    judge(tmp_path, series, [{"expr": expression, "exp_samples": samples}])


def test_every_verdict_has_its_alert_and_its_place_on_the_dashboard() -> None:
    named = "\n".join(rule["expr"] for rule in rules() if "alert" in rule)
    [recorded] = [rule["expr"] for rule in rules() if rule.get("record") == "apiserver:ballast_grpc_stall_verdict:code"]
    for verdict in Verdict:
        assert f'verdict="{verdict}"' in recorded
        assert verdict is Verdict.OK or f'verdict="{verdict}"' in named
