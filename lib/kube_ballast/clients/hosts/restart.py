"""How an apiserver is restarted, where nothing gentler helps."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from kube_ballast.clients.hosts.running import Variable


class RestartMethod(StrEnum):
    """Who runs the apiserver."""

    COMMAND = "command"
    """A program on the host, given as its arguments. It ends the process BALLAST_APISERVER_PID and starts another."""
    SYSTEMD = "systemd"
    """A unit: SIGTERM, after a short while SIGKILL, then start."""
    CRI = "cri"
    """A container of a static Pod: the runtime stops it, and the kubelet starts it again. No manifest is moved."""


@dataclass(frozen=True, slots=True)
class Restart:
    """``command`` is for `COMMAND`, ``unit`` for `SYSTEMD`, ``container`` for `CRI`; SIGKILL comes ``grace`` later."""

    method: RestartMethod
    grace: int
    command: tuple[str, ...] = ()
    unit: str = ""
    container: str = ""

    @property
    def variables(self) -> Mapping[str, Variable]:
        """What the playbook takes."""
        return {
            "ballast_method": str(self.method),
            "ballast_command": self.command,
            "ballast_unit": self.unit,
            "ballast_container": self.container,
            "ballast_grace": self.grace,
        }
