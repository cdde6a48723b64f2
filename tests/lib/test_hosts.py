"""Actions on hosts, through a real sshd on loopback, and what goes wrong on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drills.stack import Sshd, Stack, tool
from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Denied, LocalDisk, Timeout, Unavailable
from kube_ballast.clients.hosts import (
    Apiserver,
    Busy,
    CannotCut,
    HostFailed,
    Hosts,
    Process,
    ProcessGone,
    Restart,
    RestartMethod,
    bound,
)
from kube_ballast.clients.hosts import inventory as inventories
from kube_ballast.clients.hosts.failures import failed, unreachable
from kube_ballast.clients.hosts.running import STDOUT_BYTES, Outcome, Play, bounded
from kube_ballast.config import HostsConfig, SshConfig
from tests.waiting import eventually

HOST = "127.0.0.1"
SERVE = """
import socket, sys
own = socket.create_server(("127.0.0.8", 0))
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(own.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as one:
        yield one


@pytest.fixture(scope="module")
def sshd(stack: Stack) -> Sshd:
    return stack.sshd()


@pytest.fixture(scope="module")
def apiserver() -> Iterator[Apiserver]:
    """A process that looks like one from outside."""
    with socket.create_server(("127.0.0.1", 0)) as etcd:
        port = etcd.getsockname()[1]
        command = [sys.executable, "-c", SERVE, str(port), f"--etcd-servers=http://127.0.0.1:{port}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            listens = f"127.0.0.8:{int(process.stdout.readline())}"
            yield Apiserver(HOST, listens, Path(f"/proc/{process.pid}/exe").readlink().name)
            process.kill()
            unlocked(listens)


def unlocked(listens: str) -> None:
    """What the module leaves on a host until it boots: a file whose lock nobody holds."""
    Path(f"/run/ballast-apiserver-{listens.rpartition(':')[2]}.lock").unlink(missing_ok=True)


def reached(folder: Path, sshd: Sshd, *, variables: str = "", become: bool = False, **settings: Any) -> Hosts:
    """By ssh, with an inventory of Ansible's."""
    inventory = folder / "inventory.ini"
    inventory.write_text(f"{HOST} {variables}\n")
    ssh = {"known_hosts_file": sshd.known_hosts, "private_key_file": sshd.key, "user": sshd.user, "port": sshd.port}
    known = {name: settings.pop(name) for name in tuple(settings) if name in SshConfig.model_fields}
    return Hosts(
        HostsConfig.model_validate(
            {
                "inventory": inventory,
                "become": become,
                "python": sys.executable,
                "ss": str(tool("ss")),
                "ssh": {**ssh, **known},
                **settings,
            }
        )
    )


def raised(hosts: Hosts, apiserver: Apiserver) -> ClientError:
    with pytest.raises(ClientError) as caught:
        hosts.connections(apiserver)
    return caught.value


def test_a_dry_run_and_a_cut_through_ssh(tmp_path: Path, sshd: Sshd, apiserver: Apiserver) -> None:
    hosts = reached(tmp_path, sshd)
    seen = hosts.connections(apiserver)
    assert len(seen.connections) == 1
    assert "changed=0" in seen.stdout
    done = hosts.cut(apiserver, seen.process, seen.connections)
    assert done.connections == seen.connections
    assert "changed=1" in done.stdout
    assert hosts.cut(apiserver, seen.process, seen.connections).connections == (), "what is gone is not cut again"
    reused = Process(seen.process.pid, seen.process.started - 5, seen.process.boot)
    with pytest.raises(Conflict, match="was used again"):
        hosts.look(apiserver, reused)


def test_through_a_jump_host(tmp_path: Path, stack: Stack, sshd: Sshd, apiserver: Apiserver) -> None:
    jump = stack.sshd()
    known, keys = tmp_path / "known_hosts", jump.key.with_name("authorized_keys")
    known.write_text(sshd.known_hosts.read_text() + jump.known_hosts.read_text())
    keys.write_text(keys.read_text() + sshd.key.with_name("authorized_keys").read_text())
    way = f"{jump.user}@{HOST}:{jump.port}"
    hosts = reached(tmp_path, sshd, known_hosts_file=known, jump=way)
    assert hosts.look(apiserver) == reached(tmp_path, sshd).look(apiserver)
    assert "Accepted publickey" in jump.process.log.read_text()


def test_sudo_is_asked_for_root(tmp_path: Path, sshd: Sshd, apiserver: Apiserver) -> None:
    asked = tmp_path / "asked"
    sudo = tmp_path / "sudo"
    sudo.write_text(f'#!/bin/sh\necho "$@" > {asked}\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    sudo.chmod(0o755)
    hosts = reached(tmp_path, sshd, become=True, variables=f"ansible_become_exe={sudo}")
    assert hosts.look(apiserver).pid
    assert asked.read_text().startswith("-H -S -n -u root /bin/sh -c ")


def test_sudo_says_no(tmp_path: Path, sshd: Sshd, apiserver: Apiserver) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    sudo.chmod(0o755)
    error = raised(reached(tmp_path, sshd, become=True, variables=f"ansible_become_exe={sudo}"), apiserver)
    assert isinstance(error, Denied)
    assert error.message.startswith("sudo does not make us root there: nothing was done (")


def test_a_key_that_is_not_let_in(tmp_path: Path, stack: Stack, sshd: Sshd, apiserver: Apiserver) -> None:
    other = tmp_path / "key"
    other.write_bytes(stack.sshd().key.read_bytes())
    other.chmod(0o600)
    error = raised(reached(tmp_path, sshd, private_key_file=other), apiserver)
    assert isinstance(error, Denied)
    assert error.message.startswith("ssh does not let us in: nothing was done (")


def test_a_host_key_that_is_not_known(tmp_path: Path, sshd: Sshd, apiserver: Apiserver) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    error = raised(reached(tmp_path, sshd, known_hosts_file=nobody), apiserver)
    assert isinstance(error, Denied)
    assert error.message.startswith("its ssh host key is not the one in known_hosts_file: nothing was done (")


@pytest.mark.parametrize(
    "variables",
    [
        "ansible_ssh_common_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=no'",
        "ansible_ssh_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'",
        "ansible_ssh_extra_args='-o StrictHostKeyChecking=no' ansible_host_key_checking=false",
        "ansible_ssh_common_args='-F /dev/null -o StrictHostKeyChecking=no'",
    ],
)
def test_no_inventory_lets_a_host_in_that_is_not_known(
    tmp_path: Path, sshd: Sshd, apiserver: Apiserver, variables: str
) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    port = f"ansible_port={sshd.port} ansible_user={sshd.user} ansible_ssh_private_key_file={sshd.key}"
    error = raised(reached(tmp_path, sshd, known_hosts_file=nobody, variables=f"{variables} {port}"), apiserver)
    assert isinstance(error, Denied)
    assert error.message.startswith("its ssh host key is not the one in known_hosts_file: nothing was done (")


def test_what_an_inventory_gives_ssh_besides_leaves_the_rest_as_it_is(
    tmp_path: Path, sshd: Sshd, apiserver: Apiserver
) -> None:
    hosts = reached(tmp_path, sshd, variables="ansible_ssh_common_args='-o LogLevel=ERROR'")
    assert hosts.look(apiserver) == reached(tmp_path, sshd).look(apiserver)


def test_no_inventory_changes_that_modules_go_through_ssh_and_once(
    tmp_path: Path, sshd: Sshd, apiserver: Apiserver
) -> None:
    files = tmp_path / "files"
    theirs = f"ansible_pipelining=false ansible_ssh_pipelining=false ansible_ssh_retries=5 ansible_remote_tmp={files}"
    assert reached(tmp_path, sshd, variables=f"{theirs} ansible_ssh_use_tty=true").look(apiserver).pid
    assert not files.exists()
    assert inventories.variables(HostsConfig(local=True), tmp_path)["ansible_ssh_retries"] == 0


def test_a_host_that_is_not_reached(tmp_path: Path, stack: Stack, sshd: Sshd, apiserver: Apiserver) -> None:
    error = raised(reached(tmp_path, sshd, port=stack.port()), apiserver)
    assert isinstance(error, Unavailable)
    assert error.message.startswith("the host is not reached by ssh: nothing was done (")


def test_there_is_no_ss_on_the_host(tmp_path: Path, sshd: Sshd, apiserver: Apiserver) -> None:
    error = raised(reached(tmp_path, sshd, ss="/nowhere/ss"), apiserver)
    assert isinstance(error, CannotCut)
    assert error.message == "there is no ss on this host: install iproute2"


def test_a_host_that_the_inventory_does_not_have(tmp_path: Path, sshd: Sshd, apiserver: Apiserver) -> None:
    elsewhere = Apiserver("cp-9", apiserver.listens, apiserver.executable)
    error = raised(reached(tmp_path, sshd), elsewhere)
    assert isinstance(error, Conflict)
    assert error.message == "the inventory has no host of that name: nothing was done"


def test_a_name_that_means_several_hosts(tmp_path: Path, apiserver: Apiserver) -> None:
    """Such as that of a group: what is meant for one is done on none."""
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(f"[{HOST}]\na ansible_connection=local\nb ansible_connection=local\n")
    hosts = Hosts(HostsConfig(inventory=inventory, become=False, python=sys.executable))
    with pytest.raises(Conflict, match=r"the inventory has several hosts by that name \(a, b\): nothing was done"):
        hosts.look(apiserver)


def slow(folder: Path) -> Restart:
    """A restart by a playbook of the site's own that takes ten minutes; ``pid`` in the folder is whose that is."""
    playbook = folder / "ansible-playbook"
    playbook.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, time\n"
        f"pathlib.Path('{folder}/pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    playbook.chmod(0o755)
    return Restart(RestartMethod.COMMAND, 5, command=(str(playbook),))


def test_an_end_that_does_not_come_leaves_the_outcome_unknown_and_is_seen(tmp_path: Path, apiserver: Apiserver) -> None:
    """Ansible is ended, and what it began on the host goes on: whoever looks then is told so."""
    hosts, impatient = (Hosts(HostsConfig(local=True, become=False, timeout=seconds)) for seconds in (60.0, 10.0))
    process = hosts.look(apiserver)
    with pytest.raises(Timeout, match="no end within 10 s; it is unknown what took effect"):
        impatient.restart(apiserver, process, slow(tmp_path))
    with pytest.raises(Busy, match=f"somebody acts on {apiserver.listens} on its host already, and has not ended"):
        hosts.look(apiserver)
    with pytest.raises(Busy):
        hosts.restart(apiserver, process, slow(tmp_path))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert eventually(lambda: quiet(hosts, apiserver), within=60.0) == process


class Noted(Hosts):
    """Plays nothing, and keeps for how long each playbook would have been waited for."""

    def __init__(self, timeout: float) -> None:
        super().__init__(HostsConfig(local=True, become=False, timeout=timeout))
        self.seconds: list[float] = []

    def _play(self, play: Play) -> Outcome:
        self.seconds.append(play.seconds)
        told = {"ballast": {"process": {"pid": 1, "started": 2, "boot": "x"}}}
        return Outcome(dict.fromkeys(("Look", "Cut", "Restart"), told), "")


@pytest.mark.parametrize(("timeout", "looks", "acts"), [(90.0, 30.0, 90.0), (10.0, 10.0, 10.0)])
def test_what_only_looks_is_not_waited_for_as_long_as_a_restart(timeout: float, looks: float, acts: float) -> None:
    hosts, one, how = Noted(timeout), Apiserver(HOST, "127.0.0.8:1"), WAYS[RestartMethod.SYSTEMD]
    process = hosts.look(one)
    hosts.connections(one)
    hosts.rehearse(one, how)
    hosts.cut(one, process, ())
    hosts.restart(one, process, how)
    assert hosts.seconds == [looks, looks, looks, acts, acts]


def quiet(hosts: Hosts, apiserver: Apiserver) -> Process | None:
    try:
        return hosts.look(apiserver)
    except Busy:
        return None


def test_ansible_ends_with_whoever_started_it(tmp_path: Path, apiserver: Apiserver) -> None:
    """Killed, so that it could not end anything itself."""
    code = (
        "from kube_ballast.clients.hosts import *; from kube_ballast.config import HostsConfig\n"
        f"hosts, one = Hosts(HostsConfig(local=True, become=False, timeout=120.0)), {apiserver!r}\n"
        f"hosts.restart(one, hosts.look(one), {slow(tmp_path)!r})\n"
    ).replace("<RestartMethod.COMMAND: 'command'>", "RestartMethod.COMMAND")
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(tmp_path)}) as remediator:
        eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), within=60.0)
        runner = children(remediator.pid)
        playbook = [each for one in runner for each in children(one)]
        workers = [each for one in playbook for each in children(one)]
        assert (len(runner), len(playbook), len(workers)) == (1, 1, 1)
        remediator.kill()
    eventually(lambda: not any(map(lives, (*runner, *playbook, *workers))), within=30.0)
    restarts = int((tmp_path / "pid").read_text())
    assert lives(restarts)
    os.kill(restarts, signal.SIGKILL)
    hosts = Hosts(HostsConfig(local=True, become=False))
    eventually(lambda: quiet(hosts, apiserver), within=60.0)


