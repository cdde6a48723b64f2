"""The client and the stack's control plane, on a real kube-apiserver."""

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drills.stack import ControlPlane, EtcdCluster, Stack, write_kubeconfig
from kube_ballast.analysis.apiserver_requests import METRICS
from kube_ballast.clients.errors import Denied, NoSpace, Timeout
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.exposition import Sample
from kube_ballast.clients.kubernetes import (
    Broken,
    Changed,
    Collection,
    Kubernetes,
    Listing,
    ObjectMeta,
    Page,
    PartialObjectMetadata,
    access,
    follow,
)
from kube_ballast.clients.kubernetes.metrics import InstanceMetrics
from kube_ballast.config import KubernetesConfig
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

SECONDS = 30.0


class ConfigMap(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    data: dict[str, str] = msgspec.field(default_factory=dict)


class Condition(msgspec.Struct, frozen=True):
    type: str
    status: str


class NodeStatus(msgspec.Struct, frozen=True):
    conditions: tuple[Condition, ...] = ()


class Node(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    status: NodeStatus


class UserInfo(msgspec.Struct, frozen=True):
    username: str


class ReviewStatus(msgspec.Struct, frozen=True):
    user_info: UserInfo = msgspec.field(name="userInfo")


class Review(msgspec.Struct, frozen=True):
    status: ReviewStatus


class TokenStatus(msgspec.Struct, frozen=True):
    token: str


class TokenRequest(msgspec.Struct, frozen=True):
    status: TokenStatus


def config_maps(namespace: str, page: int = 500) -> Collection[ConfigMap]:
    return Collection(f"/api/v1/namespaces/{namespace}/configmaps", ConfigMap, page=page)


def client(kubeconfig: Path) -> Kubernetes:
    return Kubernetes(KubernetesConfig(kubeconfig=kubeconfig))


def add(kubernetes: Kubernetes, namespace: str, *names: str, data: str = "") -> None:
    with kubernetes.kept() as same:
        for name in names:
            item = {"metadata": {"name": name}, "data": {"text": data}}
            same.create(f"/api/v1/namespaces/{namespace}/configmaps", item, ConfigMap, timeout=SECONDS)


@pytest.fixture(scope="module")
def control_plane() -> Iterator[ControlPlane]:
    """Two apiservers that no test disturbs; each test keeps to a namespace of its own."""
    with Stack() as stack:
        yield stack.kube_apiserver(stack.etcd(), n=2)


@pytest.fixture
def admin(control_plane: ControlPlane) -> Kubernetes:
    return client(control_plane.admin)


@pytest.fixture
def namespace(admin: Kubernetes, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name).replace("_", "-").removeprefix("test-")[:60].rstrip("-")
    item = {"metadata": {"name": name}}
    admin.create("/api/v1/namespaces", item, PartialObjectMetadata, timeout=SECONDS)
    return name


def test_a_list_comes_in_pages_of_one_snapshot(admin: Kubernetes, namespace: str) -> None:
    names = [f"c-{number:03d}" for number in range(250)]
    add(admin, namespace, *names, data="x" * 2000)
    pages: list[Page[ConfigMap]] = []
    for page in admin.pages(config_maps(namespace, page=100), timeout=SECONDS):
        add(admin, namespace, f"later-{len(pages)}")
        pages.append(page)
    assert [each.metadata.name for page in pages for each in page.items] == names
    assert [len(page.items) for page in pages] == [100, 100, 50]
    assert [(page.begins, page.remaining) for page in pages] == [(True, 150), (False, 50), (False, None)]
    assert len({page.resource_version for page in pages}) == 1
    assert {len(each.data["text"]) for page in pages for each in page.items} == {2000}


def test_a_list_from_memory_is_not_older_than_what_was_asked_for(admin: Kubernetes, namespace: str) -> None:
    collection = config_maps(namespace)
    add(admin, namespace, "a", "b")
    newest = admin.list(collection, timeout=SECONDS)
    for version in ("0", newest.resource_version):
        names = eventually(
            lambda version=version: [  # type: ignore[misc]  # mypy infers no default
                each.metadata.name for each in admin.list(collection, timeout=SECONDS, resource_version=version).items
            ]
        )
        assert names == ["a", "b"]


def test_metadata_alone_is_sent_where_it_is_enough(admin: Kubernetes, namespace: str) -> None:
    add(admin, namespace, "a", data="x" * 100)
    collection = Collection(config_maps(namespace).path, ConfigMap, metadata_only=True)
    stop = threading.Event()
    source = follow(admin, collection, stop=stop)
    listing = next(source)
    assert isinstance(listing, Listing)
    assert [(each.metadata.name, each.data) for each in listing.items] == [("a", {})]
    add(admin, namespace, "b", data="x" * 100)
    changed = next(news for news in source if isinstance(news, Changed))
    assert (changed.kind, changed.item.metadata.name, changed.item.data) == ("ADDED", "b", {})
    source.close()


def test_a_list_whose_snapshot_etcd_compacts_away_is_read_anew(stack: Stack) -> None:
    # Newer apiservers answer from snapshots in memory while they have them; without those it is etcd's history.
    gates = {"feature-gates": "ListFromCacheSnapshot=false"}
    etcd = stack.etcd()
    kubernetes = client(stack.kube_apiserver(etcd, flags=gates).admin)
    add(kubernetes, "default", *(f"c-{number:02d}" for number in range(30)))
    begun: list[bool] = []
    names: list[str] = []
    for page in kubernetes.pages(config_maps("default", page=10), timeout=SECONDS):
        if page.begins:
            names.clear()
        names += [each.metadata.name for each in page.items]
        begun.append(page.begins)
        if len(begun) == 1:
            add(kubernetes, "default", "later")
            compact(etcd)
    assert begun == [True, True, False, False, False]
    assert names == [*(f"c-{number:02d}" for number in range(30)), "later"]


def compact(etcd: EtcdCluster) -> None:
    with EtcdClient(etcd.config.members[0].endpoint) as one:
        one.compact(one.status(timeout=5).revision, timeout=5)


def test_who_follows_knows_what_there_is_whatever_happens_to_the_apiserver(stack: Stack) -> None:
    control_plane = stack.kube_apiserver(stack.etcd())
    kubernetes, stop = client(control_plane.admin), threading.Event()
    known: dict[str, str] = {}
    broken: list[Broken] = []

    def keep_up() -> None:
        for news in follow(kubernetes, config_maps("default"), stop=stop):
            if isinstance(news, Listing):
                known.clear()
                known.update((each.metadata.name, each.metadata.resource_version) for each in news.items)
            elif isinstance(news, Changed) and news.kind == "DELETED":
                known.pop(news.item.metadata.name, None)
            elif isinstance(news, Changed):
                known[news.item.metadata.name] = news.item.metadata.resource_version
            elif isinstance(news, Broken):
                broken.append(news)

    def is_known() -> bool:
        there = kubernetes.list(config_maps("default"), timeout=SECONDS).items
        return bool(known) and known == {each.metadata.name: each.metadata.resource_version for each in there}

    thread = threading.Thread(target=keep_up)
    thread.start()
    try:
        add(kubernetes, "default", "a", "b")
        eventually(is_known)
        control_plane.apiservers[0].process.kill()
        eventually(lambda: broken)
        control_plane.apiservers[0].process.restart()
        kubernetes.delete(f"{config_maps('default').path}/a", timeout=SECONDS)
        add(kubernetes, "default", "c")
        eventually(is_known, within=40)
        assert sorted(known.keys() - {"kube-root-ca.crt"}) == ["b", "c"]
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_an_apiserver_that_stands_still_costs_no_more_than_the_deadline(stack: Stack) -> None:
    control_plane = stack.kube_apiserver(stack.etcd())
    kubernetes, process = client(control_plane.admin), control_plane.apiservers[0].process
    process.pause()
    with pytest.raises(Timeout, match=r"within 0\.5 s"):
        kubernetes.list(config_maps("default"), timeout=0.5)
    process.resume()
    assert kubernetes.list(config_maps("default"), timeout=SECONDS).resource_version


def test_a_full_etcd_is_told_from_other_faults(stack: Stack) -> None:
    kubernetes = client(stack.kube_apiserver(stack.etcd(quota_bytes=16 * 2**20)).admin)
    with pytest.raises(NoSpace, match="database space exceeded"):
        add(kubernetes, "default", *(f"c-{number}" for number in range(40)), data="x" * 900_000)


def test_what_rbac_does_not_allow_is_said_with_who_asked(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(Denied, match=r'User "watcher" cannot list resource "configmaps".*in the namespace'):
        client(control_plane.kubeconfig("watcher")).list(config_maps(namespace), timeout=SECONDS)


def test_a_group_and_another_apiserver(control_plane: ControlPlane, admin: Kubernetes, namespace: str) -> None:
    second = client(control_plane.kubeconfig("somebody", "system:masters", through=1))
    add(second, namespace, "a")
    assert admin.find(f"{config_maps(namespace).path}/a", ConfigMap, timeout=SECONDS) is not None
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    advertised = {each.advertised.rpartition(":")[0].encode() for each in control_plane.apiservers}
    eventually(lambda: all(each in bytes(admin.get(slices, msgspec.Raw, timeout=SECONDS)) for each in advertised))


def test_a_pod_s_token_is_read_when_the_kubelet_renews_it(
    control_plane: ControlPlane, admin: Kubernetes, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = control_plane.apiservers[0].url.removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", tmp_path)
    (tmp_path / "ca.crt").write_bytes(control_plane.authority.ca.read_bytes())
    pod = Kubernetes(KubernetesConfig())
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    for name in ("first", "second"):
        admin.create(accounts, {"metadata": {"name": name}}, PartialObjectMetadata, timeout=SECONDS)
        token = admin.create(f"{accounts}/{name}/token", {"spec": {}}, TokenRequest, timeout=SECONDS).status.token
        (tmp_path / "token").write_text(token)
        assert who(pod) == f"system:serviceaccount:{namespace}:{name}"
    (tmp_path / "token").write_text("rubbish")
    with pytest.raises(Denied, match="401 Unauthorized"):
        who(pod)


def who(kubernetes: Kubernetes) -> str:
    reviews = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    return kubernetes.create(reviews, body, Review, timeout=SECONDS).status.user_info.username


def test_an_apiserver_s_metrics_are_read_with_a_kubeconfig(control_plane: ControlPlane, admin: Kubernetes) -> None:
    found: list[Sample] = []
    metrics = InstanceMetrics(admin, control_plane.apiservers[0].url)
    metrics.read(METRICS, found.append, timeout=SECONDS)
    assert found
    nobody = client(control_plane.kubeconfig("nobody"))
    with pytest.raises(Denied, match="it takes the verb get on the nonResourceURL /metrics"):
        InstanceMetrics(nobody, metrics.url).read(METRICS, found.append, timeout=SECONDS)


def test_an_apiserver_of_a_stranger_is_not_spoken_to(control_plane: ControlPlane, stack: Stack) -> None:
    stranger = stack.kube_apiserver(stack.etcd())
    path = stack.folder / "mixed"
    write_kubeconfig(path, control_plane.apiservers[0].url, stranger.authority.ca, {"token": "a-token"})
    with pytest.raises(Denied, match="the apiserver's certificate is not accepted"):
        who(client(path))


def test_fake_nodes_are_ready_and_the_controller_manager_gives_each_namespace_its_authority(stack: Stack) -> None:
    control_plane = stack.kube_apiserver(stack.etcd(tls=True))
    stack.kube_controller_manager(control_plane)
    said: list[str] = []
    fleet = stack.kwok(control_plane, nodes=50, say=said.append)
    kubernetes = client(control_plane.admin)
    nodes = kubernetes.list(Collection("/api/v1/nodes", Node, page=20), timeout=SECONDS).items
    ready = [node for node in nodes if Condition("Ready", "True") in node.status.conditions]
    assert len(ready) == fleet.nodes == 50
    assert said[0].startswith("50 fake nodes renew their Leases")
    path = f"{config_maps('default').path}/kube-root-ca.crt"
    published = eventually(lambda: kubernetes.find(path, ConfigMap, timeout=SECONDS))
    assert published is not None
    assert published.data["ca.crt"] == control_plane.authority.ca.read_text()
