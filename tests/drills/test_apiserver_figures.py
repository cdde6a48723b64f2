"""What the suite `apiserver-real` compares: a share or a latency that is wrong has to show."""

import math

import pytest

from benchmarks.apiserver_figures import Asked, apart, apart_by_client, audited_counts, grown, own_counts, p99, ratio
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
    steady = [0.010] * 9
    assert ratio([0.010] * 8 + [0.5], steady) == pytest.approx(1)
    assert ratio([0.011] * 5 + [0.010] * 4, steady) == pytest.approx(1.1)


def test_p99_sees_two_in_a_hundred_and_not_one_in_two_hundred() -> None:
    assert p99([0.001] * 980 + [0.1] * 20) == pytest.approx(0.1)
    assert p99([0.001] * 995 + [0.1] * 5) == pytest.approx(0.001)
