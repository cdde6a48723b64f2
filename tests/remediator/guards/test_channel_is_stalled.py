import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.channel_is_stalled import channel_is_stalled
from tests.remediator.guards.planes import OK, REASON, SICK, STALLED, UNKNOWN, WELL, plane


def test_every_exporter_says_so() -> None:
    said = channel_is_stalled(plane({SICK: (STALLED, STALLED)}))
    assert (said.verdict, said.reason) == (Verdict.ALLOW, f"{SICK}: {REASON}")


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        ({WELL: OK}, f"no exporter has fresh evidence on {SICK}"),
        ({SICK: UNKNOWN}, f"what is told of {SICK}: unknown"),
        ({SICK: "etcd_member_bad"}, f"what is told of {SICK}: etcd_member_bad"),
        ({SICK: (STALLED, OK)}, f"what is told of {SICK}: channel_stalled, ok"),
    ],
)
def test_anything_else_is_none_and_may_pass(verdicts: dict[str, str], words: str) -> None:
    said = channel_is_stalled(plane(verdicts))
    assert (said.verdict, said.passing, said.reason) == (Verdict.REFUSE, True, words)


def test_who_did_not_answer_is_named() -> None:
    said = channel_is_stalled(plane({}, silent=("http://exporter:9790",)))
    assert said.reason.endswith(" (no answer from http://exporter:9790)")
