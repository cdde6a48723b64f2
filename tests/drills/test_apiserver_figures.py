"""What the suite `apiserver-real` compares: a share or a latency that is wrong has to show."""

import math
from io import StringIO
from pathlib import Path

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
    paired,
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


def test_one_bad_window_decides_nothing_and_half_of_them_do() -> None:
    steady = [0.010] * 40
    assert paired([0.010] * 39 + [0.5], steady) == Ratio(1, 1, 1)
    assert paired([0.011] * 25 + [0.010] * 15, steady).median == pytest.approx(1.1)


def test_what_troubles_both_of_a_pair_is_in_neither() -> None:
    moments = [0.010 * (1 + number) for number in range(20)]
    assert paired([1.02 * each for each in moments], moments) == pytest.approx(Ratio(1.02, 1.02, 1.02))


def test_the_interval_leaves_out_what_is_rarer_than_one_in_forty_on_each_side() -> None:
    ratios = [1 + number / 100 for number in range(20)]
    # Of 20 coins 5 or fewer show heads in 2.1 %, 6 or fewer in 5.8 %.
    assert paired(ratios, [1.0] * 20) == pytest.approx(Ratio(1.095, 1.05, 1.14))
    with pytest.raises(ValueError, match="5 pairs are too few"):
        paired(ratios[:5], [1.0] * 5)


@pytest.mark.parametrize(
    ("floor", "passes", "says"),
    [
        (Ratio(1.0, 0.96, 1.04), True, '"value": 1.03'),
        (Ratio(1.01, 0.96, 1.06), False, "without audit a window differs from the next by 0.960 to 1.060"),
        (Ratio(0.98, 0.94, 1.01), False, '"value": null'),
    ],
)
def test_where_the_machine_cannot_tell_the_ratio_is_not_known_and_counts_as_missed(
    tmp_path: Path, floor: Ratio, says: str, *, passes: bool
) -> None:
    out = StringIO()
    report = Report(out, tmp_path / "bench.jsonl")
    apiserver_latency.tell(report, Ratio(1.03, 1.0, 1.06), floor)
    last = out.getvalue().splitlines()[-1]
    assert '"name": "apiserver_real_p99_with_by_without"' in last
    assert says in last
    assert f'"ok": {str(passes).lower()}' in last
    assert (report.missed == []) == passes


def test_a_ratio_that_is_known_and_too_large_is_missed(tmp_path: Path) -> None:
    report = Report(StringIO(), tmp_path / "bench.jsonl")
    apiserver_latency.tell(report, Ratio(1.06, 1.0, 1.1), Ratio(1.0, 0.99, 1.01))
    assert report.missed == ["apiserver_real_p99_with_by_without"]


def test_p99_sees_two_in_a_hundred_and_not_one_in_two_hundred() -> None:
    assert p99([0.001] * 980 + [0.1] * 20) == pytest.approx(0.1)
    assert p99([0.001] * 995 + [0.1] * 5) == pytest.approx(0.001)
