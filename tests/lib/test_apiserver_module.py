"""The module that runs on hosts, on real processes of this one: what it takes for an apiserver, and what it cuts."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from drills.stack import tool
from kube_ballast.clients.hosts.running import PLAYBOOKS

FILE = PLAYBOOKS / "library" / "ballast_apiserver.py"
SERVE = """
import socket, sys, time
own = socket.create_server((sys.argv[1], 0))
lines = [socket.create_connection(("127.0.0.1", int(port))) for port in sys.argv[2].split(",")]
print(own.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def module() -> Any:
    spec = spec_from_loader("ballast_apiserver", SourceFileLoader("ballast_apiserver", str(FILE)))
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def run(argv: list[str]) -> tuple[int, str, str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=10)
    return done.returncode, done.stdout, done.stderr


@dataclass
class Etcd:
    """Somebody who takes connections."""

    server: socket.socket

    @property
    def port(self) -> int:
        return int(self.server.getsockname()[1])


@dataclass
class Served:
    """A process that looks like an apiserver from outside: it listens, and has connections to etcd."""

    pid: int
    listens: str


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Etcd(server)


@contextmanager
def serving(
    etcds: list[Etcd], *arguments: str, listens: str = "127.0.0.7", program: str = sys.executable
) -> Iterator[Served]:
    ports = ",".join(str(one.port) for one in etcds)
    command = [program, "-c", SERVE, listens, ports, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(process.pid, f"127.0.0.7:{int(process.stdout.readline())}")
        finally:
            process.kill()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/exe").readlink().name


def asked(module: Any, served: Served, *, check: bool = False, ss: str | None = None, **parameters: Any) -> Any:
    own = {"mode": "cut", "listens": served.listens, "executable": name_of(served.pid), "expected": None, "only": None}
    return module.answer({**own, **parameters}, run, ss or str(tool("ss")), check=check)


def problem(module: Any, served: Served, **parameters: Any) -> tuple[str, str]:
    with pytest.raises(module.Problem) as caught:
        asked(module, served, **parameters)
    return caught.value.kind, str(caught.value)


def test_exactly_the_connections_of_that_process_to_its_etcd_are_cut(module: Any, etcd: Etcd) -> None:
    with ExitStack() as exits:
        other = Etcd(exits.enter_context(socket.create_server(("127.0.0.1", 0))))
        flag = f"--etcd-servers=http://localhost:{etcd.port}"
        served = exits.enter_context(serving([etcd, etcd, other], flag))
        bystander = exits.enter_context(serving([etcd], flag))
        told = asked(module, served)
        assert told["endpoints"] == [f"127.0.0.1:{etcd.port}"]
        assert len(told["connections"]) == 2
        assert asked(module, served)["connections"] == []
        assert len(module.connections(served.pid, [f"127.0.0.1:{other.port}"])) == 1
        assert len(module.connections(bystander.pid, told["endpoints"])) == 1


def test_the_dry_run_cuts_nothing_and_tells_the_same(module: Any, etcd: Etcd) -> None:
    with serving([etcd, etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        dry = asked(module, served, check=True)
        assert asked(module, served, check=True) == dry
        assert asked(module, served) == dry


def test_only_what_was_seen_before_is_cut(module: Any, etcd: Etcd) -> None:
    with serving([etcd, etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        first, second = asked(module, served, check=True)["connections"]
        assert asked(module, served, only=[first, "127.0.0.1:1 127.0.0.1:2"])["connections"] == [first]
        assert asked(module, served, check=True)["connections"] == [second]


def test_the_endpoints_of_overrides_are_its_etcd_too(module: Any, etcd: Etcd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        events = Etcd(server)
        flags = (
            "--etcd-servers",
            f"http://127.0.0.1:{etcd.port}",
            f"--etcd-servers-overrides=/events#http://127.0.0.1:{events.port}",
        )
        with serving([etcd, events], *flags) as served:
            assert len(asked(module, served)["connections"]) == 2


def test_a_process_that_names_no_etcd(module: Any, etcd: Etcd) -> None:
    with serving([etcd]) as served:
        kind, words = problem(module, served)
    assert (kind, words) == (
        "no_endpoints",
        f"process {served.pid} does not say in --etcd-servers over TCP which etcd it uses",
    )


def test_nobody_listens_there(module: Any) -> None:
    kind, words = problem(module, Served(os.getpid(), "127.0.0.7:1"))
    assert (kind, words) == ("no_process", "nobody listens on 127.0.0.7:1 in the host's network")


def test_another_program_listens_there(module: Any, etcd: Etcd) -> None:
    with serving([etcd]) as served:
        kind, words = problem(module, served, executable="kube-apiserver")
    assert kind == "other_executable"
    assert words.startswith(f"process {served.pid} listens on {served.listens} and is /")
    assert words.endswith(", not kube-apiserver")


def test_one_that_listens_everywhere_is_found_by_its_port(module: Any, etcd: Etcd) -> None:
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}", listens="0.0.0.0") as served:
        assert asked(module, served, check=True)["process"]["pid"] == served.pid


def test_a_program_that_was_replaced_on_disk_is_still_it(module: Any, etcd: Etcd, tmp_path: Path) -> None:
    copy = tmp_path / "kube-apiserver"
    shutil.copy(os.path.realpath("/proc/self/exe"), copy)
    environment = os.environ.get("PYTHONHOME")
    os.environ["PYTHONHOME"] = sys.base_prefix
    try:
        with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}", program=str(copy)) as served:
            copy.unlink()
            assert asked(module, served, check=True, executable="kube-apiserver")["process"]["pid"] == served.pid
    finally:
        os.environ.pop("PYTHONHOME")
        if environment is not None:
            os.environ["PYTHONHOME"] = environment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"started": 1}, "was used again: another process has it now"),
        ({"pid": 1}, "and was 1: it was restarted meanwhile"),
        ({"boot": "another"}, "it was restarted meanwhile"),
    ],
)
def test_a_process_id_that_was_used_again(module: Any, etcd: Etcd, change: dict[str, Any], words: str) -> None:
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        seen = asked(module, served, check=True)
        kind, said = problem(module, served, expected={**seen["process"], **change})
        assert kind == "process_changed"
        assert words in said
        assert len(asked(module, served, check=True)["connections"]) == 1
        asked(module, served, expected=seen["process"])


def test_there_is_no_ss(module: Any, etcd: Etcd) -> None:
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        own = {
            "mode": "cut",
            "listens": served.listens,
            "executable": name_of(served.pid),
            "expected": None,
            "only": None,
        }
        with pytest.raises(module.Problem) as caught:
            module.answer(own, run, None, check=True)
    assert (caught.value.kind, str(caught.value)) == ("no_ss", "there is no ss on this host: install iproute2")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        # What ss says where the kernel has no INET_DIAG_DESTROY: nothing, and 0.
        ("exit 0", ("kernel_cannot", "it is built without CONFIG_INET_DIAG_DESTROY")),
        (
            "echo 'SOCK_DESTROY answers: Operation not permitted' >&2",
            ("not_permitted", "it takes root (CAP_NET_ADMIN)"),
        ),
        ("echo \"ss: invalid option -- 'K'\" >&2; exit 255", ("no_ss", "this ss cannot cut connections (ss -K)")),
    ],
)
def test_a_host_that_cannot_cut(module: Any, etcd: Etcd, tmp_path: Path, script: str, told: tuple[str, str]) -> None:
    ss = tmp_path / "ss"
    ss.write_text(f"#!/bin/sh\n{script}\n")
    ss.chmod(0o755)
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        for check in (True, False):
            kind, words = problem(module, served, ss=str(ss), check=check)
            assert kind == told[0]
            assert told[1] in words
        assert len(asked(module, served, check=True)["connections"]) == 1


def test_addresses_of_the_kernel(module: Any) -> None:
    assert module._address("0100007F:0BB8") == "127.0.0.1:3000"
    assert module._address("00000000000000000000000001000000:192B") == "[::1]:6443"
    mapped = module._address("0000000000000000FFFF00000100007F:192B")
    assert module.plain(mapped) == "127.0.0.1:6443"


@pytest.mark.parametrize("elsewhere", ["192.0.2.7", "[2001:db8::7]"])
def test_who_listens_everywhere_is_not_taken_for_the_apiserver_of_another_host(
    module: Any, etcd: Etcd, elsewhere: str
) -> None:
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}", listens="0.0.0.0") as served:
        assert asked(module, served, check=True)["connections"]
        away = Served(served.pid, f"{elsewhere}:{served.listens.rpartition(':')[2]}")
        kind, words = problem(module, away)
    assert (kind, words) == (
        "no_process",
        f"this host has no address {elsewhere}: it is not the host of {away.listens}",
    )
