"""What is known of a cluster's apiservers, their etcd and one apiserver's process, and what follows from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kube_ballast.clients.exporter import Finding

MIB = 1024 * 1024
IN_FLIGHT_SHARE, IN_FLIGHT_MORE = 1.25, 10
"""Requests come and go: a quarter more, and ten, are no growth."""
MEMORY_SHARE, MEMORY_MORE = 1.02, 16 * MIB


@dataclass(frozen=True, slots=True)
class MemberReads:
    """An etcd member asked directly: ``problem`` is why it does not answer a read, None when it answers both kinds.

    ``used`` is whether the apiserver in question asks it; ``defragmenting`` is None where that is unknown.
    """

    endpoint: str
    used: bool
    problem: str | None
    defragmenting: bool | None


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A cluster as seen for the sake of the apiserver ``target``.

    ``told`` is fresh evidence by apiserver, from every exporter that answered; ``silent`` are those that did not.
    ``process`` (in words), ``connections`` to etcd and ``cannot_cut`` are from its host, None where that was not seen.
    """

    target: str
    names: tuple[str, ...]
    told: Mapping[str, tuple[Finding, ...]]
    silent: tuple[str, ...]
    members: tuple[MemberReads, ...]
    process: str | None
    connections: int | None
    host_problem: str | None = None
    host_passing: bool = False
    """The host may well answer in a minute."""
    cannot_cut: str | None = None
    unready: Mapping[str, str] = field(default_factory=dict)
    """The apiservers besides the target that did not say on /readyz that they are ready, and why."""
    tellers: tuple[str, ...] = ()
    """The exporters that tell of the target."""
    strangers: tuple[str, ...] = ()
    """IP:PORT of each etcd that its process was started with and that is none of the members, as far as can be told."""
    unresolved: tuple[str, ...] = ()
    """The names of members that are not resolved here: a stranger may be one of them."""

    def others(self, verdict: str) -> tuple[str, ...]:
        """The apiservers besides the target of which everybody says that, and somebody does."""
        return tuple(name for name in self.names if name != self.target and self.verdict(name) == verdict)

    def verdict(self, name: str) -> str | None:
        """What is said of that apiserver; None where nothing is, or not by all the same."""
        verdicts = {one.verdict for one in self.told.get(name, ())}
        return verdicts.pop() if len(verdicts) == 1 else None

    def words(self, name: str) -> str:
        """All that is said of it."""
        return " and ".join(sorted({one.verdict for one in self.told.get(name, ())})) or "no fresh evidence"

    @property
    def silence(self) -> str:
        """Who did not answer, to end a sentence with."""
        return f" (no answer from {', '.join(self.silent)})" if self.silent else ""


@dataclass(frozen=True, slots=True)
class Load:
    """What one apiserver carries: requests in flight, and its resident memory in bytes."""

    in_flight: float
    memory_bytes: float


def unsettled(before: Load, now: Load) -> str | None:
    """What still grows between two looks some seconds apart, in words; None when nothing does."""
    if now.in_flight > before.in_flight * IN_FLIGHT_SHARE + IN_FLIGHT_MORE:
        return f"requests in flight grow from {before.in_flight:.0f} to {now.in_flight:.0f}"
    if now.memory_bytes > before.memory_bytes * MEMORY_SHARE + MEMORY_MORE:
        return f"its memory grows from {before.memory_bytes / MIB:.0f} to {now.memory_bytes / MIB:.0f} MiB"
    return None
