"""No member is a learner: nobody is changing the membership, and every member can be defragmented."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState

NAME = "every_member_votes"


def every_member_votes(state: EtcdState) -> Answer:
    """etcd does not defragment a learner, and its full database would arm the alarm again."""
    learners = [member.name for member in state.members if not member.voter]
    if learners:
        return refuse(
            NAME,
            f"{', '.join(learners)} is a learner: somebody is changing the membership, and a learner cannot be "
            "defragmented. Promote or remove it first",
            passing=True,
        )
    return allow(NAME, f"all {len(state.members)} members vote")
