"""An apiserver's metrics, asked at its own address with what a kubeconfig gives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_ballast.clients.errors import BadResponse, ClientError, Denied, Timeout
from kube_ballast.clients.exposition import Sample
from kube_ballast.clients.kubernetes import Kubernetes, TooManyRequests
from kube_ballast.clients.kubernetes.metrics import InstanceMetrics
from kube_ballast.config import KubernetesConfig
from tests.lib.apiservers import Say, ScriptedApiserver, kubeconfig

PAGE = b'other 1\napiserver_request_total{verb="GET"} 7\n'
NAMES = ("apiserver_request_total",)


def read(server: ScriptedApiserver, folder: Path, timeout: float = 5.0) -> list[Sample]:
    elsewhere = Kubernetes(KubernetesConfig(kubeconfig=kubeconfig("http://127.0.0.1:1", folder, token="a-token")))
    found: list[Sample] = []
    InstanceMetrics(elsewhere, server.url).read(NAMES, found.append, timeout=timeout)
    return found


def test_the_kubeconfig_s_credentials_go_to_the_instance(tmp_path: Path) -> None:
    with ScriptedApiserver(lambda _: Say(200, PAGE)) as server:
        assert read(server, tmp_path) == [Sample(NAMES[0], {"verb": "GET"}, 7.0)]
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["Authorization"]) == ("GET", "/metrics", "Bearer a-token")


@pytest.mark.parametrize(
    ("say", "kind", "words"),
    [
        (Say(401), Denied, "401"),
        (Say(403), Denied, "it takes the verb get on the nonResourceURL /metrics"),
        (Say(429), TooManyRequests, "429"),
        (Say(200, PAGE[:-1]), BadResponse, "breaks off in the middle of a line"),
        (Say(302, headers={"Location": "http://elsewhere"}), BadResponse, "redirect to http://elsewhere"),
    ],
)
def test_what_is_no_page_is_told(tmp_path: Path, say: Say, kind: type[ClientError], words: str) -> None:
    with ScriptedApiserver(lambda _: say) as server, pytest.raises(kind, match=words) as caught:
        read(server, tmp_path)
    assert str(caught.value).startswith(server.url), "each apiserver's trouble names that one"


def test_a_page_that_does_not_end_is_left_in_time(tmp_path: Path) -> None:
    with ScriptedApiserver(lambda _: Say(200, events=trickle(server))) as server, pytest.raises(Timeout):
        read(server, tmp_path, timeout=0.5)


def trickle(server: ScriptedApiserver) -> Iterator[bytes]:
    while not server.closing.wait(0.1):
        yield b"# a comment that goes on\n"
