"""Where hosts are: Ansible's inventory, its settings, and ssh's configuration, written for one playbook."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kube_ballast.clients.errors import Conflict, LocalDisk
from kube_ballast.clients.hosts.nodes import NodesCache
from kube_ballast.config import HostsConfig, SshConfig

CONNECT_SECONDS: Final = 5
JUMP: Final = "ballast-jump-host"
_SSH, _SETTINGS = "ssh_config", "ansible.cfg"


def write(config: HostsConfig, nodes: NodesCache | None, host: str, folder: Path) -> Path:
    """The inventory's path; what had to be made for it lies in ``folder``.

    Raises:
        Conflict: no Node has that address, or the inventory's file is not there.
        LocalDisk: Nodes were never seen, or ssh's files cannot be named in its configuration.
    """
    (folder / _SETTINGS).write_text("[defaults]\n")  # empty: the environment says all
    if config.ssh is not None:
        (folder / _SSH).write_text(_ssh_config(config.ssh))
    if config.inventory is not None:
        if not config.inventory.exists():
            raise Conflict(host, f"the inventory {config.inventory} is not there: nothing was done")
        return config.inventory.resolve()
    own: dict[str, Any] = {}
    if config.local:
        own = {"ansible_connection": "local", "ansible_python_interpreter": config.python or sys.executable}
    elif nodes is not None:
        own = {"ansible_host": nodes.address(host)}
    file = folder / "inventory.json"
    file.write_text(json.dumps({"all": {"hosts": {host: own}}}))
    return file


def variables(config: HostsConfig, folder: Path) -> Mapping[str, str | int]:
    """What no inventory replaces: its own arguments for ssh come later, and ssh heeds the first of an option.

    But of two ``-F`` it takes the last: an inventory that has one says all that its options here do not.
    """
    options = [
        # One connection a task, and none that outlives the playbook.
        *("ControlMaster=no", "ControlPath=none"),
        *("BatchMode=yes", "StrictHostKeyChecking=yes"),
    ]
    arguments = []
    if config.ssh is not None:
        arguments = ["-F", str(folder / _SSH)]
        options += [f"UserKnownHostsFile={_quoted(config.ssh.known_hosts_file)}", "GlobalKnownHostsFile=none"]
    return {
        "ansible_ssh_args": shlex.join([*arguments, *(each for one in options for each in ("-o", one))]),
        # Nothing acts a second time that nobody asked for.
        "ansible_ssh_retries": 0,
        # Modules go through ssh's own stdin: nothing is written on the host, and no sftp is needed. A terminal would
        # be in the way of that, and hang up on what goes on.
        "ansible_pipelining": True,
        "ansible_ssh_pipelining": True,
        "ansible_ssh_use_tty": False,
    }


def environment(config: HostsConfig, folder: Path) -> Mapping[str, str]:
    """For Ansible alone: nobody's own configuration changes what is done. Variables of an inventory win over it."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    kept = {name: os.environ[name] for name in ("SSH_AUTH_SOCK", "HOME") if name in os.environ}
    return {
        **kept,
        "PATH": path,
        "LANG": "C.UTF-8",
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_CONFIG": str(folder / _SETTINGS),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        "ANSIBLE_TIMEOUT": str(CONNECT_SECONDS),
        "ANSIBLE_BECOME": str(config.become),
        "ANSIBLE_PYTHON_INTERPRETER": config.python or "auto_silent",
    }


def _ssh_config(config: SshConfig) -> str:
    """A jump host has the same keys and known hosts: ssh hands this very file on to it."""
    lines = [
        "StrictHostKeyChecking yes",
        f"UserKnownHostsFile {_quoted(config.known_hosts_file)}",
        "GlobalKnownHostsFile none",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        f"ConnectTimeout {CONNECT_SECONDS}",
        "ServerAliveInterval 5",
        "ServerAliveCountMax 2",
    ]
    if config.private_key_file is not None:
        lines += [f"IdentityFile {_quoted(config.private_key_file)}", "IdentitiesOnly yes"]
    # ssh takes the first value that it finds: the jump host is told apart before all others.
    jump, others = [], []
    if config.jump is not None:
        user, _, address = config.jump.rpartition("@")
        name, _, port = address.partition(":")
        jump = [f"Host {JUMP}", f"  HostName {name}", *([f"  User {user}"] if user else [])]
        jump += [f"  Port {port}"] if port else []
        others += [f"  ProxyJump {JUMP}"]
    others += [f"  User {config.user}"] if config.user else []
    others += [f"  Port {config.port}"] if config.port else []
    return "\n".join([*jump, f"Host * !{JUMP}", *others, "Host *", *(f"  {line}" for line in lines)]) + "\n"


def _quoted(file: Path) -> str:
    path = str(file.resolve())
    if any(sign in path for sign in '"\\\n%$'):
        raise LocalDisk(path, "ssh's configuration cannot name a file like this")
    return f'"{path}"'
