"""All voters are healthy, and enough of them stay while one is away."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState, healthy_voters_without

NAME = "quorum_survives"


def quorum_survives(state: EtcdState) -> Answer:
    """Projects the membership to the moment when one member is blocked.

    A member that etcd lists and nobody configured counts as a voter of unknown health. With one or two
    voters, one that is away takes the cluster with it.
    """
    if state.strangers:
        return refuse(
            NAME,
            f"etcd lists members that the configuration does not know: {', '.join(state.strangers)}. "
            "Add them under etcd.members",
        )
    sick = [member.trouble for member in state.voters if not member.healthy]
    if sick:
        return refuse(NAME, f"not all voters are healthy: {'; '.join(sick)}", passing=True)
    leaders = {(m.status.leader_id, m.status.raft_term) for m in state.voters if m.status is not None}
    if len(leaders) != 1:
        return refuse(NAME, "the members disagree on the leader or the term: an election is under way", passing=True)
    voters = len(state.voters)
    left = min((healthy_voters_without(state, member.name) for member in state.voters), default=0)
    if left < state.quorum:
        return refuse(
            NAME,
            f"{voters} voter(s): while one is blocked, {left} stay(s) and {state.quorum} are needed, so the "
            "cluster would be down. That is an outage to be declared by people, not a repair",
        )
    return allow(
        NAME,
        f"{voters} of {voters} voters are healthy; {left} stay while one is blocked, quorum is {state.quorum}",
    )
