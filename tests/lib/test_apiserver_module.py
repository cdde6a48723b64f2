"""The module that runs on hosts, on real processes of this one: what it takes for an apiserver, cuts and restarts."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from drills.stack import tool
from kube_ballast.clients.hosts.running import PLAYBOOKS
from tests.waiting import eventually

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


@pytest.fixture(autouse=True)
def locks(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the locks, which is the test's own."""
    folder = tmp_path / "lock"
    folder.mkdir()
    monkeypatch.setattr(module, "LOCKS", str(folder))
    return folder


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
    process: "subprocess.Popen[str] | None" = None


@pytest.fixture
def etcd() -> Iterator[Etcd]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Etcd(server)


@contextmanager
def serving(
    etcds: list[Etcd], *arguments: str, listens: str = "127.0.0.7", program: str = sys.executable, first: str = ""
) -> Iterator[Served]:
    ports = ",".join(str(one.port) for one in etcds)
    command = [program, "-c", first + SERVE, listens, ports, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(process.pid, f"127.0.0.7:{int(process.stdout.readline())}", process)
        finally:
            process.kill()


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/exe").readlink().name


def asked(
    module: Any, served: Served, *, check: bool = False, ss: str | None = None, by: Any = run, **parameters: Any
) -> Any:
    own = {"mode": "cut", "listens": served.listens, "executable": name_of(served.pid), "expected": None, "only": None}
    return module.answer({**own, **parameters}, by, ss or str(tool("ss")), check=check)


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


@pytest.mark.parametrize(
    ("mode", "words"), [(None, "No such file or directory"), (0o644, "Permission denied"), (0o755, "Exec format error")]
)
def test_an_ss_that_cannot_be_started(module: Any, etcd: Etcd, tmp_path: Path, mode: int | None, words: str) -> None:
    ss = tmp_path / "ss"
    if mode is not None:
        ss.write_bytes(b"\0")
        ss.chmod(mode)
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        for by in (run, module.apart):
            assert problem(module, served, ss=str(ss), by=by) == ("no_ss", f"{ss} is not started: {words}")
        assert len(asked(module, served, check=True)["connections"]) == 1


@pytest.mark.parametrize("way", ["exit 1", "rm $0; exit 0"])
def test_a_cut_that_fails_in_the_middle_says_how_many_were_cut(
    module: Any, etcd: Etcd, tmp_path: Path, way: str
) -> None:
    ss, once = tmp_path / "ss", tmp_path / "once"
    ss.write_text(f'#!/bin/sh\n[ -e {once} ] && {{ {way}; }}\ntouch {once}\nexec {tool("ss")} "$@"\n')
    ss.chmod(0o755)
    with serving([etcd, etcd, etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        kind, words = problem(module, served, ss=str(ss))
        assert len(asked(module, served, check=True)["connections"]) == 2
    assert kind == "not_cut"
    assert words.startswith("after 1 of 3 were cut: " if way == "exit 1" else "after 2 of 3 were cut: ")


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


CHANGED = ("process_changed", "it changed meanwhile: ")
FAILED = ("host_failed", "the host does not do what it is asked: ")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "No such file", "/proc/1/stat"), CHANGED),
        (ProcessLookupError(3, "No such process"), CHANGED),
        (OSError(24, "Too many open files"), FAILED),
        (PermissionError(13, "Permission denied", "/proc/1/exe"), FAILED),
    ],
)
def test_only_what_is_gone_has_changed_meanwhile(
    module: Any, monkeypatch: pytest.MonkeyPatch, error: OSError, told: tuple[str, str]
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(module, "found_process", fails)
    own = {"mode": "look", "listens": "127.0.0.7:1", "executable": "x", "expected": None, "only": None}
    assert module.told(own, run, None, check=False) == {"problem": told[0], "words": f"{told[1]}{error}"}


# --- Who acts is alone ---


@contextmanager
def acting(module: Any, served: Served) -> Iterator[None]:
    with module.locked(served.listens, os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX):
        yield


@pytest.mark.parametrize(
    ("mode", "check"), [("look", False), ("look", True), ("cut", False), ("cut", True), ("restart", False)]
)
def test_nobody_looks_or_acts_while_somebody_acts(module: Any, etcd: Etcd, mode: str, *, check: bool) -> None:
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        with acting(module, served):
            kind, words = problem(module, served, mode=mode, check=check)
        assert (kind, words) == (
            "busy",
            f"somebody acts on {served.listens} on its host already, and has not ended",
        )
        assert len(asked(module, served)["connections"]) == 1, "nothing was done meanwhile"


def test_a_lock_that_is_somebody_elses_file_is_not_followed(module: Any, etcd: Etcd, locks: Path) -> None:
    with serving([etcd]) as served:
        Path(module.lock_file(served.listens)).symlink_to(locks / "elsewhere")
        for mode in ("look", "restart"):
            kind, words = problem(module, served, mode=mode)
            assert kind == "not_permitted"
            assert words.startswith(f"whether somebody acts on {served.listens} cannot be told: ")
    assert not (locks / "elsewhere").exists()


# --- It restarts ---

DEAF = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
"""As an apiserver with a stalled channel: SIGTERM does not end it."""
WAYS: dict[str, dict[str, Any]] = {
    "systemd": {"unit": "kube-apiserver.service"},
    "cri": {"container": "kube-apiserver"},
    "command": {"command": ["/usr/local/bin/restart", "now"]},
}


SHOW = "systemctl show --property=MainPID --value kube-apiserver.service"
START = "systemctl start kube-apiserver.service"
RESTART = "systemctl --no-block restart kube-apiserver.service"


class Programs:
    """Writes down what is started on the host, and answers by its second word: with a text, or with what a call gives.

    A text that begins with ``!`` is an error.
    """

    def __init__(self, **answers: "str | Callable[[], object]") -> None:
        self.answers = answers
        self.started: list[str] = []
        self.environment: dict[str, str] = {}

    def __call__(self, argv: list[str], environ_update: dict[str, str] | None = None) -> tuple[int, str, str]:
        self.started.append(" ".join(argv))
        self.environment.update(environ_update or {})
        answer = self.answers.get(argv[1], "")
        told = answer if isinstance(answer, str) else str(answer() or "")
        return (1, "", told[1:]) if told.startswith("!") else (0, f"{told}\n", "")


def restarted(module: Any, served: Served, programs: Programs, method: str, **parameters: Any) -> Any:
    given = {"mode": "restart", "method": method, "grace": 1, **WAYS[method]}
    return asked(module, served, by=programs, **given, **parameters)


def main_process(served: Served) -> "Callable[[], object]":
    """As systemd tells it: none once it has ended."""
    return lambda: served.pid if lives(served) else 0


def not_restarted(module: Any, served: Served, programs: Programs, method: str) -> tuple[str, str]:
    with pytest.raises(module.Problem) as caught:
        restarted(module, served, programs, method)
    return caught.value.kind, str(caught.value)


def end_of(served: Served) -> int:
    assert served.process is not None
    return served.process.wait(10)


def lives(served: Served) -> bool:
    assert served.process is not None
    return served.process.poll() is None


@pytest.fixture(params=["pidfd", "an old Python"])
def signals(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals reach the process by a descriptor of it, or by its id where there is no such thing."""
    if request.param != "pidfd":
        monkeypatch.delattr(os, "pidfd_open")


@pytest.fixture
def impatient(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KILLED_SECONDS", 0.5)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize(("first", "ended"), [(DEAF, -signal.SIGKILL), ("", -signal.SIGTERM)])
def test_a_unit_is_ended_and_started(module: Any, etcd: Etcd, first: str, ended: int) -> None:
    with serving([etcd], first=first) as served:
        programs = Programs(show=main_process(served))
        assert restarted(module, served, programs, "systemd")["process"]["pid"] == served.pid
        assert end_of(served) == ended
    assert programs.started == [SHOW, SHOW, START]


@pytest.mark.usefixtures("signals")
def test_a_unit_is_started_only_once_systemd_has_seen_the_end(module: Any, etcd: Etcd) -> None:
    """Before, that is nothing to do for systemd, and the unit fails afterwards."""
    with serving([etcd]) as served:
        told = iter([served.pid, served.pid, "!no bus", 0])
        programs = Programs(show=lambda: next(told))
        restarted(module, served, programs, "systemd")
    assert programs.started == [SHOW, SHOW, SHOW, SHOW, START]


@pytest.mark.usefixtures("signals", "impatient")
def test_a_unit_is_started_also_where_its_end_is_not_seen(module: Any, etcd: Etcd) -> None:
    with serving([etcd], first=DEAF) as served:
        programs = Programs(show=str(served.pid))
        kind, words = not_restarted(module, served, programs, "systemd")
    assert (kind, programs.started[-1]) == ("restart_failed", START)
    assert words == (
        f"after SIGTERM was sent to process {served.pid} and SIGKILL was sent to process {served.pid}: process "
        f"{served.pid} is still the one of unit kube-apiserver.service, whose start did nothing then"
    )


def test_a_process_that_is_not_ended_by_sigkill_is_left_to_systemd(
    module: Any, etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that waits for a disk in the kernel: to start its unit would do nothing, now and later."""

    def stays(who: Any, _grace: int, done: list[str]) -> bool:
        done.append(f"SIGKILL was sent to process {who.pid}")
        return False

    monkeypatch.setattr(module, "end", stays)
    with serving([etcd]) as served:
        programs = Programs(show=main_process(served))
        kind, words = not_restarted(module, served, programs, "systemd")
    assert (kind, programs.started) == ("restart_failed", [SHOW, RESTART])
    assert words == (
        f"after SIGKILL was sent to process {served.pid}: process {served.pid} is still there. systemd was told to "
        "restart unit kube-apiserver.service"
    )


def test_a_process_has_ended_when_its_last_thread_has(module: Any) -> None:
    """Its first thread is a zombie long before, as while a killed one gives gigabytes back."""
    code = (
        "import ctypes, threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); "
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            who, handle = module.identity(process.pid), os.pidfd_open(process.pid)
            eventually(lambda: not module.lives(who))
            assert not module.ended(who, handle, 0.2)
            process.kill()
            assert module.ended(who, handle, 10.0)
            os.close(handle)
        finally:
            process.kill()


def test_whoever_restarts_is_seen_and_alone_until_its_end(module: Any, etcd: Etcd) -> None:
    seen = []
    with serving([etcd]) as served:

        def start() -> None:
            with pytest.raises(module.Problem) as caught:
                module.nobody_acts(served.listens)
            seen.append(caught.value.kind)

        restarted(module, served, Programs(show=main_process(served), start=start), "systemd")
        module.nobody_acts(served.listens)
    assert seen == ["busy"]


@pytest.mark.usefixtures("signals")
def test_a_process_that_has_the_id_of_another_one_gets_no_signal(module: Any, etcd: Etcd) -> None:
    with serving([etcd]) as served:
        who = module.identity(served.pid)
        done: list[str] = []
        with pytest.raises(module.Problem, match="was used again"):
            module.end(who._replace(started=who.started - 1), 1, done)
        assert (done, lives(served)) == ([], True)


def test_a_unit_or_container_whose_process_is_another_one_is_left_alone(module: Any, etcd: Etcd) -> None:
    with serving([etcd]) as served:
        programs = Programs(show="1", ps="0badcafe", inspect="1")
        assert not_restarted(module, served, programs, "systemd") == (
            "not_its_process",
            f"unit kube-apiserver.service runs process 1, and the apiserver is {served.pid}: nothing was done",
        )
        assert not_restarted(module, served, programs, "cri") == (
            "not_its_process",
            f"container kube-apiserver runs process 1, and the apiserver is {served.pid}: nothing was done",
        )
        kind, words = not_restarted(module, served, Programs(ps="a\nb"), "cri")
        assert (kind, words) == ("not_its_process", "2 containers are called kube-apiserver and run: nothing was done")
        assert lives(served)
    assert [one.split()[1] for one in programs.started] == ["show", "ps", "inspect"]


def test_a_container_is_stopped_by_the_runtime(module: Any, etcd: Etcd) -> None:
    with serving([etcd]) as served:
        assert served.process is not None
        programs = Programs(ps="0badcafe", inspect=str(served.pid), stop=served.process.kill)
        restarted(module, served, programs, "cri")
    assert programs.started == [
        "crictl ps --quiet --state Running --name ^kube-apiserver$",
        "crictl inspect --output go-template --template {{.info.pid}} 0badcafe",
        "crictl stop --timeout 1 0badcafe",
    ]


def test_a_command_gets_the_process_id(module: Any, etcd: Etcd) -> None:
    programs = Programs()
    with serving([etcd]) as served:
        restarted(module, served, programs, "command")
    assert programs.started == ["/usr/local/bin/restart now"]
    assert programs.environment == {"BALLAST_APISERVER_PID": str(served.pid)}


@pytest.mark.parametrize(
    ("method", "answers", "words"),
    [
        (
            "systemd",
            {"start": "!the unit is masked"},
            "after SIGTERM was sent to process {pid}: systemctl start kube-apiserver.service ended with 1: the unit is",
        ),
        (
            "cri",
            {"ps": "0badcafe"},
            "after container 0badcafe was stopped: process {pid} is still there",
        ),
        ("cri", {"ps": "!no runtime"}, "crictl ps --quiet --state Running --name ^kube-apiserver$ ended with 1: no "),
        ("command", {"now": "!not today"}, "/usr/local/bin/restart now ended with 1: not today"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_what_fails_in_the_middle_says_what_had_been_done(
    module: Any, etcd: Etcd, method: str, answers: dict[str, Any], words: str
) -> None:
    with serving([etcd]) as served:
        programs = Programs(**{"show": main_process(served), "inspect": str(served.pid), **answers})
        kind, said = not_restarted(module, served, programs, method)
    assert kind == "restart_failed"
    assert said.startswith(words.format(pid=served.pid))


def test_what_restarts_it_goes_on_whatever_ends_who_asked(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends Ansible's worker or hangs up ends its session, and so all that it has started in it."""
    monkeypatch.setenv("BALLAST_ANSIBLE", "1")
    tells = "import os, sys; print(os.getsid(0) == os.getpid(), os.environ['X'], 'BALLAST_ANSIBLE' in os.environ); "
    code, told, errors = module.apart([sys.executable, "-c", f"{tells}sys.exit('no')"], environ_update={"X": "y"})
    assert (code, told, errors) == (1, "True y False\n", "no\n")


def test_what_is_started_needs_no_disk(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    assert module.apart(["/bin/echo", "told"]) == (0, "told\n", "")


def test_an_old_python_has_its_output_on_disk(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    assert module.apart(["/bin/echo", "told"]) == (0, "told\n", "")


def test_a_command_that_leaves_the_apiserver_on_its_output_has_ended(module: Any) -> None:
    """Else the lock would be held for as long as that serves."""
    code, told, _ = module.apart(["/bin/sh", "-c", "sleep 600 & echo $!"])
    os.kill(int(told), signal.SIGKILL)
    assert code == 0


def test_a_program_that_is_not_there_is_named(module: Any, etcd: Etcd) -> None:
    with serving([etcd]) as served:
        with pytest.raises(module.Problem) as caught:
            asked(module, served, mode="restart", method="command", command=["/nowhere/restart"], by=module.apart)
        assert lives(served)
    assert str(caught.value) == "/nowhere/restart is not started: No such file or directory"


@pytest.mark.parametrize("method", WAYS)
def test_the_dry_run_restarts_nothing(module: Any, etcd: Etcd, method: str) -> None:
    with serving([etcd], f"--etcd-servers=http://127.0.0.1:{etcd.port}") as served:
        programs = Programs(show=str(served.pid), ps="0badcafe", inspect=str(served.pid))
        told = restarted(module, served, programs, method, check=True)
        assert told["process"]["pid"] == served.pid
        assert told["endpoints"] == [f"127.0.0.1:{etcd.port}"]
        assert lives(served)
    assert {one.split()[1] for one in programs.started} <= {"show", "ps", "inspect"}
