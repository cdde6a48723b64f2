from collections.abc import Sequence

import pytest

from ballast_remediator.contract import Stop, StopKind, Target, Verdict
from ballast_remediator.guards.kill_switch_is_off import kill_switch_is_off
from tests.remediator.guards.book import Book, request
from tests.remediator.guards.stopped import ELSEWHERE, SCOPES, stop

KILL = StopKind.KILL_SWITCH


def test_it_is_off() -> None:
    answer = kill_switch_is_off(request(), Book())
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "no kill switch is set")


@pytest.mark.parametrize(("scope", "words"), SCOPES)
def test_whoever_set_it_is_named_with_what_it_covers_and_how_it_is_lifted(scope: dict[str, str], words: str) -> None:
    answer = kill_switch_is_off(request(), Book(standing=[stop(KILL, **scope)]))
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, False)
    assert answer.reason == (f"anna stopped {words} 5 min ago (rack move). When it may go on: ballastctl lift 5e1f")


@pytest.mark.parametrize("scope", ELSEWHERE)
def test_one_that_covers_something_else(scope: dict[str, str]) -> None:
    assert kill_switch_is_off(request(), Book(standing=[stop(KILL, **scope)])).verdict is Verdict.ALLOW


@pytest.mark.parametrize("kind", set(StopKind) - {KILL})
def test_other_stops_are_for_other_guards(kind: StopKind) -> None:
    assert kill_switch_is_off(request(), Book(standing=[stop(kind)])).verdict is Verdict.ALLOW


def test_the_file_needs_no_database() -> None:
    class Gone(Book):
        def stops(self, target: Target) -> Sequence[Stop]:
            raise AssertionError(f"the store was asked about {target}")

    answer = kill_switch_is_off(request(), Gone(kill_switch_file="/etc/ballast/STOP"))
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, False)
    assert answer.reason == (
        "the kill switch's file /etc/ballast/STOP is there, or cannot be looked at: nothing runs until somebody "
        "removes it"
    )
