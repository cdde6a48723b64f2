"""How a cluster's apiservers are configured, and what several exporters say of them together."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from ballast_remediator.apiservers import Apiservers
from ballast_remediator.config import ClusterConfig
from ballast_remediator.contract import NotConfigured
from kube_ballast.analysis.control_plane import MemberReads
from kube_ballast.clients.errors import BadResponse, ClientError, Unavailable
from kube_ballast.config import EtcdMemberConfig
from tests.lib.fakes import RawServer, http
from tests.remediator.guards import planes
from tests.remediator.guards.planes import ENDPOINTS
from tests.remediator.runbooks.curing import OTHER, SICK, WELL, config

GONE = "http://127.0.0.1:9"


@contextmanager
def exporter(**verdicts: str) -> Iterator[str]:
    told = [
        {"kind": "grpc_stall", "subject": name, "verdict": verdict, "reasons": [], "observed_at": 1, "valid_until": 2}
        for name, verdict in zip((SICK, WELL, OTHER), verdicts.values(), strict=False)
    ]
    with RawServer(lambda line: line.sendall(http("200 OK", json.dumps(told).encode()))) as server:
        yield server.url


class Told(Apiservers):
    """Whose etcd answers, and whose apiservers are ready but those that are ``unready``."""

    unready: frozenset[str] = frozenset()

    def ready(self, name: str) -> None:
        if name in self.unready:
            raise Unavailable(name, "connection refused")

    def members(self, name: str) -> tuple[MemberReads, ...]:
        self.instance(name)
        return planes.members()


def apiservers(*exporters: str) -> Told:
    content = config().model_copy(update={"exporters": _http(*exporters)})
    return Told("here", content, ())


def _http(*urls: str) -> Any:
    return ClusterConfig.model_validate({**_SMALL, "exporters": [{"url": url} for url in urls]}).exporters


_SMALL: dict[str, Any] = {
    "etcd": [{"members": [{"endpoint": ENDPOINTS[0]}]}],
    "prometheus": {"url": "http://prometheus:9090"},
    "alertmanagers": [{"url": "http://alertmanager:9093"}],
}


def test_what_two_exporters_say_is_put_together() -> None:
    with exporter(a="channel_stalled", b="ok") as first, exporter(a="ok", b="ok", c="ok") as second:
        state = apiservers(first, second).state(SICK)
    assert {name: state.words(name) for name in state.names} == {
        SICK: "channel_stalled and ok",
        WELL: "ok",
        OTHER: "ok",
    }
    assert state.verdict(SICK) is None
    assert state.silent == ()


def test_one_that_does_not_answer_is_named_and_the_other_believed() -> None:
    with exporter(a="channel_stalled") as first:
        state = apiservers(first, GONE).state(SICK)
    assert (state.verdict(SICK), state.verdict(WELL), state.silent) == ("channel_stalled", None, (GONE,))


def test_the_others_are_asked_whether_they_are_ready() -> None:
    with exporter(a="channel_stalled", b="ok", c="ok") as first:
        asked = apiservers(first)
        asked.unready = frozenset({SICK, OTHER})
        assert asked.state(SICK).unready == {OTHER: "connection refused"}


def test_who_tells_of_the_target_is_known() -> None:
    with exporter(a="channel_stalled") as first, exporter() as second:
        assert apiservers(first, second, GONE).state(SICK).tellers == (first,)


@dataclass
class Member:
    """An etcd member that nobody asks anything."""

    config: EtcdMemberConfig
    grpc: Any = None
    http: Any = None


@pytest.mark.parametrize(
    ("uses", "endpoints", "strangers"),
    [
        ([], ("10.0.0.1:2379", "127.0.0.1:2390", "[2001:db8::1]:2379"), ()),
        ([], ("10.0.0.1:2379", "10.0.0.1:4001", "10.0.9.9:2379"), ("10.0.0.1:4001", "10.0.9.9:2379")),
        ([], ("127.0.0.1:2391",), ("127.0.0.1:2391",)),
        ([ENDPOINTS[0]], ("127.0.0.1:2391",), ()),
    ],
)
def test_an_etcd_that_is_no_configured_member(
    uses: list[str], endpoints: tuple[str, ...], strangers: tuple[str, ...]
) -> None:
    """Names of members are resolved, and those that are not are named; what is said of an apiserver is trusted."""
    urls = (ENDPOINTS[0], "https://localhost:2390", "https://[2001:db8:0::1]:2379", "https://nobody.invalid:2391")
    members = [Member(EtcdMemberConfig(endpoint=url)) for url in urls]
    unresolved = () if uses else ("nobody.invalid",)
    assert Apiservers("here", config(etcd=uses), members).strangers(SICK, endpoints) == (strangers, unresolved)


def test_nobody_answers() -> None:
    with pytest.raises(ClientError):
        apiservers(GONE).state(SICK)


def test_what_is_missing_is_said() -> None:
    nobody = Apiservers("here", ClusterConfig.model_validate(_SMALL), ())
    with pytest.raises(NotConfigured, match=r"clusters\.here\.apiservers has no '10\.0\.0\.1:6443' \(known: none\)"):
        nobody.state(SICK)
    with pytest.raises(NotConfigured, match=r"clusters\.here has no exporters"):
        apiservers().state(SICK)
    content = config().model_copy(update={"hosts": None})
    with pytest.raises(NotConfigured, match=r"clusters\.here has no hosts: nothing can be done there"):
        Apiservers("here", content, ()).state(SICK)


@pytest.mark.parametrize(
    ("instance", "words"),
    [
        ({"url": "https://api.example:6443"}, "say in listens where it listens"),
        ({"url": "https://10.0.0.1"}, "say in listens where it listens"),
        ({"url": "https://10.0.0.1:6443", "host": "-oProxyCommand=id"}, "pattern"),
        (
            {"url": "https://10.0.0.1:6443", "etcd": ["https://10.9.9.9:2379"]},
            "which is no member's endpoint under etcd",
        ),
        ({"url": "https://10.0.0.1:6443", "restart": {"unit": "a.service", "container": "b"}}, "say one of command"),
    ],
)
def test_what_is_no_apiserver(instance: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ClusterConfig.model_validate({**_SMALL, "apiservers": {"instances": [instance]}})


def test_a_restart_that_would_be_given_up_in_the_middle() -> None:
    one = {"url": "https://10.0.0.1:6443", "restart": {"unit": "kube-apiserver.service", "grace": 20}}

    def configured(timeout: str) -> ClusterConfig:
        hosts = {"local": True, "timeout": timeout}
        return ClusterConfig.model_validate({**_SMALL, "apiservers": {"instances": [one]}, "hosts": hosts})

    with pytest.raises(ValidationError, match=r"hosts.timeout is 90 s, and a restart of 10\.0\.0\.1:6443 takes up to"):
        configured("90s")
    assert configured("95s").apiservers is not None


def test_an_apiserver_with_a_name_says_where_it_listens() -> None:
    named = {"url": "https://api.example:6443", "listens": "10.0.0.1:6443"}
    made = ClusterConfig.model_validate({**_SMALL, "apiservers": {"instances": [named]}})
    assert made.apiservers is not None
    [one] = made.apiservers.instances
    assert (one.name, one.host_name, one.listening) == ("api.example:6443", "api.example", "10.0.0.1:6443")
    assert made.targets == {"main", "api.example:6443"}


def test_an_apiserver_whose_page_does_not_tell_what_it_carries() -> None:
    with RawServer(lambda line: line.sendall(http("200 OK", b"process_resident_memory_bytes 1\n"))) as server:
        address = server.url.removeprefix("http://")
        instances = [{"url": server.url, "listens": address}]
        made = ClusterConfig.model_validate(
            {**_SMALL, "apiservers": {"instances": instances}, "exporters": [{"url": GONE}], "hosts": {"local": True}}
        )
        with pytest.raises(BadResponse, match="has no apiserver_current_inflight_requests"):
            Apiservers("here", made, ()).load(address)