def test_a_worker_that_is_not_to_be_ended_keeps_no_other_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {11, 12, 13}
    told: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        told.append((pid, number))
        there.discard(pid)
        if pid != 13:
            raise (ProcessLookupError if pid == 11 else PermissionError)

    monkeypatch.setattr(bound, "_workers", lambda: set(there))
    monkeypatch.setattr("os.kill", kill)
    bound._end_workers()
    assert sorted(told) == [(pid, signal.SIGTERM) for pid in (11, 12, 13)]
    told.clear()
    bound._end_workers()
    assert told == []


def lives(pid: int) -> bool:
    """Whether it has not ended; where nobody asks for what has, it stays a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """All that its threads have started and that have not ended."""
    return [int(each) for file in Path(f"/proc/{pid}/task").glob("*/children") for each in file.read_text().split()]


def test_a_command_gets_its_arguments_as_they_are_and_the_process_id(tmp_path: Path, apiserver: Apiserver) -> None:
    hosts = Hosts(HostsConfig(local=True, become=False))
    process = hosts.look(apiserver)
    script = tmp_path / "restart"
    script.write_text(f'#!/bin/sh\nprintf "%s|" "$BALLAST_APISERVER_PID" "$@" > {tmp_path}/told\n')
    script.chmod(0o755)
    odd = "$(touch /nowhere); `id` ; a b 'c' \"d\""
    done = hosts.restart(apiserver, process, Restart(RestartMethod.COMMAND, 5, command=(str(script), odd)))
    assert (tmp_path / "told").read_text() == f"{process.pid}|{odd}|"
    assert done.process == process


def test_what_a_command_leaves_behind_goes_on(tmp_path: Path, apiserver: Apiserver) -> None:
    """Such as the apiserver itself: what ends Ansible's workers does not end it."""
    hosts = Hosts(HostsConfig(local=True, become=False))
    command = ("/bin/sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid")
    hosts.restart(apiserver, hosts.look(apiserver), Restart(RestartMethod.COMMAND, 5, command=command))
    pid = int((tmp_path / "pid").read_text())
    assert lives(pid)
    os.kill(pid, signal.SIGKILL)


