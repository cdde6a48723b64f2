"""Whom a census reads, who takes over, and what it says when nobody lets it."""

import subprocess
from collections.abc import Callable

import pytest

from ballast_exporter.census import FAST, Counter, Progress
from ballast_exporter.census_members import connect
from drills.stack import EtcdCluster, Stack, tool
from kube_ballast.clients.errors import Denied, Unavailable
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.config import BasicAuth
from tests.exporter.counting import SMALL, SOON, agrees, between, everything, fill


def test_a_member_that_dies_is_replaced_at_the_same_revision(
    etcd3: EtcdCluster, counters: Callable[..., Counter]
) -> None:
    with EtcdClient(etcd3.endpoints[0]) as client:
        fill(client, 3000)
        before = everything(client)
    counter = counters(etcd3, SMALL)
    first = counter.run()
    (victim,) = [member for member in etcd3.members if member.endpoint == first.member]
    assert EtcdClient(victim.endpoint).status(timeout=SOON).leader_id != first.status.member_id, "followers are read"
    census = between(counter, victim.kill)
    assert census.revision == first.revision
    agrees(census, before)
    agrees(counter.run(), before)


def test_a_member_that_hangs_is_replaced(etcd3: EtcdCluster, counters: Callable[..., Counter]) -> None:
    with EtcdClient(etcd3.endpoints[0]) as client:
        fill(client, 1000)
        before = everything(client)
    counter = counters(etcd3, SMALL, timeout=0.5)
    first = counter.run()
    (victim,) = [member for member in etcd3.members if member.endpoint == first.member]
    census = between(counter, victim.pause)
    victim.resume()
    agrees(census, before)


def test_leadership_moves_and_nothing_is_lost(etcd3: EtcdCluster, counters: Callable[..., Counter]) -> None:
    counter = counters(etcd3, SMALL, page_keys=100, look_every=0.0)
    with EtcdClient(etcd3.endpoints[0]) as client:
        fill(client, 300)
        before = everything(client)
    first = counter.run()
    clients = {endpoint: EtcdClient(endpoint) for endpoint in etcd3.endpoints}
    status = {endpoint: client.status(timeout=SOON) for endpoint, client in clients.items()}
    (leader,) = [end for end, each in status.items() if each.member_id == each.leader_id]
    seen: set[str] = set()

    def move(step: Progress) -> None:
        seen.add(step.member)
        if len(seen) == 1 and step.member == first.member:
            clients[leader].move_leader(status[first.member].member_id, timeout=SOON)
            seen.add("moved")

    agrees(counter.run(progress=move), before)
    for client in clients.values():
        client.close()
    assert len(seen - {"moved", first.member}) == 1, "the new leader is left alone"


def test_all_members_down_is_said(stack: Stack, counters: Callable[..., Counter]) -> None:
    etcd = stack.etcd()
    counter = counters(etcd)
    counter.run()
    etcd.members[0].kill()
    with pytest.raises(Unavailable, match="Connection refused"):
        counter.run()


def test_rights_that_do_not_suffice_are_named(stack: Stack) -> None:
    etcd = stack.etcd()

    def ctl(*words: str) -> None:
        command = [str(tool("etcdctl")), "--endpoints", etcd.endpoints[0], *words]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    with EtcdClient(etcd.endpoints[0]) as client:
        fill(client, 500)
    ctl("role", "add", "reader")
    ctl("role", "grant-permission", "reader", "--prefix=true", "read", "/registry/pods/")
    for user, role in (("root", "root"), ("ballast", "reader")):
        ctl("user", "add", f"{user}:secret")
        ctl("user", "grant-role", user, role)
    ctl("auth", "enable")
    password = stack.data("password") / "password"
    password.write_text("secret")

    def counter(user: str) -> Counter:
        auth = BasicAuth(username=user, password_file=password)
        return Counter(connect(etcd.config.model_copy(update={"auth": auth})), FAST)

    with pytest.raises(Denied, match="the user's roles do not cover this request"):
        counter("ballast").run()
    assert counter("root").run().keys == 500


def test_a_certificate_without_rights_is_named(stack: Stack) -> None:
    etcd = stack.etcd(tls=True)
    assert etcd.tls is not None
    assert etcd.authority is not None
    root = etcd.authority.issue("root")

    def ctl(*words: str) -> None:
        files = ["--cacert", str(root.ca), "--cert", str(root.cert), "--key", str(root.key)]
        command = [str(tool("etcdctl")), "--endpoints", etcd.endpoints[0], *files, *words]
        subprocess.run(command, check=True, capture_output=True, timeout=30)

    with EtcdClient(etcd.endpoints[0], tls=etcd.tls) as client:
        fill(client, 50)
    for user in ("root", "ballast"):
        ctl("user", "add", user, "--no-password")
    ctl("user", "grant-role", "root", "root")
    ctl("auth", "enable")
    with pytest.raises(Denied, match="the user's roles do not cover this request"):
        Counter(connect(etcd.config), FAST).run()
    assert Counter(connect(etcd.config.model_copy(update={"tls": root})), FAST).run().keys == 50
