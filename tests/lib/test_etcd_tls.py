"""Mutual TLS on a real member: the right files, the wrong ones, and files that change."""

import os
from pathlib import Path

import grpc
import pytest

from drills.stack import Authority, EtcdCluster, Stack
from kube_ballast.clients.errors import ClientError, Denied, Unavailable
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import Snapshot
from kube_ballast.config import TLSFiles
from tests.waiting import eventually

SOON = 5.0


@pytest.fixture(scope="module")
def cluster(session_stack: Stack) -> EtcdCluster:
    return session_stack.etcd(tls=True)


@pytest.fixture(scope="module")
def good(cluster: EtcdCluster) -> TLSFiles:
    assert cluster.tls is not None
    return cluster.tls


@pytest.fixture(scope="module")
def stranger(session_stack: Stack) -> TLSFiles:
    """Files of an authority that nobody trusts."""
    return Authority(session_stack.data("stranger")).issue("stranger")


def test_the_right_files_open_everything(cluster: EtcdCluster, good: TLSFiles, tmp_path: Path) -> None:
    for tls in (good, good.model_copy(update={"server_name": "localhost"})):
        with EtcdClient(cluster.endpoints[0], tls=tls) as client:
            assert client.put(b"tls", b"1", timeout=SOON).revision > 0
            assert isinstance(client.snapshot(tmp_path / "snapshot.db", timeout=SOON), Snapshot)
        http = EtcdHttp(cluster.endpoints[0], tls=tls)
        assert http.readyz(timeout=SOON).ok
        assert http.metrics(timeout=SOON).defrag_inflight == 0


@pytest.fixture
def wrong(good: TLSFiles, stranger: TLSFiles, tmp_path: Path) -> dict[str, TLSFiles | None]:
    no_pem = tmp_path / "ca.pem"
    no_pem.write_text("-----BEGIN NOTHING-----")
    return {
        "no certificate": TLSFiles(ca=good.ca),
        "a stranger's certificate": stranger.model_copy(update={"ca": good.ca}),
        "a stranger's authority": good.model_copy(update={"ca": stranger.ca}),
        "another name": good.model_copy(update={"server_name": "etcd.example"}),
        "no PEM": good.model_copy(update={"ca": no_pem}),
        "nothing": None,
    }


def refusals(endpoint: str, tls: TLSFiles | None) -> list[ClientError]:
    """How a read, a write, and a request over HTTP fail."""
    with EtcdClient(endpoint, tls=tls) as client:
        calls = (
            lambda: client.status(timeout=SOON),
            lambda: client.put(b"a", b"b", timeout=SOON),
            lambda: EtcdHttp(endpoint, tls=tls).readyz(timeout=SOON),
        )
        errors = []
        for call in calls:
            with pytest.raises(ClientError) as caught:
                call()
            errors.append(caught.value)
        return errors


@pytest.mark.parametrize(
    ("change", "grpc_words", "http_words"),
    [
        ("no certificate", "no client certificate is configured", "certificate required"),
        ("a stranger's certificate", "does not accept this client's certificate", "unknown ca"),
        ("a stranger's authority", "server's certificate is not accepted", "server's certificate is not accepted"),
        ("another name", "names another host", "Hostname mismatch"),
        ("no PEM", "certificate files cannot be used", "cannot be used"),
        ("nothing", "server's certificate is not accepted", "server's certificate is not accepted"),
    ],
)
def test_wrong_files_are_named(
    wrong: dict[str, TLSFiles | None], cluster: EtcdCluster, change: str, grpc_words: str, http_words: str
) -> None:
    status, put, readyz = refusals(cluster.endpoints[0], wrong[change])
    for error, words in ((status, grpc_words), (put, grpc_words), (readyz, http_words)):
        assert type(error) is Denied
        assert words in str(error)
    assert "nothing was sent" in str(put)


def test_plain_text_to_a_member_that_speaks_tls(cluster: EtcdCluster) -> None:
    for error in refusals(cluster.endpoints[0].replace("https", "http"), None):
        assert type(error) is Unavailable


def test_a_file_that_went_missing_is_named(cluster: EtcdCluster, good: TLSFiles, tmp_path: Path) -> None:
    mine = copies(good, tmp_path)
    assert mine.key is not None
    with EtcdClient(cluster.endpoints[0], tls=mine) as client:
        client.status(timeout=SOON)
        mine.key.unlink()
        with pytest.raises(Denied, match=r"nothing was sent: .*key.pem cannot be read: No such file"):
            client.status(timeout=SOON)
        with pytest.raises(Denied, match=r"key.pem cannot be read"):
            EtcdHttp(cluster.endpoints[0], tls=mine).readyz(timeout=SOON)


def copies(tls: TLSFiles, folder: Path) -> TLSFiles:
    """The same files somewhere else, where a test can change them."""
    made = {}
    for name in ("ca", "cert", "key"):
        made[name] = folder / f"{name}.pem"
        made[name].write_bytes(getattr(tls, name).read_bytes())
    return TLSFiles(ca=made["ca"], cert=made["cert"], key=made["key"])


def renew(mine: TLSFiles, tls: TLSFiles) -> None:
    """Puts other files in place as a renewing program would, by renaming."""
    for name in ("cert", "key"):
        new = getattr(mine, name).with_suffix(".new")
        new.write_bytes(getattr(tls, name).read_bytes())
        os.replace(new, getattr(mine, name))  # noqa: PTH105 (says what it does)


def test_renewed_files_take_effect(cluster: EtcdCluster, good: TLSFiles, stranger: TLSFiles, tmp_path: Path) -> None:
    mine = copies(good, tmp_path)
    http = EtcdHttp(cluster.endpoints[0], tls=mine)
    with EtcdClient(cluster.endpoints[0], tls=mine) as client:
        client.status(timeout=SOON)
        before = client._channel._current
        client.status(timeout=SOON)
        assert client._channel._current is before
        renew(mine, stranger)
        for _ in range(2):
            with pytest.raises(Denied):
                client.status(timeout=SOON)
            with pytest.raises(Denied):
                http.readyz(timeout=SOON)
        renew(mine, good)
        eventually(lambda: client.status(timeout=SOON).revision, retry=ClientError)
        assert http.readyz(timeout=SOON).ok
        assert client._channel._current is not before


def test_a_call_under_way_outlives_the_renewal_of_its_files(
    cluster: EtcdCluster, good: TLSFiles, tmp_path: Path
) -> None:
    mine = copies(good, tmp_path)
    with EtcdClient(cluster.endpoints[0], tls=mine) as client:
        with client._channel.use() as old:
            renew(mine, good)
            with client._channel.use() as new:
                assert new is not old
            ask_raw(old)
        with pytest.raises(ValueError, match="closed channel"):
            ask_raw(old)
        client.status(timeout=SOON)


def ask_raw(channel: grpc.Channel) -> None:
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/etcdserverpb.Maintenance/Status")
    ask(b"", timeout=SOON)
