import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from ballast_exporter.census import Progress
from ballast_exporter.census_terms import State
from ballastctl.bars import bar, stacked
from ballastctl.cli import main
from ballastctl.progress import Line
from drills.filling import client, fill
from drills.keyspace import objects
from drills.stack import Authority, Component, EtcdCluster, Stack, http_probe, tool
from kube_ballast.clients.etcd.types import Put
from tests.waiting import eventually

ROOT = "/space"
COMMAND = [sys.executable, "-c", "from ballastctl.cli import main; main()", "etcd", "space"]
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def put(etcd: EtcdCluster, pairs: list[tuple[bytes, bytes]]) -> None:
    with client(etcd) as one:
        for first in range(0, len(pairs), 100):
            one.txn((), [Put(*pair) for pair in pairs[first : first + 100]], (), timeout=10)


@pytest.fixture(scope="module")
def filled(etcd: EtcdCluster) -> Iterator[EtcdCluster]:
    put(etcd, [*objects(4, prefix=ROOT), (b"/space-stranger/one", b"x" * 1000)])
    yield etcd
    with client(etcd) as one:
        one.delete_range(b"/space", b"/spacf", timeout=10)


def space(etcd: EtcdCluster, *arguments: str, prefix: str = ROOT, endpoints: str | None = None) -> Result:
    where = endpoints or ",".join(etcd.endpoints)
    return CliRunner().invoke(main, ["etcd", "space", "--endpoints", where, "--fast", "--prefix", prefix, *arguments])


