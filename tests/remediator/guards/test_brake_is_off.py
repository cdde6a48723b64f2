import pytest

from ballast_remediator.contract import StopKind, Verdict
from ballast_remediator.guards.brake_is_off import brake_is_off
from tests.remediator.guards.book import Book, request
from tests.remediator.guards.stopped import stop

REASON = "alerts for 6 targets came within 10 min, and the policy takes 5 for believable"


def test_it_is_off() -> None:
    answer = brake_is_off(request(), Book())
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "the brake is off")


def test_what_set_it_how_it_is_lifted_and_what_becomes_of_what_waits() -> None:
    braked = stop(StopKind.BRAKE, person="intake", reason=REASON)
    answer = brake_is_off(request(), Book(standing=[braked]))
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, False)
    assert answer.reason == (
        f"{REASON}, 5 min ago: that is rarely that many faults, so a person has to look. "
        "Then: ballastctl lift 5e1f. What waits now expires with that, and is not let loose"
    )


@pytest.mark.parametrize("kind", set(StopKind) - {StopKind.BRAKE})
def test_other_stops_are_for_other_guards(kind: StopKind) -> None:
    assert brake_is_off(request(), Book(standing=[stop(kind)])).verdict is Verdict.ALLOW
