"""Actions on hosts, through a real sshd on loopback, and what goes wrong on the way."""

import json
import os
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
from kube_ballast.clients.hosts import Apiserver, CannotCut, Hosts, Process, Restart, RestartMethod
from kube_ballast.clients.hosts.failures import failed, unreachable
from kube_ballast.clients.hosts.running import STDOUT_BYTES, bounded
from kube_ballast.config import HostsConfig, SshConfig

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


def test_an_end_that_does_not_come_leaves_the_outcome_unknown(tmp_path: Path, apiserver: Apiserver) -> None:
    hosts = Hosts(HostsConfig(local=True, become=False, timeout=5.0))
    process = hosts.look(apiserver)
    forever = Restart(RestartMethod.COMMAND, 5, command=("/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"))
    with pytest.raises(Timeout, match="no end within 5 s; it is unknown what took effect"):
        hosts.restart(apiserver, process, forever)


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


def test_a_restart_that_fails_is_told(apiserver: Apiserver) -> None:
    hosts = Hosts(HostsConfig(local=True, become=False))
    command = ("/bin/sh", "-c", "echo the unit is masked >&2; exit 3")
    with pytest.raises(BadResponse, match=r"task 'Restart' failed: .*the unit is masked"):
        hosts.restart(apiserver, hosts.look(apiserver), Restart(RestartMethod.COMMAND, 5, command=command))


def test_nothing_is_restarted_that_is_another_process(tmp_path: Path, apiserver: Apiserver) -> None:
    hosts = Hosts(HostsConfig(local=True, become=False))
    touched = tmp_path / "touched"
    with pytest.raises(Conflict, match="it was restarted meanwhile"):
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


@pytest.fixture
def doomed() -> Iterator[tuple[Apiserver, int]]:
    """A process that is to be ended, and does not heed SIGTERM."""
    code = f"import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SERVE}"
    with socket.create_server(("127.0.0.1", 0)) as etcd:
        command = [sys.executable, "-c", code, str(etcd.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            listens = f"127.0.0.8:{int(process.stdout.readline())}"
            reaper = threading.Thread(target=process.wait)
            reaper.start()
            yield Apiserver(HOST, listens, Path(f"/proc/{process.pid}/exe").readlink().name), process.pid
            process.kill()
            reaper.join()


def test_a_unit_is_ended_by_sigterm_then_sigkill_and_started(
    tmp_path: Path, doomed: tuple[Apiserver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    apiserver, pid = doomed
    recorder(tmp_path, "systemctl", {"show": f"echo {pid}"})
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hosts = Hosts(HostsConfig(local=True, become=False))
    how = Restart(RestartMethod.SYSTEMD, 1, unit="kube-apiserver.service")
    hosts.restart(apiserver, hosts.look(apiserver), how)
    assert (tmp_path / "log").read_text().splitlines() == [
        "systemctl show --property=MainPID --value kube-apiserver.service",
        "systemctl kill --signal=SIGTERM kube-apiserver.service",
        "systemctl kill --signal=SIGKILL kube-apiserver.service",
        "systemctl start kube-apiserver.service",
    ]


def test_a_unit_that_heeds_sigterm_gets_no_sigkill(
    tmp_path: Path, doomed: tuple[Apiserver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    apiserver, pid = doomed
    recorder(tmp_path, "systemctl", {"show": f"echo {pid}", "kill": f"kill -9 {pid}"})
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hosts = Hosts(HostsConfig(local=True, become=False))
    process = hosts.look(apiserver)
    hosts.restart(apiserver, process, Restart(RestartMethod.SYSTEMD, 5, unit="kube-apiserver.service"))
    assert "SIGKILL" not in (tmp_path / "log").read_text()


def test_a_unit_whose_process_is_another_one_is_left_alone(
    tmp_path: Path, doomed: tuple[Apiserver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    apiserver, _ = doomed
    recorder(tmp_path, "systemctl", {"show": "echo 1"})
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hosts = Hosts(HostsConfig(local=True, become=False))
    with pytest.raises(BadResponse, match="Whose process the unit runs"):
        hosts.restart(apiserver, hosts.look(apiserver), Restart(RestartMethod.SYSTEMD, 1, unit="other.service"))
    assert "kill" not in (tmp_path / "log").read_text()


def test_a_container_is_stopped_by_the_runtime(
    tmp_path: Path, doomed: tuple[Apiserver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    apiserver, pid = doomed
    recorder(tmp_path, "crictl", {"ps": "echo 0badcafe", "inspect": f"echo {pid}"})
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hosts = Hosts(HostsConfig(local=True, become=False))
    hosts.restart(apiserver, hosts.look(apiserver), Restart(RestartMethod.CRI, 5, container="kube-apiserver"))
    assert (tmp_path / "log").read_text().splitlines() == [
        "crictl ps --quiet --state Running --name ^kube-apiserver$",
        "crictl inspect --output go-template --template {{.info.pid}} 0badcafe",
        "crictl stop --timeout 5 0badcafe",
    ]


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
    ],
)
def test_a_way_that_breaks_off_is_no_host_that_was_not_reached(
    words: str, kind: type[ClientError], *, acts: bool
) -> None:
    error = unreachable("cp-1", {"msg": words}, acts=acts)
    assert type(error) is kind
    assert ("unknown what took effect" in error.message) is (acts and kind is Timeout)


def test_what_fails_after_something_was_done_does_not_say_that_nothing_was() -> None:
    refused = {"msg": "ssh: connect to host 10.0.0.1 port 22: Connection refused"}
    error = unreachable("cp-1", refused, acts=True, acted=["End it"])
    assert isinstance(error, Timeout)
    assert "broke off after 'End it' had been done; it is unknown what took effect" in error.message
    sudo = failed("cp-1", "Start it", {"msg": "Missing sudo password"}, acted=["End it", "End it for good"])
    assert isinstance(sudo, BadResponse)
    assert sudo.message == (
        "task 'Start it' failed after 'End it' and 'End it for good' had been done: Missing sudo password"
    )


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
