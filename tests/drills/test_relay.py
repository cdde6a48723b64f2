"""Each way of being sick, on a real apiserver and a real etcd with TLS on both sides of the relay."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

import msgspec
import pytest

from drills.relay import PASS, Fault, Mode, Relay, RelayTLS
from drills.stack import Stack
from kube_ballast.clients.errors import BadResponse, ClientError, Timeout
from kube_ballast.clients.kubernetes import Collection, Kubernetes, PartialObjectMetadata, follow
from kube_ballast.clients.kubernetes.limits import Limit
from kube_ballast.config import KubernetesConfig
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

LONG, SHORT = 10.0, 1.5
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"


@dataclass
class Path:
    """An apiserver behind a relay."""

    relay: Relay
    kubernetes: Kubernetes
    written: int = 0

    def ping(self) -> bool:
        with self.kubernetes.asked(self.kubernetes.request("GET", "/readyz/ping"), Limit(SHORT)) as answer:
            return answer.status == HTTPStatus.OK

    def reads(self, path: str = CONFIGMAPS, timeout: float = SHORT) -> bool:
        """A read of etcd; what is not there is an answer."""
        self.kubernetes.find(f"{path}/nobody", PartialObjectMetadata, timeout=timeout)
        return True

    def write(self, timeout: float = SHORT) -> str:
        self.written += 1
        name = f"relay-{self.written}"
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        self.kubernetes.create(CONFIGMAPS, item, msgspec.Raw, timeout=timeout)
        return name


@pytest.fixture(scope="module")
def running(session_stack: Stack) -> Iterator[Path]:
    etcd = session_stack.etcd(tls=True)
    assert etcd.authority is not None
    tls = RelayTLS(server=etcd.authority.issue("relay"), client=etcd.authority.issue("relay-client"))
    with Relay(etcd.endpoints[0], tls=tls) as relay:
        control = session_stack.kube_apiserver(etcd, stores=[[relay.url]])
        kubernetes = Kubernetes(KubernetesConfig(kubeconfig=control.admin))
        yield Path(relay, kubernetes)
        control.apiservers[0].process.kill()


@pytest.fixture
def path(running: Path) -> Path:
    """Well before, and whatever is left of a fault is cut after."""
    running.relay.set(PASS)
    running.relay.sever()
    eventually(lambda: running.reads(timeout=LONG) and running.reads(SECRETS), 30.0, retry=ClientError)
    return running


def test_every_resource_has_a_channel_of_its_own(path: Path) -> None:
    assert path.relay.connections()["configmaps"] >= 1
    assert path.relay.connections()["secrets"] >= 1
    assert sum(path.relay.connections().values()) > 20


@pytest.mark.parametrize("mode", [Mode.MUTE, Mode.BLACKHOLE])
def test_silence_holds_reads_and_writes_up_while_the_apiserver_looks_alive(path: Path, mode: Mode) -> None:
    path.relay.set(Fault(mode))

    with pytest.raises(Timeout):
        path.reads()
    with pytest.raises(Timeout):
        path.write()
    assert path.ping()

    path.relay.set(PASS)
    assert eventually(path.reads, LONG, retry=ClientError)


def test_one_resource_alone_is_mute(path: Path) -> None:
    path.relay.set(Fault(Mode.MUTE, resource="configmaps"))

    with pytest.raises(Timeout):
        path.reads(CONFIGMAPS)
    assert path.reads(SECRETS)


def test_reset_answers_at_once_that_it_failed_and_the_write_has_happened(path: Path) -> None:
    path.relay.set(Fault(Mode.RESET))

    with pytest.raises(BadResponse, match="500"):
        path.reads(timeout=LONG)
    with pytest.raises(Timeout, match="500"):
        path.write(timeout=LONG)

    path.relay.set(PASS)
    path.relay.sever()
    wanted = f"{CONFIGMAPS}/relay-{path.written}"
    find = lambda: path.kubernetes.find(wanted, PartialObjectMetadata, timeout=LONG)  # noqa: E731 - tried again
    # Each reset made gRPC wait longer before it dials again.
    assert eventually(find, 6 * LONG, retry=ClientError)


def test_slow_delays_what_comes_in_the_end(path: Path) -> None:
    path.relay.set(Fault(Mode.SLOW, seconds=SHORT))

    with pytest.raises(Timeout):
        path.reads(timeout=SHORT)
    assert path.reads(timeout=60.0)


def test_drop_watch_loses_news_while_writes_work_and_a_cut_brings_them_back(path: Path) -> None:
    seen: set[str] = set()
    stop = threading.Event()
    collection = Collection(CONFIGMAPS, PartialObjectMetadata)

    def listen() -> None:
        for news in follow(path.kubernetes, collection, stop=stop):
            items = getattr(news, "items", ()) or (getattr(news, "item", None),)
            seen.update(item.metadata.name for item in items if item is not None)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        before = path.write(timeout=LONG)
        eventually(lambda: before in seen)
        path.relay.set(Fault(Mode.DROP_WATCH))
        lost = [path.write(timeout=LONG) for _ in range(3)]
        assert not seen & set(lost)
        path.relay.set(PASS)
        eventually(lambda: seen >= set(lost))
    finally:
        stop.set()
        listener.join(LONG)


def test_with_only_the_old_connections_mute_a_cut_is_the_cure(path: Path) -> None:
    path.relay.set(Fault(Mode.MUTE, only_old=True))
    with pytest.raises(Timeout):
        path.write()

    assert path.relay.sever() > 20

    assert eventually(path.write, LONG, retry=ClientError)
