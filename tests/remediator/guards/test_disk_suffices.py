from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.disk_suffices import disk_suffices
from kube_ballast.analysis.etcd import MIB
from tests.remediator.guards.states import cluster, member

SIZES = st.integers(0, 2**40)


def test_room_for_the_copy() -> None:
    assert disk_suffices(cluster()).verdict is Verdict.ALLOW
    exact = member(1, disk_free=40.0 * MIB)
    assert disk_suffices(cluster(exact)).verdict is Verdict.ALLOW


def test_too_little_names_every_member_and_outweighs_the_unknown() -> None:
    short, other = member(1, disk_free=40.0 * MIB - 1), member(2, disk_free=0.0)
    answer = disk_suffices(cluster(short, other, member(3, disk_free=None)))
    assert answer.verdict is Verdict.REFUSE
    assert not answer.passing
    assert "m1 has 40.0 MiB free and needs 40.0 MiB; m2 has 0 B free and needs 40.0 MiB" in answer.reason


def test_unknown_is_a_question_with_what_to_do() -> None:
    answer = disk_suffices(cluster(member(1, disk_free=None, disk_words="no disk is configured for it"), member(2)))
    assert answer.verdict is Verdict.ASK
    assert answer.reason == (
        "free disk is unknown for m1 (no disk is configured for it). Look with df, then accept disk_suffices by name"
    )


@given(st.lists(st.tuples(SIZES, st.none() | SIZES), min_size=1, max_size=9))
def test_allowed_only_where_every_copy_fits(drawn: list[tuple[int, int | None]]) -> None:
    members = [
        member(number, status={"db_size_in_use": in_use}, disk_free=None if free is None else float(free))
        for number, (in_use, free) in enumerate(drawn, start=1)
    ]
    verdict = disk_suffices(cluster(*members)).verdict
    if any(free is not None and free < in_use for in_use, free in drawn):
        assert verdict is Verdict.REFUSE
    elif any(free is None for _, free in drawn):
        assert verdict is Verdict.ASK
    else:
        assert verdict is Verdict.ALLOW
