"""What the suite `apiserver-real` compares: a share or a latency that is wrong has to show."""

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Final

import pytest

from benchmarks import apiserver_latency
from benchmarks.apiserver_figures import (
    Asked,
    Ratio,
    apart,
    apart_by_client,
    audited_counts,
    grown,
    own_counts,
    p99,
    p99_ratio,
)
from benchmarks.report import Report
from kube_ballast.clients.exposition import Sample

RENEWED, READ, RARE = Asked("leases.coordination.k8s.io", "PUT"), Asked("configmaps", "GET"), Asked("pods", "LIST")
OWN = {RENEWED: 700.0, READ: 300.0, RARE: 1.0}


def own(resource: str, group: str, verb: str, value: float) -> Sample:
    return Sample("apiserver_request_total", {"resource": resource, "group": group, "verb": verb}, value)


def audited(resource: str, verb: str, value: float) -> Sample:
    labels = {"client": "x", "resource": resource, "verb": verb}
    return Sample("ballast_apiserver_clients_requests_total", labels, value)


def test_both_ways_to_name_a_request_are_one() -> None:
    metrics = own_counts(
        [
            own("deployments", "apps", "PATCH", 1),
            own("deployments", "apps", "APPLY", 2),
            own("pods", "", "DELETECOLLECTION", 4),
            own("pods", "", "DELETE", 8),
            own("pods", "", "POST", 16),
            own("", "", "GET", 99),
        ]
    )
    audit = audited_counts(
        [
            audited("deployments/scale.apps", "patch", 1),
            audited("deployments.apps", "patch", 2),
            audited("pods", "deletecollection", 4),
            audited("pods", "delete", 8),
            audited("pods/binding", "create", 16),
            audited("", "get", 99),
        ]
    )
    expected = {Asked("deployments.apps", "PATCH"): 3, Asked("pods", "DELETE"): 12, Asked("pods", "POST"): 16}
    assert metrics == audit == expected


def test_equal_shares_are_not_apart_whatever_the_totals() -> None:
    assert apart(OWN, {key: 3 * count for key, count in OWN.items()}) == pytest.approx(0)


@pytest.mark.parametrize(
    ("change", "least"),
    [({READ: 290.0}, 0.02), ({READ: 310.0}, 0.02), ({READ: 0.0}, 1.0), ({Asked("secrets", "GET"): 20.0}, math.inf)],
)
def test_a_wrong_share_is_told(change: dict[Asked, float], least: float) -> None:
    assert apart(OWN, {**OWN, **change}) >= least


def test_what_is_rare_is_not_compared() -> None:
    assert apart(OWN, {**OWN, RARE: 2.0}) < 0.01


def test_a_client_is_measured_by_what_it_alone_asks() -> None:
    asks = {"kwok": [RENEWED, RARE], "reader": [READ]}
    assert apart_by_client(OWN, {"kwok": 701, "reader": 300}, asks) == pytest.approx(0)
    assert apart_by_client(OWN, {"kwok": 701, "reader": 280, "x": 20}, asks) == pytest.approx(0.067, abs=0.001)
    assert apart_by_client(OWN, {"kwok": 701, "x": 300}, asks) == 1


def test_a_count_that_fell_is_no_difference() -> None:
    assert grown({READ: 5}, {READ: 7, RENEWED: 2}) == {READ: 2, RENEWED: 2}
    for after in ({READ: 4}, {RENEWED: 9}):
        with pytest.raises(ValueError, match="configmaps"):
            grown({READ: 5}, after)


STEADY: Final = [[0.010 + 0.00001 * number for number in range(100)]] * 30


def slower(windows: Sequence[Sequence[float]], by: float) -> list[list[float]]:
    return [[each * by for each in window] for window in windows]


def test_what_slows_all_down_is_told_as_much_as_it_does() -> None:
    assert p99_ratio(slower(STEADY, 1.1), STEADY) == pytest.approx(Ratio(1.1, 1.1, 1.1))


def test_what_troubles_both_of_a_pair_is_in_neither() -> None:
    moments = [[0.010 * (1 + number)] * 100 for number in range(20)]
    found = p99_ratio(slower(moments, 1.02), moments)
    assert found == pytest.approx(Ratio(1.02, 1.02, 1.02))


def test_what_came_in_a_few_windows_alone_may_be_chance() -> None:
    late = [window[:-5] + [0.1] * 5 for window in STEADY[:8]]
    found = p99_ratio([*late, *STEADY[8:]], STEADY)
    assert found.low < 1.05 < found.high


@pytest.mark.parametrize(
    ("found", "passes", "says"),
    [
        (Ratio(1.0, 0.96, 1.04), True, '"value": 1.0'),
        (Ratio(1.10, 1.06, 1.13), False, '"value": 1.1'),
        (Ratio(1.0, 0.94, 1.06), False, "measured 1.000, and with 95 % it lies from 0.940 to 1.060"),
    ],
)
def test_a_ratio_whose_interval_has_the_target_in_it_is_not_known_and_counts_as_missed(
    tmp_path: Path, found: Ratio, says: str, *, passes: bool
) -> None:
    out = StringIO()
    report = Report(out, tmp_path / "bench.jsonl")
    apiserver_latency.tell(report, found)
    last = out.getvalue().splitlines()[-1]
    assert '"name": "apiserver_real_p99_with_by_without"' in last
    assert says in last
    assert f'"ok": {str(passes).lower()}' in last
    assert (report.missed == []) == passes


def test_p99_sees_two_in_a_hundred_and_not_one_in_two_hundred() -> None:
    assert p99([0.001] * 980 + [0.1] * 20) == pytest.approx(0.1)
    assert p99([0.001] * 995 + [0.1] * 5) == pytest.approx(0.001)
