"""Control planes built by hand: three apiservers, of which the first is the target and stalls."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kube_ballast.analysis.control_plane import ControlPlane, MemberReads
from kube_ballast.clients.exporter import Finding

NAMES = ("10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443")
SICK, WELL, OTHER = NAMES
REASON = "ping is answered, etcd is not reached for leases, pods"
ENDPOINTS = ("https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379")
STALLED, OK, UNKNOWN = "channel_stalled", "ok", "unknown"


def finding(name: str, verdict: str, at: float = 1000.0) -> Finding:
    return Finding("grpc_stall", name, verdict, () if verdict == OK else (REASON,), at, at + 5.0)


def told(verdicts: Mapping[str, str | tuple[str, ...]]) -> dict[str, tuple[Finding, ...]]:
    """By apiserver: the verdict of one exporter, or those of several."""
    return {
        name: tuple(finding(name, one) for one in ((given,) if isinstance(given, str) else given))
        for name, given in verdicts.items()
    }


def members(**changes: Any) -> tuple[MemberReads, ...]:
    """Three that answer; the changes are of the first, which the target uses alone."""
    first, *others = (MemberReads(endpoint, endpoint == ENDPOINTS[0], None, False) for endpoint in ENDPOINTS)  # noqa: FBT003
    return (replace(first, **changes), *others)


def plane(verdicts: Mapping[str, str | tuple[str, ...]] | None = None, **changes: Any) -> ControlPlane:
    """The first stalls, the others are ok, unless ``verdicts`` say otherwise."""
    seen = ControlPlane(
        target=SICK,
        names=NAMES,
        told=told({SICK: STALLED, WELL: OK, OTHER: OK} if verdicts is None else verdicts),
        silent=(),
        members=members(),
        process="4711",
        connections=65,
    )
    return replace(seen, **changes)
