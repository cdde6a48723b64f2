import pytest

from ballast_remediator.contract import StopKind, Verdict
from ballast_remediator.guards.nobody_is_at_work import nobody_is_at_work
from tests.remediator.guards.book import Book, request
from tests.remediator.guards.stopped import ELSEWHERE, stop


def test_nobody_is() -> None:
    answer = nobody_is_at_work(request(), Book())
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "nobody holds the target or its cluster")


@pytest.mark.parametrize(
    ("kind", "scope", "words"),
    [
        (StopKind.FREEZE, {"cluster": "here"}, "cluster here"),
        (StopKind.HOLD, {"cluster": "here", "target": "main"}, "target main of cluster here"),
    ],
)
def test_somebody_is(kind: StopKind, scope: dict[str, str], words: str) -> None:
    answer = nobody_is_at_work(request(), Book(standing=[stop(kind, **scope)]))
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, False)
    assert answer.reason == (
        f"anna is at work on {words} and said so 5 min ago (rack move). When that is over: ballastctl lift 5e1f"
    )


@pytest.mark.parametrize("kind", [StopKind.FREEZE, StopKind.HOLD])
@pytest.mark.parametrize("scope", ELSEWHERE)
def test_somebody_is_at_work_on_something_else(kind: StopKind, scope: dict[str, str]) -> None:
    assert nobody_is_at_work(request(), Book(standing=[stop(kind, **scope)])).verdict is Verdict.ALLOW


@pytest.mark.parametrize("kind", [StopKind.KILL_SWITCH, StopKind.BRAKE])
def test_other_stops_are_for_other_guards(kind: StopKind) -> None:
    assert nobody_is_at_work(request(), Book(standing=[stop(kind)])).verdict is Verdict.ALLOW


def test_a_node_of_its_control_plane_is_worked_on() -> None:
    book = Book(worked_on={"here": {"cp-2": "is cordoned"}})
    answer = nobody_is_at_work(request(), book)
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert answer.reason == (
        "Node cp-2 of cluster here is cordoned: somebody works on the control plane. When that is over: "
        "kubectl uncordon cp-2, or kubectl annotate --overwrite node cp-2 ballast/at-work=no"
    )
    elsewhere = Book(worked_on={"there": {"cp-2": "is cordoned"}})
    assert nobody_is_at_work(request(), elsewhere).verdict is Verdict.ALLOW
