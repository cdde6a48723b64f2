"""What Ansible, ssh and sudo say when it goes wrong, as `kube_ballast.clients.errors`, one clear message each."""

import re
from collections.abc import Mapping
from typing import Any, Final

from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Denied, Timeout, Unavailable

_NOT_REACHED: Final = (
    "connection refused",
    "connection timed out",
    "operation timed out",
    "no route to host",
    "network is unreachable",
    "could not resolve hostname",
    "connection closed by unknown port",
    "stdio forwarding failed",
    "banner exchange",
    "connection reset by peer",
    "kex_exchange_identification",
)
"""What ssh says before anything could begin there."""
_BROKE_OFF: Final = re.compile(
    r"client_loop|read from remote host|ssh_dispatch_run_fatal|connection to \S+ closed by remote host"
)
"""What it says of a connection that there was, whatever else is told."""
_KEY: Final = ("host key verification failed", "remote host identification has changed", "host key is known")
_WHO: Final = ("permission denied (", "too many authentication failures", "no supported authentication")
_SUDO: Final = (
    "missing sudo password",
    "incorrect sudo password",
    "a password is required",
    "a terminal is required",
    "not in the sudoers file",
    "not allowed to execute",
    "waiting for become success",
    "waiting for privilege escalation",
    "privilege escalation",
    "sudo: not found",
    "sudo: command not found",
)
_SEVERAL: Final = "the inventory has several hosts"
"""As the playbooks say it."""
_TEXT: Final = 400
"""Of what was said, so much is told; what it means is looked for in all of it."""


def unreachable(host: str, result: Mapping[str, Any], *, acts: bool) -> ClientError:
    """Why the host did not answer. A way that breaks off after it was there says nothing of what was done."""
    said = _said(result)
    words, told = said[:_TEXT], said.lower()
    if _BROKE_OFF.search(told) is None:
        if any(each in told for each in _KEY):
            return Denied(host, f"its ssh host key is not the one in known_hosts_file: nothing was done ({words})")
        if any(each in told for each in _WHO):
            return Denied(host, f"ssh does not let us in: nothing was done ({words})")
        if any(each in told for each in _NOT_REACHED):
            return Unavailable(host, f"the host is not reached by ssh: nothing was done ({words})")
    unknown = "it is unknown what took effect" if acts else "nothing was to be changed"
    return Timeout(host, f"the way to the host broke off; {unknown} ({words})")


def failed(host: str, task: str, result: Mapping[str, Any]) -> ClientError:
    """Why a task did not do what it should."""
    said = _said(result)
    words, told = said[:_TEXT], said.lower()
    if told.startswith(_SEVERAL):
        return Conflict(host, words)
    if any(each in told for each in _SUDO):
        return Denied(host, f"sudo does not make us root there: nothing was done ({words})")
    if "interpreter" in told and ("not found" in told or "no such file" in told):
        return Conflict(host, f"there is no Python on the host that Ansible could use: nothing was done ({words})")
    return BadResponse(host, f"task {task!r} failed: {words}")


def _said(result: Mapping[str, Any]) -> str:
    parts = [str(result.get(key) or "") for key in ("msg", "module_stderr", "stderr")]
    return " ".join(" ".join(dict.fromkeys(part for part in parts if part)).split())
