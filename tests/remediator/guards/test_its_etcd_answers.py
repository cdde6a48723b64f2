from ballast_remediator.contract import Verdict
from ballast_remediator.guards.its_etcd_answers import its_etcd_answers
from tests.remediator.guards.planes import ENDPOINTS, SICK, members, plane


def test_the_members_that_it_uses_answer() -> None:
    said = its_etcd_answers(plane())
    assert (said.verdict, said.reason) == (Verdict.ALLOW, f"reads are answered by {ENDPOINTS[0]}")


def test_one_that_it_uses_does_not() -> None:
    said = its_etcd_answers(plane(members=members(problem="no answer within 3 s")))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, True)
    assert said.reason == f"members that {SICK} uses do not answer reads: {ENDPOINTS[0]} (no answer within 3 s)"


def test_that_none_is_known_is_no_all_clear() -> None:
    said = its_etcd_answers(plane(members=members(used=False)))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == f"no etcd member is known that {SICK} uses"


def test_a_member_that_others_use_may_be_down() -> None:
    first, second, third = members()
    down = (first, second, type(third)(third.endpoint, used=False, problem="refused", defragmenting=None))
    assert its_etcd_answers(plane(members=down)).verdict is Verdict.ALLOW


def test_a_name_that_is_not_resolved_may_be_that_of_any_address() -> None:
    said = its_etcd_answers(plane(strangers=("10.0.9.9:2379",), unresolved=("etcd-1.example",)))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, True)
    assert said.reason == (
        f"whether 10.0.9.9:2379, with which {SICK} was started, is a configured member cannot be told: etcd-1.example "
        "is not resolved here"
    )
    several = its_etcd_answers(plane(strangers=("10.0.9.9:2379",), unresolved=("etcd-1.example", "etcd-2.example")))
    assert several.reason.endswith("cannot be told: etcd-1.example, etcd-2.example are not resolved here")
    assert its_etcd_answers(plane(unresolved=("etcd-1.example",))).verdict is Verdict.ALLOW


def test_an_etcd_that_nobody_configured_is_not_asked_so_that_nothing_is_known_of_it() -> None:
    said = its_etcd_answers(plane(strangers=("10.0.9.9:2379", "10.0.9.8:2379")))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason.startswith(
        f"{SICK} was started with 10.0.9.9:2379, 10.0.9.8:2379 as its etcd, which is no configured member"
    )
