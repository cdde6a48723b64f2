"""What the client says while real members are stopped, killed, full, guarded by passwords or not voting."""

import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from drills.stack import Component, EtcdCluster, EtcdMember, Process, Stack, http_probe, tool
from kube_ballast.clients.errors import ClientError, Conflict, Denied, NoSpace, Timeout, Unavailable
from kube_ballast.clients.etcd import rpc_pb2
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import Alarm, AlarmKind
from kube_ballast.config import BasicAuth
from tests.waiting import eventually

SOON = 5.0
MEBIBYTE = 1024 * 1024


def arm(client: EtcdClient, member_id: int, kind: AlarmKind) -> None:
    """Arms an alarm by hand, which the client has no method for, and never should."""
    request = rpc_pb2.AlarmRequest(action=rpc_pb2.AlarmRequest.ACTIVATE, memberID=member_id, alarm=kind.value)
    client._unary("Maintenance/Alarm", request, rpc_pb2.AlarmResponse, SOON, acts=True)


def etcdctl(member: EtcdMember, *arguments: str) -> None:
    command = [str(tool("etcdctl")), "--endpoints", member.endpoint, "--command-timeout=10s", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)


def in_background(call: Callable[[], object]) -> tuple[threading.Thread, list[ClientError]]:
    """``call`` in a thread, and where the error it ends with will be."""
    errors: list[ClientError] = []

    def run() -> None:
        try:
            call()
        except ClientError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, errors


def pause(member: EtcdMember) -> None:
    """Stops the member and waits until each of its threads stands still."""
    member.pause()
    tasks = Path(f"/proc/{member.pid}/task")
    eventually(lambda: all(" T " in (task / "stat").read_text() for task in tasks.iterdir()))


def fill(client: EtcdClient) -> None:
    """Overwrites one key until etcd refuses; nearly all of it is history."""

    def refused() -> bool:
        try:
            client.put(b"/fill", bytes(MEBIBYTE), timeout=SOON)
        except NoSpace as error:
            return "database space exceeded" in str(error)
        return False

    eventually(refused, within=30.0, every=0.0)


def test_nobody_listens(stack: Stack) -> None:
    with EtcdClient(f"http://{stack.address()}") as client:
        for call in (lambda: client.status(timeout=SOON), lambda: client.put(b"a", b"b", timeout=SOON)):
            with pytest.raises(Unavailable, match=r"Connection refused; nothing was sent"):
                call()
    with EtcdClient("http://nobody.invalid:2379") as client, pytest.raises(Unavailable, match="nothing was sent"):
        client.status(timeout=SOON)


def test_a_paused_member_times_out_and_a_write_says_that_nobody_knows(stack: Stack) -> None:
    (member,) = stack.etcd().members
    with EtcdClient(member.endpoint) as client:
        client.status(timeout=SOON)
        pause(member)
        with pytest.raises(Timeout, match=r"Status: no answer within the deadline, ours or etcd's own$") as caught:
            client.status(timeout=0.3)
        assert caught.value.target == member.endpoint
        with pytest.raises(Timeout, match="unknown whether the request took effect"):
            client.put(b"a", b"b", timeout=0.3)
        with pytest.raises(Timeout, match="no whole answer within"):
            EtcdHttp(member.metrics_url).readyz(timeout=0.3)
        member.resume()
        eventually(lambda: client.status(timeout=SOON), retry=ClientError)


@pytest.mark.parametrize("acts", [True, False])
def test_a_member_killed_under_a_call(stack: Stack, *, acts: bool) -> None:
    (member,) = stack.etcd().members
    with EtcdClient(member.endpoint) as client:
        client.status(timeout=SOON)
        pause(member)
        if acts:
            thread, errors = in_background(lambda: client.put(b"a", b"b", timeout=30.0))
        else:
            thread, errors = in_background(lambda: client.range(b"a", timeout=30.0))
        # The request has left once the stopped member's socket holds it.
        eventually(lambda: unread_bytes(member) > 0)
        member.kill()
        thread.join(20.0)
        (error,) = errors
        assert type(error) is (Timeout if acts else Unavailable)
        assert ("it is unknown whether" in str(error)) is acts
        with pytest.raises(Unavailable):
            client.put(b"a", b"b", timeout=SOON)
        member.restart()
        eventually(lambda: client.put(b"a", b"b", timeout=SOON), within=5.0, retry=Unavailable)


def unread_bytes(member: EtcdMember) -> int:
    """Bytes that lie unread in the established connections of the member's client port (proc(5), net/tcp)."""
    port = f":{int(member.endpoint.rpartition(':')[2]):04X}"
    fields = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(field[4].partition(":")[2], 16) for field in fields if field[1].endswith(port) and field[3] == "01")