def report(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def etcdctl(etcd: EtcdCluster, *arguments: str) -> str:
    command = [tool("etcdctl"), "--endpoints", etcd.endpoints[0], *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def counted_by_etcdctl(etcd: EtcdCluster, *arguments: str) -> int:
    found = re.search(
        r'^"Count" : (\d+)$', etcdctl(etcd, "get", *arguments, "--count-only", "-w", "fields"), re.MULTILINE
    )
    assert found is not None
    return int(found[1])


def test_it_runs_where_neither_exporter_nor_remediator_is_installed(filled: EtcdCluster) -> None:
    extras = ("prometheus_client", "flask", "granian", "bcrypt", "sqlalchemy", "alembic", "flask_openapi3")
    program = f"import sys; sys.modules.update(dict.fromkeys({extras!r})); {COMMAND[2]}"
    command = [sys.executable, "-c", program, *COMMAND[3:], "--endpoints", filled.endpoints[0], "--fast"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


# --- What it counts ---


def test_keys_agree_exactly_with_etcdctl(filled: EtcdCluster) -> None:
    shown = report(space(filled, "-o", "json"))
    assert shown["keys"] == counted_by_etcdctl(filled, "", "--from-key")
    holders = {each["name"]: each for each in shown["resources"]}
    for resource, path in {
        "pods": "pods",
        "nodes": "minions",
        "leases.coordination.k8s.io": "leases",
        "applications.argoproj.io": "argoproj.io/applications",
        "endpointslices.discovery.k8s.io": "endpointslices",
        "services": "services/specs",
    }.items():
        assert holders[resource]["keys"] == counted_by_etcdctl(filled, f"{ROOT}/{path}/", "--prefix")
    strangers = {each["name"]: each["keys"] for each in shown["foreign"]}
    assert strangers["/space-stranger"] == 1


def test_the_json_adds_up(filled: EtcdCluster) -> None:
    shown = report(space(filled, "-o", "json"))
    holders = shown["resources"] + shown["foreign"]
    assert (shown["schema"], shown["sizes"]) == (1, "exact")
    assert sum(each["keys"] for each in holders) == shown["keys"]
    assert sum(each["bytes"] for each in holders) == shown["bytes"]
    assert sum(each["share"] for each in holders) == pytest.approx(1)
    parts = shown["parts"]
    four = sum(parts[f"{part}_bytes"] for part in ("live", "half_empty", "history", "free"))
    assert four == pytest.approx(parts["size_bytes"])
    (member,) = shown["etcd"]["members"]
    assert (member["role"], member["quota_bytes"]) == ("leader", 2 * 2**30)
    assert shown["largest"] == []
    assert shown["growth"] is None


def test_names_are_told_only_when_asked_for(filled: EtcdCluster) -> None:
    assert "/space-stranger/one" not in space(filled, "-o", "json").stdout
    (largest,) = report(space(filled, "-o", "json", "--largest", "1"))["largest"]
    told = report(space(filled, "-o", "json"))
    # The shared etcd may hold larger keys of other tests, outside of every prefix.
    assert largest["bytes"] == max(each["largest_bytes"] for each in (*told["resources"], *told["foreign"]))
    assert largest["key"] in etcdctl(filled, "get", largest["key"], "--keys-only")


def test_keys_only_tells_what_it_does_not_know(filled: EtcdCluster) -> None:
    shown = report(space(filled, "-o", "json", "--keys-only"))
    assert (shown["sizes"], shown["bytes"], shown["parts"], shown["cures"]) == ("unknown", None, None, None)
    assert shown["keys"] == counted_by_etcdctl(filled, "", "--from-key")
    table = space(filled, "--keys-only").stdout
    assert "Sizes were not read" in table
    assert "BYTES" not in table


def test_an_etcd_without_keys(stack: Stack) -> None:
    assert "Whose they are: 0 keys" in space(stack.etcd()).stdout


# --- Which members ---


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


# --- What it looks like ---


@contextmanager
def terminal(*arguments: str, columns: int = 80, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command on a terminal so wide."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=clean | environment
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            os.close(ours)
            process.wait(timeout=60)


def everything(descriptor: int) -> str:
    shown = b""
    with suppress(OSError):  # that is how a terminal ends
        while piece := os.read(descriptor, 4096):
            shown += piece
    return shown.decode()


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_it_fits_the_terminal(filled: EtcdCluster, columns: int) -> None:
    where = ("--endpoints", filled.endpoints[0], "--prefix", ROOT, "--fast")
    with terminal(*where, columns=columns) as (process, descriptor):
        shown = everything(descriptor)
    assert process.returncode == 0
    assert "\x1b[34m" in shown
    lines = [STYLE.sub("", line.rpartition("\x1b[K")[2]) for line in shown.split("\r\n")]
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("  pods ") and "█" in line for line in lines)
    for words in ("Live data is", "What each cure gives back", "Whose they are", "not of an apiserver"):
        assert words in shown


def test_no_colour_when_that_is_wished(filled: EtcdCluster) -> None:
    where = ("--endpoints", filled.endpoints[0], "--prefix", ROOT, "--fast")
    with terminal(*where, NO_COLOR="1") as (_, descriptor):
        assert not STYLE.search(everything(descriptor))
    assert "\x1b" not in space(filled).output


def test_a_full_etcd_says_so_first(stack: Stack) -> None:
    etcd = stack.etcd(quota_bytes=16 * 2**20)
    fill(etcd, keys=2)
    heading, alarm, *rest = space(etcd, prefix="/registry").stdout.splitlines()
    assert heading.startswith("etcd 3.")
    assert alarm == f"ALARM NOSPACE, raised by {etcd.members[0].name}: the cluster takes deletes only"
    (verdict,) = [line for line in rest if line.startswith("History is")]
    assert verdict.endswith(f"of {etcd.members[0].name}: old revisions that nobody compacted")
    shown = report(space(etcd, "-o", "json", prefix="/registry"))
    assert shown["etcd"]["alarms"] == [{"member": etcd.members[0].name, "kind": "NOSPACE"}]
    assert shown["cures"]["both_bytes"] > 8 * 2**20


def test_what_is_watched_fits_the_screen(filled: EtcdCluster) -> None:
    where = ("--endpoints", filled.endpoints[0], "--prefix", ROOT, "--fast", "--watch", "1s")
    with terminal(*where) as (process, descriptor):
        shown = b""
        while shown.count(b"until Ctrl-C.") < 2:
            shown += os.read(descriptor, 4096)
        process.send_signal(signal.SIGINT)
        everything(descriptor)
    assert process.returncode == 130
    screens = shown.decode(errors="replace").split("\x1b[H\x1b[2J")
    assert max(screen.count("\r\n") for screen in screens) < 50
    assert "Growth in" in screens[2]


@given(st.floats(-1, 2), st.integers(1, 60))
def test_a_bar_has_its_width(ratio: float, width: int) -> None:
    assert len(STYLE.sub("", bar(ratio, width, colour="red"))) == width


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1), st.integers(8, 130))
def test_parts_side_by_side_have_their_width_and_none_is_lost(sizes: list[float], width: int) -> None:
    parts = [(size / sum(sizes), letter, None) for size, letter in zip(sizes, "abcd", strict=False)]
    drawn = STYLE.sub("", stacked(parts, width))
    assert len(drawn) == width
    assert set(drawn) == {letter for ratio, letter, _ in parts if ratio > 0}


# --- Again and again ---


def test_watching_shows_growth_and_ends_with_ctrl_c(stack: Stack) -> None:
    etcd = stack.etcd()
    put(etcd, [*objects(4)])
    command = [*COMMAND, "--endpoints", etcd.endpoints[0], "--fast", "--watch", "1s", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        put(etcd, [(f"/registry/pods/new/{number}".encode(), b"x" * 10_000) for number in range(100)])
        while (later := json.loads(process.stdout.readline()))["keys"] == first["keys"]:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert later["keys"] == first["keys"] + 100
    pods = next(each for each in later["resources"] if each["name"] == "pods")
    assert pods["growth_bytes_per_second"] > 0
    assert pods["writes"] == 100
    assert (first["growth"], later["growth"]["live_bytes_per_second"] > 0) == (None, True)
    assert later["growth"]["seconds_until_full"] > 0


def test_ctrl_c_leaves_a_count_and_shows_nothing_of_it(stack: Stack) -> None:
    etcd = stack.etcd()
    put(etcd, [(f"/registry/leases/kube-node-lease/{number}".encode(), b"x") for number in range(20_000)])
    command = [*COMMAND, "--endpoints", etcd.endpoints[0], "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith(
            "counting 20,000 keys gently, 4,000 a second at most (5.0 s or more"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stdout.read() == ""
        assert process.stderr.read() == "ballastctl: stopped; nothing is shown of an unfinished count\n"


def test_why_a_count_waits_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(expected=10, pace=None, terminal=False)
    told: list[tuple[State, str]] = [
        ("reading", ""),
        ("waiting", "m1 defragments"),
        ("waiting", "m1 defragments"),
        ("reading", ""),
        ("again", "beginning anew"),
    ]
    for state, words in told:
        line(Progress(state, 5, None, 0, "http://m1", words))
    waiting, reading, again = capsys.readouterr().err.splitlines()
    assert waiting == "waiting after 5 keys: m1 defragments"
    assert reading.startswith("5 of 10 keys   50%")
    assert again == "beginning anew"


# --- What goes wrong ---


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = CliRunner().invoke(main, ["etcd", "space", "--endpoints", f"127.0.0.1:{closed.getsockname()[1]}"])
    assert (refused.exit_code, "refused" in refused.stderr, refused.stdout) == (3, True, "")


def test_somebody_else_there(url: str) -> None:
    refused = CliRunner().invoke(main, ["etcd", "space", "--endpoints", url])
    assert (refused.exit_code, "Is it an etcd's client port" in refused.stderr, refused.stdout) == (3, True, "")


def test_certificates_of_somebody_else(stack: Stack, tmp_path: Path) -> None:
    etcd = stack.etcd(tls=True)
    assert etcd.tls is not None
    files = ["--cacert", str(etcd.tls.ca), "--cert", str(etcd.tls.cert), "--key", str(etcd.tls.key)]
    assert space(etcd, *files, "-o", "json").exit_code == 0
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other").issue("other")
    for wrong in (
        [*files[:2], "--cert", str(other.cert), "--key", str(other.key)],
        ["--cacert", str(other.ca), *files[2:]],
    ):
        refused = space(etcd, *wrong)
        assert (refused.exit_code, "certificate" in refused.stderr, refused.stdout) == (1, True, "")


@pytest.fixture
def guarded(stack: Stack, tmp_path: Path) -> EtcdCluster:
    """An etcd with users: root, and reader, who may read every key and nothing else."""
    etcd = stack.etcd()
    put(etcd, [*objects(1), (b"/elsewhere/a", b"")])
    for command in (
        ("user", "add", "root:root"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "registry"),
        ("role", "grant-permission", "registry", "--from-key", "read", ""),
        ("user", "add", "reader:reader"),
        ("user", "grant-role", "reader", "registry"),
        ("auth", "enable"),
    ):
        etcdctl(etcd, *command)
    for name in ("root", "reader", "wrong"):
        (tmp_path / name).write_text(f"{name}\n")
    return etcd


def test_users_see_what_they_may(guarded: EtcdCluster, tmp_path: Path) -> None:
    def as_user(name: str, password: str) -> Result:
        arguments = ("-o", "json", "--user", name, "--password-file", str(tmp_path / password))
        return space(guarded, *arguments, prefix="/registry")

    everything = report(as_user("root", "root"))
    assert [each["name"] for each in everything["foreign"]] == ["/elsewhere"]
    wrong = as_user("root", "wrong")
    assert (wrong.exit_code, "authentication failed" in wrong.stderr, wrong.stdout) == (1, True, "")
    nobody = space(guarded)
    assert (nobody.exit_code, nobody.stdout) == (1, "")
    reader = as_user("reader", "reader")
    assert (reader.exit_code, "permission denied" in reader.stderr, reader.stdout) == (1, True, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--endpoints", "ftp://x"),
        ("--endpoints", ","),
        ("--user", "root"),
        ("--etcd-cluster", "x"),
        ("--cert", __file__),
        ("--config", __file__),
        ("--config", __file__, "--cacert", __file__),
        ("--prefix", "/"),
        ("--watch", "soon"),
        ("--largest", "-1"),
    ],
)
def test_mistakes_in_the_command_line(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["etcd", "space", *arguments]).exit_code == 2
