"""Every etcd member that this apiserver uses is known, and answers a linearizable and a serializable read."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.control_plane import ControlPlane

NAME = "its_etcd_answers"


def its_etcd_answers(state: ControlPlane) -> Answer:
    """Asked directly, right now. A member that does not answer us may not answer the apiserver either."""
    used = [member for member in state.members if member.used]
    if not used:
        return refuse(NAME, f"no etcd member is known that {state.target} uses")
    if state.strangers and state.unresolved:
        are = "is" if len(state.unresolved) == 1 else "are"
        return refuse(
            NAME,
            f"whether {', '.join(state.strangers)}, with which {state.target} was started, is a configured member "
            f"cannot be told: {', '.join(state.unresolved)} {are} not resolved here",
            passing=True,
        )
    if state.strangers:
        return refuse(
            NAME,
            f"{state.target} was started with {', '.join(state.strangers)} as its etcd, which is no configured member, "
            "so that only others would be asked. If it is one by another address, name the members that it uses in "
            "apiservers.instances[].etcd",
        )
    sick = [f"{member.endpoint} ({member.problem})" for member in used if member.problem is not None]
    if sick:
        return refuse(NAME, f"members that {state.target} uses do not answer reads: {'; '.join(sick)}", passing=True)
    return allow(NAME, f"reads are answered by {', '.join(member.endpoint for member in used)}")
