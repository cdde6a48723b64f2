from ballast_remediator.contract import Verdict
from ballast_remediator.guards.every_member_votes import every_member_votes
from tests.remediator.guards.states import cluster, member


def test_all_vote() -> None:
    answer = every_member_votes(cluster())
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "all 3 members vote")


def test_a_learner_is_waited_for() -> None:
    answer = every_member_votes(cluster(member(1), member(2), member(3), member(4, voter=False)))
    assert answer.verdict is Verdict.REFUSE
    assert answer.passing
    assert answer.reason.startswith("m4 is a learner: somebody is changing the membership")