def test_without_a_quorum_a_member_still_tells_about_itself(stack: Stack) -> None:
    first, second, third = stack.etcd(members=3, heartbeat_ms=50, election_ms=500).members
    with EtcdClient(first.endpoint) as client:
        assert len(client.member_list(timeout=SOON)) == 3
        second.kill()
        third.kill()
        eventually(lambda: client.status(timeout=SOON).leader_id == 0)
        assert client.status(timeout=SOON).errors == ("etcdserver: no leader",)
        assert len(client.member_list(timeout=SOON, linearizable=False)) == 3
        assert client.range(b"a", timeout=SOON, serializable=True).count == 0
        with pytest.raises((Timeout, Unavailable)):
            client.range(b"a", timeout=1.0)
        with pytest.raises(Timeout):
            client.put(b"a", b"b", timeout=1.0)
        # etcd waits for its own request timeout of 5 s and two elections before it says so.
        health = EtcdHttp(first.metrics_url).readyz(timeout=20.0)
        assert not health.ok
        assert "[-]linearizable_read failed" in health.reason


def test_no_space_is_armed_lifted_for_one_member_and_corrupt_stays(stack: Stack) -> None:
    cluster = stack.etcd(members=3, quota_bytes=16 * MEBIBYTE)
    with EtcdClient(cluster.endpoints[0]) as client:
        fill(client)
        alarms = eventually(lambda: client.alarms(timeout=SOON))
        raised_by = {alarm.member_id for alarm in alarms}
        assert raised_by <= {member.id for member in client.member_list(timeout=SOON)}
        assert set(client.status(timeout=SOON).alarms) == set(client.alarms(timeout=SOON))
        assert client.delete_range(b"/nothing", timeout=SOON).deleted == 0

        http = EtcdHttp(cluster.members[0].metrics_url)
        assert not http.health(timeout=SOON).ok
        assert http.health(timeout=SOON, exclude=("NOSPACE",)).ok
        assert http.readyz(timeout=SOON).ok
        assert http.metrics(timeout=SOON).quota_bytes == 16 * MEBIBYTE

        # Only the member that was asked tells at once what compaction freed; the others tell with their next write,
        # and under NOSPACE there may be none for long.
        client.compact(client.status(timeout=SOON).revision, timeout=SOON)
        assert client.status(timeout=SOON).db_size_in_use < 4 * MEBIBYTE
        for endpoint in cluster.endpoints:
            with EtcdClient(endpoint) as each:
                each.defragment(timeout=30.0)
                assert each.status(timeout=SOON).db_size < 4 * MEBIBYTE

        one, other = (member.id for member in client.member_list(timeout=SOON)[:2])
        for member_id, kind in ((one, AlarmKind.NOSPACE), (other, AlarmKind.NOSPACE), (one, AlarmKind.CORRUPT)):
            arm(client, member_id, kind)
        for member_id in raised_by - {other}:
            client.disarm(member_id, AlarmKind.NOSPACE, timeout=SOON)
        client.disarm(one, AlarmKind.NOSPACE, timeout=SOON)
        left = {Alarm(one, AlarmKind.CORRUPT), Alarm(other, AlarmKind.NOSPACE)}
        assert set(client.alarms(timeout=SOON)) == left
        assert not EtcdHttp(cluster.members[0].metrics_url).health(timeout=SOON, exclude=("NOSPACE",)).ok


def test_the_negative_quota_of_a_member_without_one_is_passed_on(stack: Stack) -> None:
    (member,) = stack.etcd(quota_bytes=-1).members
    assert EtcdHttp(member.metrics_url).metrics(timeout=SOON).quota_bytes == -1


def test_a_defragmentation_goes_on_after_the_deadline(stack: Stack) -> None:
    (member,) = stack.etcd(quota_bytes=1024 * MEBIBYTE).members
    http = EtcdHttp(member.metrics_url)
    with EtcdClient(member.endpoint) as client:
        for number in range(60):
            client.put(b"/live/%d" % number, bytes(MEBIBYTE), timeout=SOON)
        client.delete_range(b"/live/0", b"/live/5", timeout=SOON)
        client.compact(client.status(timeout=SOON).revision, timeout=SOON)
        before = client.status(timeout=SOON).db_size
        with pytest.raises(Timeout, match=r"Defragment: .*unknown whether the request took effect"):
            client.defragment(timeout=0.02)
        eventually(
            lambda: http.metrics(timeout=SOON).defrag_inflight == 0 and http.readyz(timeout=SOON).ok, within=30.0
        )
        eventually(lambda: client.status(timeout=SOON).db_size < before - 20 * MEBIBYTE, retry=ClientError)


