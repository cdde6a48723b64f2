"""Which members `ballastctl etcd space` asks, and what it says of those it does not."""

import json
from pathlib import Path

from click.testing import CliRunner

from ballastctl.cli import main
from drills.keyspace import objects
from drills.stack import Component, EtcdCluster, Stack, http_probe, tool
from tests.ctl.spaces import etcdctl, put, report, space
from tests.waiting import eventually


def test_two_addresses_of_one_member_are_asked_once(filled: EtcdCluster) -> None:
    endpoint = filled.endpoints[0]
    twice = space(filled, "-o", "json", endpoints=f"{endpoint},{endpoint.replace('127.0.0.1', 'localhost')}")
    shown = report(twice)
    assert len(shown["etcd"]["members"]) == 1
    assert "are the same member" in " ".join(shown["notes"])


def test_members_that_were_not_named_are_told(etcd3: EtcdCluster) -> None:
    shown = report(space(etcd3, "-o", "json", endpoints=etcd3.endpoints[1]))
    assert {etcd3.members[0].name, etcd3.members[2].name} == set(shown["etcd"]["missing_members"])
    assert (
        f"not asked, not being among the endpoints: {etcd3.members[0].name}"
        in space(etcd3, endpoints=",".join(etcd3.endpoints[1:])).stdout
    )


def test_a_member_that_is_down_is_told_and_the_rest_counted(etcd3: EtcdCluster) -> None:
    etcd3.members[0].stop()
    shown = report(space(etcd3, "-o", "json"))
    down = shown["etcd"]["members"][0]
    assert (down["role"], "refused" in down["problem"]) == (None, True)
    assert shown["etcd"]["missing_members"] == []
    assert "gives no status" in space(etcd3).stdout


def test_a_learner_is_shown_and_not_read(stack: Stack) -> None:
    etcd = stack.etcd()
    put(etcd, [*objects(1)])
    (first,) = etcd.members
    client_url, peer_url = f"http://{stack.address()}", f"http://{stack.address()}"
    etcdctl(etcd, "member", "add", "learner", "--learner", f"--peer-urls={peer_url}")
    peers = json.loads(etcdctl(etcd, "member", "list", "-w", "json"))["members"]
    (old_peer,) = next(each["peerURLs"] for each in peers if each.get("name") == first.name)
    flags = {
        "name": "learner",
        "data-dir": str(stack.data("learner")),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": f"{first.name}={old_peer},learner={peer_url}",
        "initial-cluster-state": "existing",
    }
    arguments = tuple(f"--{name}={value}" for name, value in flags.items())
    ready = http_probe(f"{client_url}/metrics")
    stack.run(Component(name="learner", program=tool("etcd"), arguments=arguments, ready=ready))
    both = f"{client_url},{first.endpoint}"
    eventually(lambda: report(space(etcd, "-o", "json", endpoints=both))["etcd"]["members"][0]["role"] == "learner")
    shown = report(space(etcd, "-o", "json", endpoints=both, prefix="/registry"))
    assert shown["read_from"] == first.endpoint
    assert [each["member"] for each in shown["cures"]["stalls"]] == [first.name]
    alone = space(etcd, endpoints=client_url)
    assert (alone.exit_code, "every member that answers is a learner" in alone.stderr) == (3, True)


def test_members_of_two_etcds_are_not_mixed(filled: EtcdCluster, stack: Stack) -> None:
    mixed = space(filled, endpoints=f"{filled.endpoints[0]},{stack.etcd().endpoints[0]}")
    assert (mixed.exit_code, "belong to 2 different etcds" in mixed.stderr) == (2, True)


def test_the_exporters_configuration_names_it_too(filled: EtcdCluster, tmp_path: Path) -> None:
    file = tmp_path / "exporter.yaml"
    member = f"members: [{{endpoint: '{filled.endpoints[0]}'}}]"
    file.write_text(f"etcd:\n  - {{name: a, {member}}}\n  - {{name: b, {member}}}\n")
    arguments = ["etcd", "space", "--fast", "--config", str(file)]
    unclear = CliRunner().invoke(main, arguments)
    assert (unclear.exit_code, "has the etcds a, b: say which" in unclear.stderr) == (2, True)
    assert CliRunner().invoke(main, [*arguments, "--etcd-cluster", "b"]).stdout.startswith("b: etcd 3.")
