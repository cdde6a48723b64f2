"""Which page mutes which, asked of a real Alertmanager with the inhibit rules as they ship."""

import json
from collections.abc import Mapping
from urllib.request import Request, urlopen

import pytest

from drills.stack import Service, Stack
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.config import HttpConfig
from tests.mixin.generated import ALERTS, load
from tests.waiting import eventually

SOON = 5.0
SICK, WELL = "10.0.0.1:6443", "10.0.0.2:6443"
SYMPTOMS = ("ApiserverCanaryAbsent", "ApiserverWatchDelayHigh", "ApiserverEtcdErrorsHigh", "ApiserverPathUnknown")
Labels = Mapping[str, str]


@pytest.fixture(scope="module")
def alertmanager(session_stack: Stack) -> Service:
    rules = load(ALERTS / "alertmanager-inhibit-rules.yaml")
    return session_stack.alertmanager(config={"route": {"receiver": "all"}, "receivers": [{"name": "all"}], **rules})


def alert(name: str, cluster: str, apiserver: str | None = None, **more: str) -> Labels:
    return {"alertname": name, "cluster": cluster, **({"apiserver": apiserver} if apiserver else {}), **more}


def muted(service: Service, *alerts: Labels) -> set[tuple[str, str | None]]:
    """(name, apiserver) of those among ``alerts``, all of one cluster and fired at once, that reach nobody."""
    body = json.dumps([{"labels": each} for each in alerts]).encode()
    with urlopen(Request(f"{service.url}/api/v2/alerts", body, {"Content-Type": "application/json"}), timeout=SOON):
        pass
    client, cluster = Alertmanager(HttpConfig(url=service.url)), alerts[0]["cluster"]

    def settled() -> bool:
        found = client.alerts(timeout=SOON, labels={"cluster": cluster})
        return len(found) == len(alerts) and all(each.state != "unprocessed" for each in found)

    eventually(settled, within=20.0)
    return {
        (each.labels["alertname"], each.labels.get("apiserver"))
        for each in client.alerts(timeout=SOON, labels={"cluster": cluster})
        if each.inhibited_by
    }


def test_a_stall_mutes_what_follows_from_it_on_the_same_apiserver_alone(alertmanager: Service) -> None:
    symptoms = [alert(name, "stall", where) for name in SYMPTOMS for where in (SICK, WELL)]
    found = muted(alertmanager, alert("ApiserverChannelStalled", "stall", SICK), *symptoms)
    assert found == {(name, SICK) for name in SYMPTOMS}


@pytest.mark.parametrize(
    "name", ["ApiserverWatchStale", "ApiserverUnreachable", "ApiserverDown", "ApiserverOverloaded"]
)
def test_whatever_is_named_mutes_its_shadow(alertmanager: Service, name: str) -> None:
    cluster = f"shadow of {name}"
    symptoms = [alert(symptom, cluster, SICK) for symptom in SYMPTOMS]
    assert muted(alertmanager, alert(name, cluster, SICK), *symptoms) == {(symptom, SICK) for symptom in SYMPTOMS}


def test_a_stall_mutes_what_upstream_says_of_all_apiservers_together_but_not_that_none_is_left(
    alertmanager: Service,
) -> None:
    shares = ("KubeAPIErrorBudgetBurn", "KubeAPITerminatedRequests", "KubeClientErrors")
    others = ("KubeAPIDown", "KubeNodeNotReady", "ApiserverRequestsRejected")
    found = muted(
        alertmanager,
        alert("ApiserverChannelStalled", "upstream", SICK),
        *(alert(name, "upstream", severity="critical") for name in (*shares, *others)),
    )
    assert found == {(name, None) for name in shares}


def test_etcd_down_mutes_every_apiserver_and_nothing_of_another_cluster(alertmanager: Service) -> None:
    stalls = [alert("ApiserverChannelStalled", "down", where) for where in (SICK, WELL)]
    lone = ("KubeAPIDown", "EtcdMemberBad", "EtcdSlow")
    found = muted(alertmanager, alert("EtcdDown", "down"), *stalls, *(alert(name, "down") for name in lone))
    assert found == {("ApiserverChannelStalled", SICK), ("ApiserverChannelStalled", WELL)} | {(n, None) for n in lone}
    assert muted(alertmanager, alert("ApiserverChannelStalled", "another", SICK)) == set()


def test_a_bad_member_mutes_symptoms_and_no_stall(alertmanager: Service) -> None:
    found = muted(
        alertmanager,
        alert("EtcdMemberBad", "member"),
        alert("ApiserverChannelStalled", "member", SICK),
        alert("ApiserverEtcdErrorsHigh", "member", WELL),
    )
    assert found == {("ApiserverEtcdErrorsHigh", WELL)}


def test_what_calls_the_remediator_is_never_muted(alertmanager: Service) -> None:
    calls = ("ApiserverCutEtcdConnectionsNeeded", "ApiserverRestartNeeded")
    found = muted(
        alertmanager,
        alert("EtcdDown", "calls"),
        alert("ApiserverChannelStalled", "calls", SICK),
        *(alert(name, "calls", SICK, ballast_runbook="any", severity="none") for name in calls),
        alert("ApiserverCanaryAbsent", "calls", SICK, ballast_runbook="any"),
    )
    assert found == {("ApiserverChannelStalled", SICK)}