def test_a_restart_that_fails_is_told(apiserver: Apiserver) -> None:
    hosts = Hosts(HostsConfig(local=True, become=False))
    command = ("/bin/sh", "-c", "echo the unit is masked >&2; exit 3")
    with pytest.raises(HostFailed, match=r"ended with 3: the unit is masked"):
        hosts.restart(apiserver, hosts.look(apiserver), Restart(RestartMethod.COMMAND, 5, command=command))


def test_nothing_is_restarted_that_is_another_process(tmp_path: Path, apiserver: Apiserver) -> None:
    hosts = Hosts(HostsConfig(local=True, become=False))
    touched = tmp_path / "touched"
    with pytest.raises(ProcessGone, match="it was restarted meanwhile"):
        hosts.restart(
            apiserver, Process(1, 1, "x"), Restart(RestartMethod.COMMAND, 5, command=("/bin/touch", str(touched)))
        )
    assert not touched.exists()


RECORDER = '#!/bin/sh\necho "$(basename "$0") $*" >> {log}\ncase "$1" in\n{cases}esac\n'


def recorder(folder: Path, name: str, cases: dict[str, str]) -> Path:
    """A program of that name that writes down how it was called, and answers by its first argument."""
    lines = "".join(f"{first}) {answer} ;;\n" for first, answer in cases.items())
    program = folder / name
    program.write_text(RECORDER.format(log=folder / "log", cases=lines))
    program.chmod(0o755)
    return program


