"""What Request mix and Clients show, asked of promtool: of a calm cluster, and of one that is flooded, in many ways."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.mixin.panels import asked, judge, panels_of, stat

MIX, CLIENTS = "ballast-request-mix", "ballast-clients"
EXPORTER = 'job="ballast-exporter"'
# Requests a minute: who asks (with which program), what for, and how often.
CALM = {
    ("nodes", "kubelet", "leases", "update"): 30_000,
    ("nodes", "kubelet", "configmaps", "watch"): 9_000,
    ("system:serviceaccount:shop:web", "web", "pods", "list"): 600,
}
VERBS = {"update": "PUT", "watch": "WATCH", "list": "LIST", "get": "GET"}
GROUPS = {"leases": "coordination.k8s.io"}
MAY_BE_EMPTY = ("Refused and failed by client", "Lost before they were counted")
Asked = Mapping[tuple[str, str, str, str], int]


def series(name: str, labels: str, values: str) -> Mapping[str, str]:
    return {"series": f"ballast_apiserver_{name}{{{EXPORTER}{labels}}}", "values": values}


def told(
    asks: Asked, *, extra: str = "", rejected: int = 0, named: float = 0.9, lost: int = 0
) -> Iterator[Mapping[str, str]]:
    """Two hours of that, as both collectors tell it; of all events so many have a name."""
    for (client, agent, resource, verb), each in asks.items():
        group = GROUPS.get(resource, "")
        labels = f'{extra}, apiserver="a", group="{group}", resource="{resource}"'
        yield series("requests_total", f'{labels}, verb="{VERBS[verb]}", code="2xx"', f"0+{each}x120")
        yield series("requests_longrunning", f'{labels}, verb="WATCH"', "150x120")
        if verb == "list":
            yield series("requests_response_bytes_total", f'{labels}, verb="LIST"', f"0+{1000 * each}x120")
        full = f"{resource}.{group}" if group else resource
        who = f'{extra}, client="{client}", user_agent="{agent}", resource="{full}", verb="{verb}"'
        who += ', namespace="n", code="2xx"'
        yield series("clients_requests_total", who, f"0+{each}x120")
    every = round(sum(asks.values()) / named)
    yield series("clients_events_total", extra, f"0+{every}x120")
    yield series("clients_remainder_requests_total", extra, f"0+{every - sum(asks.values())}x120")
    yield series("clients_error_bound_requests", extra, f"{every}x120")
    yield series("clients_shed_events_total", f'{extra}, reason="overload"', f"0+{lost}x120")
    yield series("requests_audit_lost_events_total", f'{extra}, apiserver="a", plugin="buffered"', f"0+{lost}x120")
    yield series(
        "requests_rejected_total",
        f'{extra}, apiserver="a", priority_level="node-high", reason="queue-full"',
        f"0+{rejected}x120",
    )


def big(dashboard: str, title: str) -> str:
    return asked(stat(dashboard, title)["targets"][0]["expr"])


def advised(dashboard: str, text: str) -> int:
    """The number that says this in words."""
    words = stat(dashboard, "What helps")["fieldConfig"]["defaults"]["mappings"]
    return next(int(code) for each in words[:-1] for code, word in each["options"].items() if word["text"] == text)


@pytest.mark.parametrize("extra", ["", ', cluster="east"'], ids=["no cluster label", "cluster label"])
@pytest.mark.parametrize("dashboard", [MIX, CLIENTS])
def test_of_a_calm_cluster_every_panel_shows_something_or_says_what_empty_means(
    tmp_path: Path, dashboard: str, extra: str
) -> None:
    cases = []
    for panel in panels_of(dashboard):
        says = panel["fieldConfig"]["defaults"].get("noValue")
        empty = panel["title"] in MAY_BE_EMPTY
        assert not empty or says not in {None, "unknown", "No data"}
        for target in panel["targets"]:
            shown = f"count({asked(target['expr'])}) > bool 0"
            cases.append({"expr": shown, "exp_samples": [] if empty else [{"labels": "{}", "value": 1}]})
    judge(tmp_path, list(told(CALM, extra=extra)), cases)


def test_the_large_numbers_of_a_calm_cluster(tmp_path: Path) -> None:
    total, every = 39_600, 44_000
    leases = 'resource="leases.coordination.k8s.io"'
    expected = {
        (CLIENTS, "Asks most"): [('client:ballast_apiserver_clients_requests:share{client="nodes"}', 39_000 / every)],
        (CLIENTS, "What for"): [(f'{{client="nodes", user_agent="kubelet", {leases}, verb="update"}}', 30_000 / every)],
        (CLIENTS, "What helps"): [("{}", 0)],
        (CLIENTS, "Not told by name"): [("{}", 0.1)],
        (CLIENTS, "Lost"): [("{}", 0)],
        (MIX, "Requests"): [("{}", total / 60)],
        (MIX, "ConfigMaps"): [("{}", 9_000 / total)],
        (MIX, "Turned away"): [("{}", 0)],
        (MIX, "What helps"): [("{}", 0)],
    }
    cases: list[Mapping[str, Any]] = [
        {
            "expr": f"round({big(*which)}, 1e-6)",
            "exp_samples": [
                {"labels": labels.partition(":share")[2] or labels, "value": round(value, 6)} for labels, value in found
            ],
        }
        for which, found in expected.items()
    ]
    judge(tmp_path, list(told(CALM)), cases)


WATCHED = {**CALM, ("nodes", "kubelet", "configmaps", "watch"): 90_000}
POLLED = {**CALM, ("nodes:pool-a", "kubelet", "configmaps", "get"): 90_000}
SECRETS = {**CALM, ("nodes", "kubelet", "secrets", "get"): 90_000}
LISTED = {**CALM, ("system:serviceaccount:shop:web", "web", "pods", "list"): 90_000}
IDLE = {("system:serviceaccount:shop:web", "web", "pods", "list"): 60, ("nodes", "kubelet", "configmaps", "get"): 600}


CM, BOTH = 'resource="configmaps"', "kubelets: Watch, not Get"
PODS, WEB = 'resource="pods"', 'client="system:serviceaccount:shop:web"'
Advice = tuple[str, str]
"""In words, and what it is about."""


@pytest.mark.parametrize(
    ("asks", "mix", "clients"),
    [
        pytest.param(WATCHED, ("make immutable", CM), ("make immutable", CM), id="nodes watch many ConfigMaps"),
        pytest.param(POLLED, (BOTH, CM), (BOTH, CM), id="nodes ask for ConfigMaps in turns"),
        pytest.param(SECRETS, (BOTH, 'resource="secrets"'), (BOTH, 'resource="secrets"'), id="nodes ask for Secrets"),
        pytest.param(LISTED, ("find who asks", PODS), ("limit that client", WEB), id="a controller lists"),
        pytest.param(IDLE, ("nothing needed", ""), ("nothing needed", ""), id="nobody asks much"),
    ],
)
def test_both_say_what_helps(tmp_path: Path, asks: Asked, mix: Advice, clients: Advice) -> None:
    cases = [
        {
            "expr": big(dashboard, "What helps"),
            "exp_samples": [{"labels": f"{{{about}}}", "value": advised(dashboard, text)}],
        }
        for dashboard, (text, about) in ((MIX, mix), (CLIENTS, clients))
    ]
    judge(tmp_path, list(told(asks, named=1)), cases)


def test_who_is_turned_away_is_told_before_what_is_most(tmp_path: Path) -> None:
    expected = {"labels": '{priority_level="node-high"}', "value": advised(MIX, "limit who asks")}
    judge(tmp_path, list(told(WATCHED, rejected=60)), [{"expr": big(MIX, "What helps"), "exp_samples": [expected]}])


def test_what_is_lost_is_the_sum_of_both_places_and_a_cluster_s_alone(tmp_path: Path) -> None:
    cases = [{"expr": big(CLIENTS, "Lost"), "exp_samples": [{"labels": "{}", "value": 2}]}]
    judge(tmp_path, list(told(CALM, lost=60)), cases)


def test_without_audit_events_nothing_is_claimed_of_clients(tmp_path: Path) -> None:
    titles = ("Asks most", "What for", "What helps", "Not told by name")
    mixed = [each for each in told(CALM) if "_clients_" not in each["series"]]
    judge(tmp_path, mixed, [{"expr": big(CLIENTS, title), "exp_samples": []} for title in titles])
