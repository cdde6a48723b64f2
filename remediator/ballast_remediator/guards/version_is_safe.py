"""No member runs an etcd that may corrupt its data in a defragmentation."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState, version_tuple

NAME = "version_is_safe"
FLOORS = {(3, 5): (3, 5, 23), (3, 6): (3, 6, 5)}
"""First safe patch per minor: before it, a defragmentation beside an applied snapshot can corrupt (etcd#20653)."""


def version_is_safe(state: EtcdState, *, accept_unsafe: bool = False) -> Answer:
    """``accept_unsafe`` is the operator's override for versions below the floor."""
    unsafe = []
    for member in state.members:
        if member.status is None:
            return refuse(NAME, f"the version of {member.name} is unknown: it does not answer")
        version = version_tuple(member.status.version)
        floor = None if version is None else FLOORS.get(version[:2])
        if version is None or floor is None or version < floor:
            unsafe.append(f"{member.name} runs {member.status.version}")
    if not unsafe:
        return allow(NAME, f"every member runs a release that defragments safely ({_wanted()})")
    words = f"{', '.join(unsafe)}; tried and safe are {_wanted()}"
    if accept_unsafe:
        return allow(NAME, f"{words}. The configuration accepts the risk (accept_unsafe_versions)")
    return refuse(NAME, f"{words}. Upgrade etcd, or accept the risk with accept_unsafe_versions")


def _wanted() -> str:
    return " and ".join(
        f"{major}.{minor}.{patch} or a later {major}.{minor}" for major, minor, patch in FLOORS.values()
    )
