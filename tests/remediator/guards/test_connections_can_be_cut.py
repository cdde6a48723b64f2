from ballast_remediator.contract import Verdict
from ballast_remediator.guards.connections_can_be_cut import connections_can_be_cut
from tests.remediator.guards.planes import plane


def test_it_was_tried() -> None:
    assert connections_can_be_cut(plane()).verdict is Verdict.ALLOW


def test_the_kernel_cannot() -> None:
    said = connections_can_be_cut(plane(cannot_cut="the kernel does not cut connections"))
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason.startswith("the kernel does not cut connections. Nothing else cuts exactly these")