def test_leadership_moves_to_a_voter_and_to_nobody_else(etcd3: EtcdCluster) -> None:
    with EtcdClient(etcd3.endpoints[0]) as any_member:
        leader_id = any_member.status(timeout=SOON).leader_id
        members = {member.id: member.client_urls[0] for member in any_member.member_list(timeout=SOON)}
    target_id = next(member_id for member_id in members if member_id != leader_id)
    with EtcdClient(members[leader_id]) as leader, EtcdClient(members[target_id]) as follower:
        with pytest.raises(Conflict, match="bad leader transferee"):
            leader.move_leader(4711, timeout=SOON)
        with pytest.raises(Conflict, match="not leader"):
            follower.move_leader(target_id, timeout=SOON)
        leader.move_leader(target_id, timeout=SOON)
        eventually(lambda: follower.status(timeout=SOON).leader_id == target_id)


def test_a_learner_tells_about_itself_and_conflicts_with_the_rest(stack: Stack) -> None:
    voter, process, endpoint = add_learner(stack)
    with EtcdClient(endpoint) as learner, EtcdClient(voter.endpoint) as client:
        status = eventually(lambda: learner.status(timeout=SOON), retry=ClientError)
        assert status.is_learner
        assert [member.is_learner for member in client.member_list(timeout=SOON)].count(True) == 1
        with pytest.raises(Conflict, match="bad leader transferee"):
            client.move_leader(status.member_id, timeout=SOON)
        for call in (learner.defragment, learner.alarms):
            with pytest.raises(Conflict, match="this member is a learner"):
                call(timeout=SOON)
        assert process.running


def add_learner(stack: Stack) -> tuple[EtcdMember, Process, str]:
    """A cluster of one voter, and a learner that has joined it."""
    (voter,) = stack.etcd().members
    client, peer, metrics = (f"http://{stack.address()}" for _ in range(3))
    with EtcdClient(voter.endpoint) as asked:
        voter_peer = asked.member_list(timeout=SOON)[0].peer_urls[0]
    etcdctl(voter, "member", "add", "learner", "--learner", f"--peer-urls={peer}")
    arguments = (
        "--name=learner",
        f"--data-dir={stack.data('learner')}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--listen-metrics-urls={metrics}",
        f"--initial-cluster={voter.name}={voter_peer},learner={peer}",
        "--initial-cluster-state=existing",
    )
    component = Component(
        name="learner", program=tool("etcd"), arguments=arguments, ready=http_probe(f"{metrics}/livez")
    )
    (process,) = stack.run(component)
    return voter, process, client


def test_with_authentication_on(stack: Stack, tmp_path: Path) -> None:
    (member,) = stack.etcd().members
    for command in (("user", "add", "root:secret"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
        etcdctl(member, *command)
    password = tmp_path / "password"
    password.write_text("secret\n")
    auth = BasicAuth(username="root", password_file=password)

    with EtcdClient(member.endpoint) as nobody, pytest.raises(Denied, match="configure auth"):
        nobody.range(b"a", timeout=SOON)
    with EtcdClient(member.endpoint, auth=auth) as client:
        client.put(b"a", b"1", timeout=SOON)
        assert client.status(timeout=SOON).revision > 1
        client.snapshot(tmp_path / "snapshot.db", timeout=SOON)
        client.defragment(timeout=SOON)

        client._token = "expired.1"
        assert client.put(b"a", b"2", timeout=SOON).revision > 1
        client._token = "expired.2"
        client.snapshot(tmp_path / "snapshot.db", timeout=SOON)

        password.write_text("wrong")
        client._token = "expired.3"
        with pytest.raises(Denied, match=r"Authenticate: authentication failed.*password file"):
            client.range(b"a", timeout=SOON)
        password.unlink()
        with pytest.raises(Denied, match="password cannot be read: No such file"):
            client.range(b"a", timeout=SOON)
        password.write_text("secret")
        assert client.range(b"a", timeout=SOON).kvs[0].value == b"2"


def test_a_user_is_kept_to_its_role(stack: Stack, tmp_path: Path) -> None:
    (member,) = stack.etcd().members
    password = tmp_path / "password"
    password.write_text("secret")
    auth = BasicAuth(username="reader", password_file=password)
    with EtcdClient(member.endpoint, auth=auth) as client:
        client.put(b"before", b"authentication is enabled", timeout=SOON)
        commands = (
            ("user", "add", "root:secret"),
            ("user", "grant-role", "root", "root"),
            ("user", "add", "reader:secret"),
            ("auth", "enable"),
        )
        for command in commands:
            etcdctl(member, *command)
        with pytest.raises(Denied, match="permission denied; the user's roles do not cover"):
            client.range(b"before", timeout=SOON)
        with pytest.raises(Denied):
            client.defragment(timeout=SOON)


def test_a_member_that_shut_down_and_came_back_is_found_again(stack: Stack) -> None:
    (member,) = stack.etcd().members
    with EtcdClient(member.endpoint) as client:
        client.status(timeout=SOON)
        member.process.signal(signal.SIGTERM)
        member.process.wait(10.0)
        with pytest.raises(Unavailable):
            client.status(timeout=SOON)
        member.restart()
        eventually(lambda: client.status(timeout=SOON), within=5.0, retry=Unavailable)
