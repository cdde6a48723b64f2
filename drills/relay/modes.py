"""What a relay does to connections."""

from dataclasses import dataclass
from enum import StrEnum


class Mode(StrEnum):
    """One way to be sick."""

    PASS = "pass"  # noqa: S105 - no password
    BLACKHOLE = "blackhole"
    """No byte goes either way, and new connections are taken by the kernel and by nobody else."""
    MUTE = "mute"
    """SETTINGS and PINGs are answered, everything else waits until the release: the connection looks alive."""
    RESET = "reset"
    """The request reaches etcd, its stream is reset towards the apiserver, and cancelled towards etcd 2 s later."""
    SLOW = "slow"
    """Each frame comes late."""
    DROP_WATCH = "drop-watch"
    """What etcd says on watches is lost. On release those connections are cut: their watches resume by revision."""


@dataclass(frozen=True, slots=True)
class Fault:
    """``resource`` (such as `configmaps`, as in /registry/configmaps/) makes that resource's channel sick alone.

    With ``only_old`` connections made after the fault began are well. ``seconds`` is the delay of `slow`.
    """

    mode: Mode
    resource: str | None = None
    only_old: bool = False
    seconds: float = 0.2


PASS = Fault(Mode.PASS)
