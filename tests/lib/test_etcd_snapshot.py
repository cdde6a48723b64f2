"""A snapshot is whole and verified, or it is not there."""

import errno
import hashlib
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest

from drills.stack import EtcdCluster, tool
from kube_ballast.clients.errors import BadResponse, LocalDisk, Timeout, Unavailable
from kube_ballast.clients.etcd import snapshot
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from tests.lib.fakes import FakeMember
from tests.waiting import eventually

SOON = 5.0
DATABASE = bytes(range(256)) * 64
WHOLE = DATABASE + hashlib.sha256(DATABASE).digest()


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.fixture(scope="module")
def filled(etcd: EtcdCluster) -> Iterator[EtcdClient]:
    with EtcdClient(etcd.endpoints[0]) as client:
        for number in range(8):
            client.put(b"snapshot/%d" % number, os.urandom(1_000_000), timeout=SOON)
        yield client


def test_a_real_one_passes_etcds_own_check(filled: EtcdClient, etcd: EtcdCluster, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"
    taken = filled.snapshot(path, timeout=30.0)
    assert taken.path == path
    assert taken.size_bytes == path.stat().st_size > 8_000_000
    assert taken.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["snapshot.db"]
    subprocess.run([tool("etcdutl"), "snapshot", "status", path], check=True, capture_output=True)
    http = EtcdHttp(etcd.members[0].metrics_url)
    eventually(lambda: http.metrics(timeout=SOON).snapshots_in_flight == 0)


def test_a_stream_that_somebody_reads_is_counted(filled: EtcdClient, etcd: EtcdCluster) -> None:
    http = EtcdHttp(etcd.members[0].metrics_url)
    with filled._channel.use() as channel:
        ask: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/etcdserverpb.Maintenance/Snapshot")
        call = ask(b"", timeout=30.0)
        next(call)
        assert http.metrics(timeout=SOON).snapshots_in_flight == 1
        call.cancel()
    eventually(lambda: http.metrics(timeout=SOON).snapshots_in_flight == 0)


def test_the_deadline_leaves_nothing_behind(filled: EtcdClient, tmp_path: Path) -> None:
    with pytest.raises(Timeout):
        filled.snapshot(tmp_path / "snapshot.db", timeout=0.002)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing_behind(etcd: EtcdCluster, filled: EtcdClient, tmp_path: Path) -> None:
    assert filled.status(timeout=SOON).db_size > 2_000_000
    program = f"""
import resource, sys
from pathlib import Path
from kube_ballast.clients.errors import LocalDisk
from kube_ballast.clients.etcd.client import EtcdClient
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    EtcdClient({etcd.endpoints[0]!r}).snapshot(Path(sys.argv[1]), timeout=30.0)
except LocalDisk as error:
    print(error)
"""
    path = tmp_path / "snapshot.db"
    done = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True)
    assert done.stdout == f"{path}: the snapshot cannot be stored: {os.strerror(errno.EFBIG)}\n"
    assert not list(tmp_path.iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000


def test_a_folder_that_is_not_there(filled: EtcdClient, tmp_path: Path) -> None:
    with pytest.raises(LocalDisk, match="cannot be stored: No such file or directory"):
        filled.snapshot(tmp_path / "nowhere" / "snapshot.db", timeout=SOON)


@pytest.mark.parametrize("size", [1, 31, 32, 33, 512, 100_000])
def test_pieces_of_any_size(tmp_path: Path, size: int) -> None:
    taken = snapshot.store("etcd", pieces(WHOLE, size), tmp_path / "snapshot.db")
    assert taken.path.read_bytes() == WHOLE
    assert taken.sha256 == hashlib.sha256(WHOLE).hexdigest()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes are no whole snapshot"),
        (WHOLE[:-1], "no whole snapshot"),
        (WHOLE + b"x", "no whole snapshot"),
        (WHOLE[512:], "SHA-256 is wrong"),
        (b"x" + WHOLE[1:], "SHA-256 is wrong"),
        (WHOLE[:-1] + b"x", "SHA-256 is wrong"),
    ],
)
def test_a_damaged_stream_is_thrown_away_and_the_old_file_stays(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "snapshot.db"
    path.write_text("an older one")
    with pytest.raises(BadResponse, match=words):
        snapshot.store("etcd", pieces(data, 1000), path)
    assert [each.read_text() for each in tmp_path.iterdir()] == ["an older one"]


def test_what_a_killed_attempt_left_is_replaced(tmp_path: Path) -> None:
    left_over = tmp_path / "snapshot.db.part"
    left_over.write_text("half of one")
    left_over.chmod(0o644)
    taken = snapshot.store("etcd", [WHOLE], tmp_path / "snapshot.db")
    assert stat.S_IMODE(taken.path.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["snapshot.db"]


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.db"

    def during() -> Iterable[bytes]:
        yield WHOLE[:1000]
        with pytest.raises(LocalDisk, match="another snapshot is being written"):
            snapshot.store("etcd", [WHOLE], path)
        yield WHOLE[1000:]

    assert snapshot.store("etcd", during(), path).path.read_bytes() == WHOLE


def test_a_member_that_sends_damaged_bytes(tmp_path: Path) -> None:
    damaged = [WHOLE[:5000], b"?" + WHOLE[5001:]]
    with (
        FakeMember(blobs=damaged) as member,
        EtcdClient(member.endpoint) as client,
        pytest.raises(BadResponse, match="SHA-256 is wrong"),
    ):
        client.snapshot(tmp_path / "snapshot.db", timeout=SOON)
    assert not list(tmp_path.iterdir())


def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    with (
        FakeMember(grpc.StatusCode.UNAVAILABLE, "Socket closed", [WHOLE[:5000]]) as member,
        EtcdClient(member.endpoint) as client,
        pytest.raises(Unavailable, match="Snapshot: Socket closed"),
    ):
        client.snapshot(tmp_path / "snapshot.db", timeout=SOON)
    assert not list(tmp_path.iterdir())
