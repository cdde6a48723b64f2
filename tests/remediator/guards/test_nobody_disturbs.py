import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.nobody_disturbs import nobody_disturbs
from tests.remediator.guards.states import cluster, member


def test_quiet() -> None:
    assert nobody_disturbs(cluster()).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    ("defragmenting", "snapshots", "words"),
    [
        (None, 0, "whether somebody defragments or snapshots m2 is unknown: its metrics cannot be read (metrics_url)"),
        (False, None, "whether somebody defragments or snapshots m2 is unknown"),
        (True, 0, "m2 is being defragmented by somebody else"),
        (False, 1, "1 snapshot(s) of m2 are being read; a defragmentation would hang until they end"),
        (False, 2, "2 snapshot(s) of m2 are being read; a defragmentation would hang until they end"),
    ],
)
def test_every_disturbance_may_pass(*, defragmenting: bool | None, snapshots: int | None, words: str) -> None:
    busy = member(2, defragmenting=defragmenting, snapshots_in_flight=snapshots)
    answer = nobody_disturbs(cluster(member(1), busy, member(3)))
    assert answer.verdict is Verdict.REFUSE
    assert answer.passing
    assert answer.reason.startswith(words)
