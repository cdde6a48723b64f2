"""The guards that are asked inside the claiming transaction."""

from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.lock_is_free import lock_is_free
from ballast_remediator.guards.target_is_not_quarantined import target_is_not_quarantined
from tests.remediator.guards.book import Book, request

REQUEST = request()


def test_free_locks_and_our_own() -> None:
    assert lock_is_free(REQUEST, Book()).verdict is Verdict.ALLOW
    assert lock_is_free(REQUEST, Book({"here/main": "me"})).verdict is Verdict.ALLOW


def test_a_lock_that_another_run_holds() -> None:
    answer = lock_is_free(REQUEST, Book({"here/control-plane": "other"}))
    assert answer.verdict is Verdict.REFUSE
    assert answer.reason.startswith("run other holds the lock here/control-plane. ")
    assert answer.reason.endswith("ballastctl resolve other")


@given(st.dictionaries(st.sampled_from(["here/main", "here/control-plane", "there/main"]), st.sampled_from("ab")))
def test_any_foreign_holder_of_any_needed_lock_forbids(held: dict[str, str]) -> None:
    allowed = lock_is_free(REQUEST, Book(held)).verdict is Verdict.ALLOW
    assert allowed is not any(lock in held for lock in REQUEST.locks)


def test_a_quarantined_target() -> None:
    assert target_is_not_quarantined(REQUEST, Book()).verdict is Verdict.ALLOW
    answer = target_is_not_quarantined(REQUEST, Book(quarantine={"main": "f00"}))
    assert answer.verdict is Verdict.REFUSE
    assert answer.reason.startswith(
        "the outcome of run f00 is unknown, so main is left alone until a person has looked"
    )
    assert "ballastctl resolve f00" in answer.reason
