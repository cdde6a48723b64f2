from ballast_remediator.contract import Verdict
from ballast_remediator.guards.gentler_cure_was_possible import gentler_cure_was_possible
from tests.remediator.guards.planes import plane


def test_it_is_tried_first() -> None:
    assert gentler_cure_was_possible(plane()).verdict is Verdict.ALLOW


def test_where_it_cannot_be_tried_a_person_says_so() -> None:
    said = gentler_cure_was_possible(plane(cannot_cut="there is no ss on this host: install iproute2"))
    assert said.verdict is Verdict.ASK
    assert "nothing gentler was tried: there is no ss on this host" in said.reason
