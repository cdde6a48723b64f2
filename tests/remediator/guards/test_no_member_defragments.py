import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.no_member_defragments import no_member_defragments
from tests.remediator.guards.planes import ENDPOINTS, members, plane


def test_none_does() -> None:
    assert no_member_defragments(plane()).verdict is Verdict.ALLOW


@pytest.mark.parametrize("used", [True, False])
@pytest.mark.parametrize(
    ("defragmenting", "words"),
    [
        (True, f"{ENDPOINTS[0]} defragments: that is waited out, and nothing is done"),
        (None, f"whether {ENDPOINTS[0]} defragments is unknown: its metrics cannot be read (metrics_url)"),
    ],
)
def test_one_does_or_does_not_tell(*, used: bool, defragmenting: bool | None, words: str) -> None:
    said = no_member_defragments(plane(members=members(used=used, defragmenting=defragmenting)))
    assert (said.verdict, said.passing, said.reason) == (Verdict.REFUSE, True, words)