def main_process(pid: int) -> str:
    """As systemd tells it: none once it has ended."""
    return f"if kill -0 {pid} 2>/dev/null; then echo {pid}; else echo 0; fi"


@pytest.fixture
def doomed() -> Iterator[tuple[Apiserver, int]]:
    """A process that is to be ended, and does not heed SIGTERM."""
    code = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVE}"
    with socket.create_server(("127.0.0.1", 0)) as etcd:
        port = etcd.getsockname()[1]
        command = [sys.executable, "-c", code, str(port), f"--etcd-servers=http://127.0.0.1:{port}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            listens = f"127.0.0.8:{int(process.stdout.readline())}"
            reaper = threading.Thread(target=process.wait)
            reaper.start()
            yield Apiserver(HOST, listens, Path(f"/proc/{process.pid}/exe").readlink().name), process.pid
            process.kill()
            reaper.join()
            unlocked(listens)


WAYS = {
    RestartMethod.SYSTEMD: Restart(RestartMethod.SYSTEMD, 1, unit="kube-apiserver.service"),
    RestartMethod.CRI: Restart(RestartMethod.CRI, 1, container="kube-apiserver"),
    RestartMethod.COMMAND: Restart(RestartMethod.COMMAND, 1, command=("restart-apiserver", "now")),
}


@pytest.fixture
def programs(tmp_path: Path, doomed: tuple[Apiserver, int], monkeypatch: pytest.MonkeyPatch) -> Path:
    """What there is on a host to restart an apiserver with; what is started is written down in ``log``."""
    _, pid = doomed
    recorder(tmp_path, "systemctl", {"show": main_process(pid)})
    recorder(tmp_path, "crictl", {"ps": "echo 0badcafe", "inspect": f"echo {pid}", "stop": f"kill -9 {pid}"})
    recorder(tmp_path, "restart-apiserver", {})
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    ("method", "started"),
    [
        (
            RestartMethod.SYSTEMD,
            [
                "systemctl show --property=MainPID --value kube-apiserver.service",
                "systemctl start kube-apiserver.service",
            ],
        ),
        (
            RestartMethod.CRI,
            [
                "crictl ps --quiet --state Running --name ^kube-apiserver$",
                "crictl inspect --output go-template --template {{.info.pid}} 0badcafe",
                "crictl stop --timeout 1 0badcafe",
            ],
        ),
        (RestartMethod.COMMAND, ["restart-apiserver now"]),
    ],
)
def test_a_restart_is_one_act_on_the_host(
    programs: Path, doomed: tuple[Apiserver, int], method: RestartMethod, started: list[str]
) -> None:
    apiserver, pid = doomed
    hosts = Hosts(HostsConfig(local=True, become=False))
    process = hosts.look(apiserver)
    done = hosts.restart(apiserver, process, WAYS[method])
    told = (programs / "log").read_text().splitlines()
    assert list(dict.fromkeys(told)) == started, "what is asked until it is so counts once"
    assert (done.process, "changed=1" in done.stdout) == (process, True)
    assert Path(f"/proc/{pid}").exists() is (method is RestartMethod.COMMAND)


