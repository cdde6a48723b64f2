import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.process_is_known import process_is_known
from tests.remediator.guards.planes import SICK, plane


def test_it_was_found() -> None:
    said = process_is_known(plane())
    assert said.verdict is Verdict.ALLOW
    assert said.reason == "process 4711 listens on its address and is an apiserver"


@pytest.mark.parametrize("passing", [True, False])
def test_why_it_was_not(*, passing: bool) -> None:
    said = process_is_known(plane(process=None, host_problem="cp-1: sudo does not make us root", host_passing=passing))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, passing)
    assert said.reason == f"the process of {SICK} is not known: cp-1: sudo does not make us root"
