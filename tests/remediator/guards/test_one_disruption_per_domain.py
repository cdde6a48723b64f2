from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.one_disruption_per_domain import one_disruption_per_domain
from tests.remediator.guards.book import Book, request

RACKS = ("here/domain/rack-1", "here/domain/rack-2")
REQUEST = request(domains=RACKS)


def test_nobody_else_disturbs_them() -> None:
    answer = one_disruption_per_domain(REQUEST, Book({RACKS[0]: "me", "here/domain/rack-3": "other"}))
    assert (answer.verdict, answer.reason) == (
        Verdict.ALLOW,
        "no other run disturbs here/domain/rack-1, here/domain/rack-2",
    )


def test_a_plan_that_disturbs_nothing() -> None:
    answer = one_disruption_per_domain(request(domains=()), Book({RACKS[0]: "other"}))
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "no other run disturbs what this one does")


def test_another_run_disturbs_one() -> None:
    answer = one_disruption_per_domain(REQUEST, Book({RACKS[1]: "f00"}))
    assert (answer.verdict, answer.reason) == (
        Verdict.REFUSE,
        "run f00 disturbs the failure domain here/domain/rack-2",
    )


@given(st.dictionaries(st.sampled_from([*RACKS, "there/domain/rack-1"]), st.sampled_from(["me", "a", "b"])))
def test_any_foreign_holder_of_any_of_its_domains_forbids(held: dict[str, str]) -> None:
    allowed = one_disruption_per_domain(REQUEST, Book(held)).verdict is Verdict.ALLOW
    assert allowed is not any(held.get(rack, "me") != "me" for rack in RACKS)