@pytest.mark.parametrize("method", WAYS)
def test_no_restart_in_check_mode(programs: Path, doomed: tuple[Apiserver, int], method: RestartMethod) -> None:
    apiserver, pid = doomed
    hosts = Hosts(HostsConfig(local=True, become=False))
    seen = hosts.rehearse(apiserver, WAYS[method])
    assert (seen.process.pid, len(seen.endpoints), seen.connections) == (pid, 1, ())
    log = programs / "log"
    started = {line.split()[1] for line in log.read_text().splitlines()} if log.exists() else set()
    assert started <= {"show", "ps", "inspect"}
    assert Path(f"/proc/{pid}").exists()


def test_a_unit_whose_process_is_another_one_is_left_alone(programs: Path, doomed: tuple[Apiserver, int]) -> None:
    apiserver, pid = doomed
    recorder(programs, "systemctl", {"show": "echo 1"})
    hosts = Hosts(HostsConfig(local=True, become=False))
    with pytest.raises(Conflict, match=f"runs process 1, and the apiserver is {pid}: nothing was done"):
        hosts.rehearse(apiserver, WAYS[RestartMethod.SYSTEMD])
    with pytest.raises(Conflict, match=f"runs process 1, and the apiserver is {pid}: nothing was done"):
        hosts.restart(apiserver, hosts.look(apiserver), WAYS[RestartMethod.SYSTEMD])
    assert Path(f"/proc/{pid}").exists()


def test_a_restart_that_fails_in_the_middle_says_what_had_been_done(
    programs: Path, doomed: tuple[Apiserver, int]
) -> None:
    apiserver, pid = doomed
    recorder(programs, "systemctl", {"show": main_process(pid), "start": "echo masked >&2; exit 1"})
    hosts = Hosts(HostsConfig(local=True, become=False))
    with pytest.raises(
        BadResponse, match=rf"after SIGTERM was sent .* and SIGKILL was sent to process {pid}: .*masked"
    ):
        hosts.restart(apiserver, hosts.look(apiserver), WAYS[RestartMethod.SYSTEMD])


