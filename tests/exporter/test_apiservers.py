"""Who is asked, as the cluster's own list changes and fails."""

import json

import pytest

from ballast_exporter.apiservers import REMEMBERED_SECONDS, Discovered
from kube_ballast.clients.apiserver_addresses import apiserver_urls
from kube_ballast.clients.errors import BadResponse, Unavailable
from kube_ballast.clients.kubernetes.client import Kubernetes
from kube_ballast.config import KubernetesConfig
from tests.exporter.fakes import FakeClock
from tests.lib.fakes import RawServer, http

A, B = "https://10.0.0.1:6443", "https://10.0.0.2:6443"


class Cluster:
    """Names apiservers, or fails."""

    def __init__(self, *urls: str) -> None:
        self.urls = urls
        self.fails = False
        self.connected: list[str] = []
        self.clock = FakeClock()
        self.apiservers = Discovered(self.find, self.connect, self.clock.monotonic)

    def find(self, timeout: float) -> tuple[str, ...]:
        assert timeout > 0
        if self.fails:
            raise Unavailable(A, "LIST: Connection refused")
        return self.urls

    def connect(self, url: str) -> str:
        self.connected.append(url)
        return url

    def now(self) -> list[str]:
        sources, notes = self.apiservers.now(5.0)
        assert bool(notes) == self.fails
        return sorted(sources)


def test_each_is_connected_to_once_and_new_ones_as_they_come() -> None:
    cluster = Cluster(A)
    assert cluster.now() == [A]
    cluster.urls = (A, B)
    assert cluster.now() == cluster.now() == [A, B]
    assert cluster.connected == [A, B]


def test_one_that_is_named_no_more_is_asked_for_a_quarter_of_an_hour() -> None:
    cluster = Cluster(A, B)
    cluster.now()
    cluster.urls = (A,)
    cluster.clock.now += REMEMBERED_SECONDS
    assert cluster.now() == [A, B]
    cluster.clock.now += 1
    assert cluster.now() == [A]


def test_while_the_cluster_does_not_answer_those_known_are_asked_however_long() -> None:
    cluster = Cluster(A, B)
    cluster.now()
    cluster.fails = True
    cluster.clock.now += 10 * REMEMBERED_SECONDS
    assert cluster.now() == [A, B]


def test_when_none_was_ever_known_the_reason_is_told() -> None:
    cluster = Cluster()
    with pytest.raises(BadResponse, match="the Service kubernetes: has no endpoints"):
        cluster.now()
    cluster.fails = True
    with pytest.raises(Unavailable, match="Connection refused"):
        cluster.now()


@pytest.mark.parametrize(
    ("items", "urls"),
    [
        ([], ()),
        ([{"endpoints": None, "ports": None}], ()),
        (
            [
                {"endpoints": [{"addresses": ["10.0.0.2"]}, {"addresses": ["10.0.0.1"]}], "ports": [{"port": 6443}]},
                {"endpoints": [{"addresses": ["fd00::1"]}], "ports": [{"name": "https", "port": 443}]},
            ],
            (A, B, "https://[fd00::1]:443"),
        ),
    ],
)
def test_what_an_endpoint_slice_says(
    items: list[object], urls: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    body = json.dumps({"metadata": {"resourceVersion": "7"}, "items": items}).encode()
    answer = http("200 OK", body, "Content-Type: application/json")
    with RawServer(lambda connection: connection.sendall(answer)) as server:
        file = tmp_path_factory.mktemp("kubernetes") / "config"
        cluster = {"name": "c", "cluster": {"server": server.url}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        user = {"name": "u", "user": {"token": "t"}}
        file.write_text(
            json.dumps({"clusters": [cluster], "contexts": [context], "users": [user], "current-context": "c"})
        )
        assert apiserver_urls(Kubernetes(KubernetesConfig(kubeconfig=file)), timeout=10.0) == urls
        assert (
            b"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io"
            in server.requests[0]
        )
