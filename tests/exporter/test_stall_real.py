"""The probes on real apiservers and a real etcd: what is found, what is refused, and what is only just beginning."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import grpc
import pytest

from ballast_exporter.apiservers import Listed
from ballast_exporter.collectors import grpc_stall
from ballast_exporter.config import Config
from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_apiserver import Server
from ballast_exporter.stall_canary import NAMESPACE
from ballast_exporter.stall_probes import Probes
from drills.stack import ControlPlane, EtcdCluster, Stack
from drills.stack.kubernetes import ADMINS
from kube_ballast.analysis.stall import Judgement, Verdict
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import AlarmKind
from kube_ballast.clients.kubernetes import Collection, Kubernetes, PartialObjectMetadata
from kube_ballast.config import EtcdConfig, EtcdMemberConfig, HttpConfig, KubernetesConfig, TLSFiles
from tests.exporter.apiserver_traffic import Balancer
from tests.remediator.chain import arm, disarm
from tests.waiting import eventually

pytestmark = pytest.mark.e2e

SOON, LATE = 5.0, 60.0
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


@dataclass(frozen=True)
class Cluster:
    etcd: EtcdCluster
    control: ControlPlane

    @property
    def urls(self) -> Sequence[str]:
        return [each.url for each in self.control.apiservers]

    def servers(self, *more: str, user: str = "stall-probes", group: str | None = ADMINS) -> list[Server]:
        files = self.control.authority.issue(user, organization=group)
        return [Server(HttpConfig(url=url, tls=files)) for url in (*self.urls, *more)]

    def leases(self) -> set[str]:
        admin = Kubernetes(KubernetesConfig(kubeconfig=self.control.admin))
        found = admin.list(Collection(LEASES, PartialObjectMetadata), timeout=SOON)
        return {each.metadata.name for each in found.items}


@pytest.fixture(scope="module")
def cluster(session_stack: Stack) -> Iterator[Cluster]:
    """Three members, two apiservers that know one each."""
    etcd = session_stack.etcd(members=3)
    control = session_stack.kube_apiserver(etcd, n=2, stores=[[each] for each in etcd.endpoints[:2]])
    yield Cluster(etcd, control)
    for apiserver in control.apiservers:
        apiserver.process.kill()


@contextmanager
def probing(servers: Sequence[Server], etcd: EtcdConfig | None, *, writes: bool = True) -> Iterator[Probes]:
    probes, stop = Probes(Listed(servers), etcd, RequestCounter(), writes=writes, pages=2.0), threading.Event()
    thread = threading.Thread(target=probes.run, args=(stop,))
    thread.start()
    try:
        yield probes
    finally:
        stop.set()
        thread.join()
        probes.close()


def verdicts(probes: Probes) -> set[Verdict]:
    return {each.verdict for each in probes.judgements().values()}


def is_well(probes: Probes) -> bool:
    return verdicts(probes) == {Verdict.OK}


def told(probes: Probes, verdict: Verdict, words: str) -> Mapping[str, Judgement] | None:
    """All judgements, once each is this one and says this."""
    found = probes.judgements()
    fits = [each.verdict is verdict and words in "; ".join(each.reasons) for each in found.values()]
    return found if fits and all(fits) else None


def test_a_load_balancer_gets_no_verdict_and_is_named(cluster: Cluster) -> None:
    with (
        Balancer(list(cluster.urls)).running() as balancer,
        probing(cluster.servers(balancer), cluster.etcd.config) as probes,
    ):
        (note,) = eventually(lambda: probes.report().notes, LATE)
        assert note.startswith(f"{balancer.removeprefix('https://')}: no verdict: ")
        eventually(lambda: is_well(probes), LATE)
        assert set(probes.judgements()) == {url.removeprefix("https://") for url in cluster.urls}


def test_apiservers_are_found_from_the_service_kubernetes(cluster: Cluster) -> None:
    members = [each.model_dump(exclude_none=True) for each in cluster.etcd.config.members]
    config = Config.model_validate(
        {
            "etcd": [{"members": members}],
            "apiservers": {"kubernetes": {"kubeconfig": cluster.control.admin}},
            "collectors": {"grpc_stall": {"enabled": True}},
        }
    )
    collector, stop = grpc_stall.build(config, RequestCounter()), threading.Event()
    thread = threading.Thread(target=collector.run, args=(stop,))
    thread.start()
    wanted = {each.advertised for each in cluster.control.apiservers}
    try:
        eventually(lambda: {each.subject for each in collector.snapshot().evidence} == wanted, 2 * LATE)
    finally:
        stop.set()
        thread.join()
        collector.close()


def test_a_lease_that_somebody_deletes_is_written_again_and_nobody_is_blamed(cluster: Cluster) -> None:
    with probing(cluster.servers(), cluster.etcd.config) as probes:
        eventually(lambda: is_well(probes), LATE)
        there = {f"canary-{url.removeprefix('https://').replace(':', '-')}" for url in cluster.urls}
        admin = Kubernetes(KubernetesConfig(kubeconfig=cluster.control.admin))
        seen: set[Verdict] = set()

        def written_again() -> bool:
            seen.update(verdicts(probes))
            return cluster.leases() >= there and is_well(probes)

        for lease in there:
            admin.delete(f"{LEASES}/{lease}", timeout=SOON)
        eventually(written_again, LATE, retry=ClientError)
        assert seen <= {Verdict.OK, Verdict.UNKNOWN}
    before = cluster.leases()
    with probing(cluster.servers(), cluster.etcd.config) as probes:  # as after a kill: it goes on with what is there
        eventually(lambda: is_well(probes), LATE)
    assert cluster.leases() == before


def test_who_may_do_nothing_is_told_so_and_blames_nobody(cluster: Cluster) -> None:
    with probing(cluster.servers(user="nobody", group=None), cluster.etcd.config) as probes:
        eventually(lambda: told(probes, Verdict.UNKNOWN, "403 Forbidden"), LATE)


def test_who_may_only_read_is_told_that_the_write_is_forbidden(cluster: Cluster) -> None:
    admin = Kubernetes(KubernetesConfig(kubeconfig=cluster.control.admin))
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]},
        {"nonResourceURLs": ["*"], "verbs": ["get"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}
    for kind, item in (
        ("clusterroles", {"rules": rules}),
        ("clusterrolebindings", {"roleRef": role, "subjects": [subject]}),
    ):
        path = f"/apis/rbac.authorization.k8s.io/v1/{kind}"
        admin.create(path, {"metadata": {"name": "reader"}, **item}, PartialObjectMetadata, timeout=SOON)
    with probing(cluster.servers(user="reader", group=None), cluster.etcd.config) as probes:
        eventually(lambda: told(probes, Verdict.UNKNOWN, "since it denies us the write: PATCH"), LATE)


def test_a_member_of_etcd_that_nobody_asks_is_named_and_keeps_what_fails_unknown(stack: Stack) -> None:
    """As where somebody names the member of one host, and each apiserver asks its own."""
    etcd = stack.etcd(members=3)
    cluster = Cluster(etcd, stack.kube_apiserver(etcd, n=2, stores=[[each] for each in etcd.endpoints[:2]]))
    servers = cluster.servers()
    named = EtcdConfig(members=etcd.config.members[:1])
    seen: set[Verdict] = set()

    def failing() -> bool:
        judgement = probes.judgements()[servers[1].name]
        seen.add(judgement.verdict)
        return "etcd members that nobody asks: 2" in " ".join(judgement.reasons)

    with probing(servers, named) as probes:
        eventually(lambda: is_well(probes) and probes.report().notes, LATE)
        (note,) = probes.report().notes
        assert all(each in note for each in etcd.endpoints)
        etcd.members[1].pause()
        try:
            eventually(failing, LATE)
        finally:
            etcd.members[1].resume()
    assert seen <= {Verdict.OK, Verdict.UNKNOWN}


def test_without_writes_what_is_left_out_is_said(cluster: Cluster) -> None:
    before = cluster.leases()
    with probing(cluster.servers(), cluster.etcd.config, writes=False) as probes:
        eventually(lambda: told(probes, Verdict.OK, "left out: whether it writes"), LATE)
    assert cluster.leases() == before


def test_an_etcd_that_cannot_be_asked_is_no_fault_while_nothing_fails(cluster: Cluster) -> None:
    with probing(cluster.servers(), None) as probes:
        eventually(lambda: is_well(probes), LATE)


def test_wrong_certificates_for_the_apiserver_blame_nobody(cluster: Cluster) -> None:
    servers = [Server(HttpConfig(url=url, tls=TLSFiles())) for url in cluster.urls]  # the system's authorities
    with probing(servers, cluster.etcd.config) as probes:
        eventually(lambda: told(probes, Verdict.UNKNOWN, "certificate is not accepted"), LATE)


def test_an_apiserver_that_is_just_starting_is_not_blamed(stack: Stack) -> None:
    etcd = stack.etcd(members=3)
    control = stack.kube_apiserver(etcd, n=2)
    seen: set[Verdict] = set()
    cluster, process = Cluster(etcd, control), control.apiservers[0].process
    name = control.apiservers[0].url.removeprefix("https://")
    with probing(cluster.servers(), etcd.config) as probes:
        eventually(lambda: is_well(probes), LATE)
        process.kill()
        eventually(lambda: probes.judgements()[name].verdict is Verdict.DOWN, LATE)
        restarting = threading.Thread(target=process.restart)
        restarting.start()

        def well_again() -> bool:
            seen.add(probes.judgements()[name].verdict)
            return not restarting.is_alive() and probes.judgements()[name].verdict is Verdict.OK

        eventually(well_again, 120.0, every=0.02)
        restarting.join()
    assert seen <= {Verdict.DOWN, Verdict.UNKNOWN, Verdict.OK}


@contextmanager
def no_space(cluster: Cluster) -> Iterator[None]:
    arm(cluster.etcd, AlarmKind.NOSPACE)
    yield
    disarm(cluster.etcd, AlarmKind.NOSPACE)


@contextmanager
def a_webhook_that_hangs(cluster: Cluster) -> Iterator[None]:
    """Asked for every write of a Lease, it takes the connection and says nothing."""
    admin = Kubernetes(KubernetesConfig(kubeconfig=cluster.control.admin))
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    rule = {"apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["leases"]}
    with socket.create_server(("127.0.0.1", 0)) as mute:
        webhook = {
            "name": "hangs.ballast.test",
            "clientConfig": {"url": f"https://127.0.0.1:{mute.getsockname()[1]}/"},
            "rules": [rule],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        item = {"metadata": {"name": "hangs"}, "webhooks": [webhook]}
        admin.create(path, item, PartialObjectMetadata, timeout=SOON)
        yield
        admin.delete(f"{path}/hangs", timeout=SOON)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (no_space, "database space exceeded; reads of Leases through the same channel are answered"),
        (a_webhook_that_hangs, "writes of a Lease hang; reads of Leases through the same channel are answered"),
    ],
)
def test_writes_alone_that_fail_are_no_stalled_channel(
    cluster: Cluster, trouble: Callable[[Cluster], AbstractContextManager[None]], words: str
) -> None:
    seen: set[Verdict] = set()

    def noticed() -> bool:
        seen.update(verdicts(probes))
        return told(probes, Verdict.UNKNOWN, words) is not None

    def well_again() -> bool:
        seen.update(verdicts(probes))
        return is_well(probes)

    with probing(cluster.servers(), cluster.etcd.config) as probes:
        eventually(lambda: is_well(probes), LATE)
        with trouble(cluster):
            eventually(noticed, LATE)
        eventually(well_again, LATE)
    assert seen == {Verdict.OK, Verdict.UNKNOWN}


@contextmanager
def held_open(endpoint: str) -> Iterator[None]:
    """Somebody reads a snapshot and does not go on: a defragmentation waits for it."""
    with grpc.insecure_channel(endpoint.removeprefix("http://")) as channel:
        ask = channel.unary_stream(
            "/etcdserverpb.Maintenance/Snapshot",
            request_serializer=rpc_pb2.SnapshotRequest.SerializeToString,
            response_deserializer=rpc_pb2.SnapshotResponse.FromString,
        )
        stream = ask(rpc_pb2.SnapshotRequest())
        next(iter(stream))
        try:
            yield
        finally:
            stream.cancel()


def test_a_member_that_is_being_defragmented_is_called_that(cluster: Cluster) -> None:
    with EtcdClient(cluster.etcd.endpoints[0]) as member:
        for number in range(24):  # more than a snapshot's reader takes ahead
            member.put(b"/stall/%d" % number, bytes(1 << 20), timeout=SOON)
    used = dict(zip(cluster.urls, cluster.etcd.endpoints, strict=False))
    servers = [Server(each.config, (used[each.config.url],)) for each in cluster.servers()]
    first, second = (each.name for each in servers)

    def defragment() -> None:
        with suppress(ClientError), EtcdClient(cluster.etcd.endpoints[0]) as one:
            one.defragment(timeout=LATE)

    with probing(servers, cluster.etcd.config) as probes:
        eventually(lambda: is_well(probes), LATE)
        defragmenting = threading.Thread(target=defragment)
        with held_open(cluster.etcd.endpoints[0]):
            defragmenting.start()
            eventually(lambda: "is being defragmented" in " ".join(probes.judgements()[first].reasons), LATE)
            assert probes.judgements()[first].verdict is Verdict.ETCD_MEMBER_BAD
            eventually(lambda: probes.judgements()[second].verdict is Verdict.OK, LATE)
        defragmenting.join()
        eventually(lambda: is_well(probes), LATE)


def test_wrong_certificates_for_etcd_blame_nobody(stack: Stack) -> None:
    etcd = stack.etcd(tls=True)
    control = stack.kube_apiserver(etcd)
    cluster, authority = Cluster(etcd, control), control.authority
    wrong = EtcdConfig(
        members=tuple(EtcdMemberConfig(endpoint=each) for each in etcd.endpoints), tls=authority.issue("not-of-etcd")
    )
    with probing(cluster.servers(), wrong) as probes:
        eventually(lambda: is_well(probes), LATE)
        etcd.members[0].pause()
        try:
            eventually(lambda: told(probes, Verdict.UNKNOWN, "do not let us look"), LATE)
        finally:
            etcd.members[0].resume()