def test_nothing_that_a_template_could_be_is_given_to_ansible() -> None:
    hosts = Hosts(HostsConfig(local=True, become=False))
    with pytest.raises(BadResponse, match="it would be read as a template"):
        hosts.look(Apiserver("cp-1", "10.0.0.1:6443", "{{ lookup('pipe', 'id') }}"))


@pytest.mark.parametrize("name", ["cp-1 ansible_host=x", "-oProxyCommand=id", "$(id)", "a\nb", "{{x}}"])
def test_names_that_could_be_anything_else_are_refused(tmp_path: Path, name: str) -> None:
    known = tmp_path / "known_hosts"
    known.touch()
    for field in ("user", "jump"):
        with pytest.raises(ValidationError):
            SshConfig.model_validate({"known_hosts_file": known, field: name})


@pytest.mark.parametrize(
    ("words", "acts", "kind"),
    [
        ("ssh: connect to host 10.0.0.1 port 22: Connection timed out", True, Unavailable),
        ("ssh: Could not resolve hostname cp-1: Name or service not known", True, Unavailable),
        ("Shared connection to 10.0.0.1 closed.", True, Timeout),
        ("Shared connection to 10.0.0.1 closed.", False, Timeout),
        ("client_loop: send disconnect: Broken pipe", True, Timeout),
        ("Read from remote host 10.0.0.1: Connection reset by peer", True, Timeout),
        ("client_loop: send disconnect: Connection reset by peer", True, Timeout),
        ("ssh_dispatch_run_fatal: Connection to 10.0.0.1 port 22: Connection timed out", True, Timeout),
        ("cat: /etc/motd: Permission denied\nConnection to 10.0.0.1 closed by remote host.", True, Timeout),
        ("bash: /etc/profile.d/a.sh: Permission denied", True, Timeout),
        ("client_loop: send disconnect: Broken pipe\nHost key verification failed.", True, Timeout),
        ("ballast@10.0.0.1: Permission denied (publickey).", True, Denied),
        ("kex_exchange_identification: Connection closed by remote host", True, Unavailable),
    ],
)
def test_a_way_that_breaks_off_is_no_host_that_was_not_reached(
    words: str, kind: type[ClientError], *, acts: bool
) -> None:
    error = unreachable("cp-1", {"msg": words}, acts=acts)
    assert type(error) is kind
    assert ("unknown what took effect" in error.message) is (acts and kind is Timeout)


def test_a_way_that_breaks_off_after_a_long_banner() -> None:
    error = unreachable("cp-1", {"msg": f"Permission denied (x). {'=' * 1000} client_loop: send disconnect"}, acts=True)
    assert isinstance(error, Timeout)
    assert len(error.message) < 500


def test_a_host_without_python() -> None:
    told = {"msg": "The module interpreter '/usr/bin/python3' was not found."}
    assert isinstance(failed("cp-1", "Cut", told), Conflict)


def test_what_ansible_says_is_kept_within_bounds() -> None:
    said = bounded("\x1b[0;31mfirst\x1b[0m\n" + "x" * 10**6 + "\nlast")
    assert said.startswith("first\n")
    assert said.endswith("last")
    assert len(said.encode()) <= STDOUT_BYTES


def kept(folder: Path) -> Hosts:
    """Hosts as a cluster's Nodes name them, whose apiserver is gone."""
    known, config = folder / "known_hosts", folder / "kubeconfig"
    known.touch()
    config.write_text("{}")
    nodes = {"kubernetes": {"kubeconfig": config}, "cache": folder / "nodes.json"}
    return Hosts(HostsConfig.model_validate({"nodes": nodes, "ssh": {"known_hosts_file": known}}))


def test_nodes_that_were_never_seen(tmp_path: Path) -> None:
    with pytest.raises(LocalDisk, match="the Nodes were never seen, so that no host is known"):
        kept(tmp_path).look(Apiserver("10.0.0.1", "10.0.0.1:6443"))


def test_a_host_that_is_no_node(tmp_path: Path) -> None:
    (tmp_path / "nodes.json").write_text(json.dumps({"seen_at": 1.0, "nodes": {"cp-1": ["10.0.0.1"]}}))
    with pytest.raises(Conflict, match=r"no Node is called so or has this address \(known: cp-1\): nothing was done"):
        kept(tmp_path).look(Apiserver("10.0.0.9", "10.0.0.9:6443"))
