"""The collector on real apiservers; `make tools-e2e` gets them, `MODULES=kubernetes-1.33` the older one.

With UPDATE_PAGES set the pages that `test_apiserver_requests.py` reads are recorded anew.
"""

import os
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ballast_exporter.apiservers import Discovered, Listed
from ballast_exporter.collectors.apiserver_requests import ApiserverRequests
from ballast_exporter.contract import Deadline, RequestCounter, Snapshot
from ballast_exporter.exposition import PLAIN
from drills.stack import Stack
from kube_ballast.clients.apiserver import ApiserverMetrics
from kube_ballast.clients.apiserver_addresses import apiserver_urls
from kube_ballast.clients.errors import BadResponse, Denied
from kube_ballast.clients.kubernetes.client import Kubernetes
from kube_ballast.config import HttpConfig, KubernetesConfig
from tests.exporter.apiserver_traffic import Balancer, bound, connection, excerpt, make, page, queueing, traffic
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

PAGES = Path(__file__).parent / "pages"
SOON = 30.0
COUNTED_WITHIN = 150.0
"""Seconds until an apiserver has counted its objects; it does so once a minute."""


def collector(*configs: HttpConfig) -> ApiserverRequests:
    return ApiserverRequests(Listed([ApiserverMetrics(each) for each in configs]), RequestCounter(), 500)


def collect(source: ApiserverRequests) -> Snapshot:
    return source.collect(Deadline(time.monotonic() + 50.0))


def values(snapshot: Snapshot) -> dict[str, dict[tuple[str, ...], float]]:
    """By family; without the apiserver's name."""
    return {
        family.name.removeprefix("ballast_apiserver_requests"): {
            tuple(value for name, value in sorted(sample.labels.items()) if name != "apiserver"): sample.value
            for sample in family.samples
        }
        for family in snapshot.families
    }


@pytest.mark.parametrize(("version", "told"), [(None, "1.36"), ("1.33", "1.33")])
def test_an_apiserver_s_own_counts(stack: Stack, version: str | None, told: str) -> None:
    plane = stack.kube_apiserver(stack.etcd(), version=version)
    with traffic(plane) as admin:
        source = collector(admin)
        before = page(admin)
        eventually(lambda: counted(values(collect(source))["_objects"]), COUNTED_WITHIN, every=5.0)
        with queueing(plane):
            found = eventually(lambda: queued(values(collect(source))), within=10.0)
            text = page(admin)
    if os.environ.get("UPDATE_PAGES"):
        (PAGES / f"kube-apiserver-{told}.txt").write_text(excerpt(text))
    # Nobody but this test asks for ConfigMaps with GET.
    assert found[""]["2xx", "", "configmaps", "GET"] == 30
    assert found[""]["4xx", "", "configmaps", "GET"] == 1
    assert found["_longrunning"]["", "configmaps", "WATCH"] == watches(text) >= watches(before)
    assert found["_rejected"]["refused", "concurrency-limit"] >= 1
    assert ("example.com", "widgets") in found["_objects_bytes"] or told == "1.33"
    assert found["_response_bytes"]["", "configmaps", "LIST"] > 0


def counted(objects: dict[tuple[str, ...], float]) -> bool:
    return objects["", "configmaps"] > 30 and objects.get(("example.com", "widgets")) == 1


def queued(found: dict[str, dict[tuple[str, ...], float]]) -> dict[str, dict[tuple[str, ...], float]] | None:
    return found if found["_queued"]["queued",] == 1 else None


def watches(text: str) -> float:
    """Open on ConfigMaps, as prometheus_client's parser has it."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "apiserver_longrunning_requests" and sample.labels["resource"] == "configmaps"
    )


def test_apiservers_their_load_balancer_and_what_rbac_says(stack: Stack) -> None:
    plane = stack.kube_apiserver(stack.etcd(), n=2)
    admin = [connection(plane, "kubernetes-admin", "system:masters", number) for number in (0, 1)]
    both = collector(*admin)
    eventually(
        lambda: collect(both).notes == (), within=10.0
    )  # they may have started in the same hundredth of a second
    with Balancer([each.url for each in admin]).running() as url:
        balanced = HttpConfig(url=url, tls=admin[0].tls)
        alone, beside = collector(balanced), collector(*admin, balanced)
        for _ in range(2):
            collect(alone)
        with pytest.raises(Exception, match=f"{url}: a load balancer: different apiservers answer there"):
            collect(alone)
        (note,) = collect(beside).notes
        assert note.startswith(f"{url}: the same apiserver as https://127.0.0.")
    plane.apiservers[1].process.stop()
    snapshot = collect(both)
    assert [sample.value for sample in snapshot.families[0].samples] == [1.0, 0.0]
    assert "refused" in snapshot.notes[0]
    _reading_takes_one_verb(connection(plane, "ballast-exporter"), admin[0])


def test_the_cluster_names_its_apiservers_and_one_that_stops_is_asked_on(stack: Stack) -> None:
    plane = stack.kube_apiserver(stack.etcd(), n=2)
    named = [f"https://{each.advertised}" for each in plane.apiservers]
    cluster = Kubernetes(KubernetesConfig(kubeconfig=plane.admin))
    apiservers = Discovered(lambda timeout: apiserver_urls(cluster, timeout=timeout), lambda url: url)
    # Apiservers answer before they have written themselves into the Service's slices.
    assert eventually(lambda: sorted(apiservers.now(SOON)[0]) == named, within=SOON, retry=BadResponse)
    plane.apiservers[1].process.stop()
    assert eventually(lambda: apiserver_urls(cluster, timeout=SOON) == (named[0],), within=2 * SOON)
    assert sorted(apiservers.now(SOON)[0]) == named
    plane.apiservers[0].process.stop()
    sources, (note,) = apiservers.now(SOON)
    assert sorted(sources) == named
    assert note.endswith("those apiservers are asked that were known before")


def _reading_takes_one_verb(ours: HttpConfig, admin: HttpConfig) -> None:
    with pytest.raises(Denied, match="403 Forbidden: it takes the verb get on the nonResourceURL /metrics"):
        collect(collector(ours))
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    role = {"metadata": {"name": "metrics"}, "rules": [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]}
    make(admin, f"{rbac}/clusterroles", role)
    make(admin, f"{rbac}/clusterrolebindings", bound("ballast-exporter", "metrics"))
    eventually(lambda: collect(collector(ours)), within=10.0, retry=Denied)
    assert PLAIN.render(collect(collector(ours)).families)
