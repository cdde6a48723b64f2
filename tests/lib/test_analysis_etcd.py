from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.etcd import (
    MIB,
    EtcdState,
    healthy_voters_without,
    live_bytes,
    predicted_stall,
    used_ratio,
    version_tuple,
)
from kube_ballast.clients.etcd.types import Alarm, AlarmKind
from tests.remediator.guards.states import MEMBER, cluster, member


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3.5.23", (3, 5, 23)),
        ("3.6.0-rc.1", (3, 6, 0)),
        ("3.5", None),
        ("3.5.x", None),
        ("", None),
        ("3.5.1.2", None),
        ("v3.5.1", None),
        ("3.-5.1", None),
    ],
)
def test_versions(text: str, numbers: tuple[int, int, int] | None) -> None:
    assert version_tuple(text) == numbers


@given(st.integers(1, 9), st.integers(0, 4))
def test_a_quorum_is_the_smallest_majority_strangers_included(members: int, strangers: int) -> None:
    state = replace(cluster(*(member(n) for n in range(1, members + 1))), strangers=tuple("x" * strangers))
    assert 2 * state.quorum > members + strangers
    assert 2 * (state.quorum - 1) <= members + strangers


def test_who_leads() -> None:
    leader = cluster().leader()
    assert leader is not None
    assert leader.name == "m1"
    assert cluster(member(1), member(2, status={"leader_id": 2})).leader() is None
    unlisted = cluster(member(1, status={"leader_id": 9}), member(2, status={"leader_id": 9}))
    assert unlisted.leader() is None
    assert EtcdState("main", (replace(MEMBER, status=None),), ()).leader() is None


def test_alarms_by_member_name_or_id() -> None:
    state = cluster(alarms=(Alarm(2, AlarmKind.NOSPACE), Alarm(0xABC, AlarmKind.NOSPACE), Alarm(1, AlarmKind.CORRUPT)))
    assert state.armed(AlarmKind.NOSPACE) == ("abc", "m2")
    assert state.armed(AlarmKind.CORRUPT) == ("m1",)
    assert cluster(alarms=None).armed(AlarmKind.NOSPACE) == ()


def test_how_many_voters_stay() -> None:
    state = cluster(member(1), member(2, ready=False), member(3), member(4, voter=False))
    assert healthy_voters_without(state, "m1") == 1
    assert healthy_voters_without(state, "m2") == 2


@pytest.mark.parametrize("quota", [None, 0, -1])
def test_no_ratio_without_a_quota(quota: int | None) -> None:
    assert used_ratio(member(1, quota=quota)) is None


def test_ratios_and_stalls() -> None:
    assert used_ratio(member(1, quota=200 * MIB)) == pytest.approx(0.5)
    assert used_ratio(replace(MEMBER, status=None)) is None
    assert predicted_stall(100, 50.0) == pytest.approx(2.0)


def test_what_the_data_takes_is_told_by_the_member_that_gave_most_back() -> None:
    late = member(3, status={"db_size_in_use": 90 * MIB})
    assert live_bytes(cluster(member(1), replace(MEMBER, status=None), late)) == 40 * MIB
    assert live_bytes(EtcdState("main", (replace(MEMBER, status=None),), ())) is None


def test_a_member_by_its_name() -> None:
    found = cluster().member("m2")
    assert found is not None
    assert found.name == "m2"
    assert cluster().member("m9") is None
