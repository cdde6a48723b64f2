"""What is seen on a host, parsed from what the module ``ballast_apiserver`` tells."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Denied


@dataclass(frozen=True, slots=True)
class Process:
    """A process that can be told from any other: ``started`` is ticks since the boot whose id is ``boot``."""

    pid: int
    started: int
    boot: str

    @property
    def text(self) -> str:
        """``PID STARTED BOOT``, for a step's parameters."""
        return f"{self.pid} {self.started} {self.boot}"

    @classmethod
    def parsed(cls, text: str) -> "Process":
        """What `text` gave."""
        pid, started, boot = text.split(" ")
        return cls(int(pid), int(started), boot)


@dataclass(frozen=True, slots=True)
class Sight:
    """The apiserver's process, the etcd endpoints that it is given, and its connections to them: ``LOCAL REMOTE``.

    ``stdout`` is what Ansible said, bounded.
    """

    process: Process
    endpoints: tuple[str, ...]
    connections: tuple[str, ...]
    stdout: str


class _Process(BaseModel):
    model_config = ConfigDict(extra="forbid")
    pid: int
    started: int
    boot: str


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")
    process: _Process | None = None
    endpoints: tuple[str, ...] = ()
    connections: tuple[str, ...] = ()
    problem: str | None = None
    words: str = ""


class CannotCut(Conflict):
    """This host cannot cut connections: there is no ``ss``, an old one, or its kernel is built without it."""


class Busy(Conflict):
    """Somebody acts on that apiserver there: what was begun before, and whose answer was lost, may be under way."""


class ProcessGone(Conflict):
    """Not that process serves there but another one, or none: what was begun before may have seen to that."""


class HostFailed(BadResponse):
    """A program there failed or did not answer in time, or the host does not do what it is asked: now, at least."""


_KINDS: Final[Mapping[str, type[ClientError]]] = {
    "not_permitted": Denied,
    "no_ss": CannotCut,
    "kernel_cannot": CannotCut,
    "busy": Busy,
    "process_changed": ProcessGone,
    "no_process": ProcessGone,
    "not_cut": BadResponse,
    "restart_failed": HostFailed,
    "host_failed": HostFailed,
}


def parsed(host: str, told: object, stdout: str) -> Sight:
    """Raises what the module's ``problem`` means.

    Raises:
        Denied: it takes more rights there.
        Busy: somebody acts there already.
        ProcessGone: another process serves there, or none.
        Conflict: the process or the host is not as it has to be.
        HostFailed: a restart failed, or the host does not do what it is asked.
        BadResponse: not all was cut, or this is not what the module says.
    """
    try:
        content = _Told.model_validate(told)
    except ValidationError as error:
        raise BadResponse(host, f"the module's answer cannot be read: {error.errors(include_url=False)[0]}") from error
    if content.problem is not None:
        raise _problem(host, content)
    if content.process is None:
        raise BadResponse(host, "the module's answer names no process")
    process = Process(content.process.pid, content.process.started, content.process.boot)
    return Sight(process, content.endpoints, content.connections, stdout)


def _problem(host: str, content: _Told) -> ClientError:
    return _KINDS.get(content.problem or "", Conflict)(host, content.words)
