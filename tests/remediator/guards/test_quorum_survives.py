from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.quorum_survives import quorum_survives
from kube_ballast.analysis.etcd import MemberState
from tests.remediator.guards.states import cluster, member


def test_three_healthy_voters_can_spare_one() -> None:
    answer = quorum_survives(cluster())
    assert answer.verdict is Verdict.ALLOW
    assert answer.reason == "3 of 3 voters are healthy; 2 stay while one is blocked, quorum is 2"


def test_a_learner_neither_counts_nor_has_to_be_healthy() -> None:
    learner = member(4, voter=False, ready=False)
    assert quorum_survives(cluster(member(1), member(2), member(3), learner)).verdict is Verdict.ALLOW
    answer = quorum_survives(cluster(member(1), member(2), learner))
    assert answer.verdict is Verdict.REFUSE
    assert answer.reason.startswith("2 voter(s): while one is blocked, 1 stay(s) and 2 are needed")
    assert not answer.passing


def test_each_kind_of_sickness_in_words() -> None:
    sick = {
        "m3 does not answer (refused)": member(3, problem="refused"),
        "m3 knows no leader": member(3, status={"leader_id": 0}),
        "m3 is not ready (linearizable_read failed)": member(3, ready=False, ready_reason="linearizable_read failed"),
        "m3 is defragmenting": member(3, defragmenting=True),
        "m3: whether it defragments is unknown": member(3, defragmenting=None),
    }
    for words, third in sick.items():
        silent = third if third.problem is None else MemberState(**{**_fields(third), "status": None})
        answer = quorum_survives(cluster(member(1), member(2), silent))
        assert answer.verdict is Verdict.REFUSE
        assert answer.reason == f"not all voters are healthy: {words}"
        assert answer.passing


def _fields(state: MemberState) -> dict[str, object]:
    return {name: getattr(state, name) for name in MemberState.__slots__}


def test_members_that_disagree_on_leader_or_term() -> None:
    for third in (member(3, status={"leader_id": 3}), member(3, status={"raft_term": 9})):
        answer = quorum_survives(cluster(member(1), member(2), third))
        assert answer.verdict is Verdict.REFUSE
        assert answer.passing
        assert "an election is under way" in answer.reason


def test_a_member_that_nobody_configured() -> None:
    answer = quorum_survives(cluster(strangers=("m4", "m5")))
    assert answer.verdict is Verdict.REFUSE
    assert not answer.passing
    assert "the configuration does not know: m4, m5" in answer.reason


def test_no_member_at_all() -> None:
    empty = cluster()
    assert quorum_survives(type(empty)("main", (), ())).verdict is Verdict.REFUSE


MEMBERS = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from([True, False, None]), st.booleans(), st.booleans()),
    min_size=0,
    max_size=9,
)


@given(MEMBERS, st.lists(st.text(min_size=1, max_size=3), max_size=3, unique=True))
def test_allowed_means_that_the_quorum_survives(
    drawn: list[tuple[bool, bool, bool | None, bool, bool]], strangers: list[str]
) -> None:
    members = []
    for number, (voter, ready, defragmenting, answers, leads) in enumerate(drawn, start=1):
        one = member(
            number, status={"leader_id": 1 if leads else 0}, voter=voter, ready=ready, defragmenting=defragmenting
        )
        members.append(one if answers else MemberState(**{**_fields(one), "status": None}))
    state = type(cluster())("main", tuple(members), (), tuple(strangers))
    answer = quorum_survives(state)
    assert answer.reason
    voters = [m for m in members if m.voter]
    healthy = [m for m in voters if m.status and m.status.leader_id and m.ready and m.defragmenting is False]
    safe = not strangers and len(healthy) == len(voters) and len(voters) - 1 >= len(voters) // 2 + 1
    assert (answer.verdict is Verdict.ALLOW) is safe
