"""Another apiserver of the cluster is seen to be well, by the evidence and by its own word."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.control_plane import ControlPlane
from kube_ballast.analysis.stall import Verdict

NAME = "another_apiserver_is_ok"


def another_apiserver_is_ok(state: ControlPlane) -> Answer:
    """It shows that etcd works, and carries what the sick one cannot while that is cured.

    When all of them stall at once it is not one apiserver's channel, and a cure for that would only add to it.
    An exporter alone is not believed: it may be wrong, or somebody else may answer at its address.
    """
    well = [name for name in state.others(Verdict.OK) if name not in state.unready]
    if well:
        return allow(NAME, f"ok: {', '.join(well)}")
    others = [name for name in state.names if name != state.target]
    if others and state.others(Verdict.CHANNEL_STALLED) == tuple(others):
        return refuse(
            NAME,
            f"all {len(state.names)} apiservers stall at once: that is not one apiserver's channel. A person has to "
            "look at what they share: the network to etcd, its certificates, etcd itself",
        )
    words = ", ".join(f"{name}: {_words(state, name)}" for name in others) or "there is none"
    return refuse(NAME, f"no other apiserver is seen to be ok ({words})", passing=bool(others))


def _words(state: ControlPlane, name: str) -> str:
    said = state.words(name)
    if said != Verdict.OK or name not in state.unready:
        return said
    return f"{said}, but it does not say that it is ready: {state.unready[name]}"
