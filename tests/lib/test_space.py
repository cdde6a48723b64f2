"""What follows from a census, in numbers and in words."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis import space
from kube_ballast.analysis.census import Census, Usage, together
from kube_ballast.analysis.etcd import EtcdState, MemberState
from kube_ballast.analysis.keyspace import Resource
from kube_ballast.analysis.pages import Records
from kube_ballast.analysis.ranges import Sized
from kube_ballast.analysis.space import Cure, Point, Split
from kube_ballast.clients.etcd.types import Status

MIB, GIB = 2**20, 2**30
STATUS = Status(
    member_id=1,
    cluster_id=1,
    version="3.5.30",
    db_size=100 * MIB,
    db_size_in_use=80 * MIB,
    quota=None,
    leader_id=2,
    raft_term=1,
    raft_index=1,
    raft_applied_index=1,
    revision=1000,
    is_learner=False,
    errors=(),
)
EVENTS, PODS, WIDGETS = Resource("", "events"), Resource("", "pods"), Resource("example.com", "widgets")


def usage(stored: float | None, keys: int = 100, writes: int | None = None, largest: int = 1000) -> Usage:
    return Usage(keys, stored, 0.0, writes, (Sized(largest, b"/registry/a/b"),))


def census(
    resources: dict[Resource, Usage], foreign: dict[str, Usage] | None = None, since: int | None = None
) -> Census:
    return Census(
        revision=1000,
        since=since,
        compacted=1,
        began=0.0,
        ended=1.0,
        member="http://10.0.0.1:2379",
        status=STATUS,
        restarts=0,
        requests=1,
        usage=resources,
        foreign=foreign or {},
        records=Records(),
    )


def test_a_census_adds_up() -> None:
    whole = census({PODS: usage(300.0, 3, 5), EVENTS: usage(500.0, 5, 70)}, {"cilium": usage(200.0, 2, 0)}, since=900)
    assert (whole.keys, whole.stored, whole.error, whole.exact) == (10, 1000, 0, True)
    assert (whole.writes, whole.unattributed) == (75, 25)
    assert space.share(whole.usage[EVENTS], whole) == 0.5


def test_more_writes_than_revisions_leave_nothing_unattributed() -> None:
    assert census({PODS: usage(1.0, 1, 500)}, since=900).unattributed == 0


def test_what_is_unknown_of_one_is_unknown_of_all() -> None:
    part = census({PODS: usage(300.0), EVENTS: Usage(5, None, None, None)})
    assert (part.stored, part.error, part.exact, part.writes, part.unattributed) == (None, None, False, None, None)
    assert space.share(part.usage[PODS], part) is None


def test_several_usages_are_one() -> None:
    rest = together([usage(300.0, 3), usage(200.0, 7, largest=9000)])
    assert rest is not None
    assert (rest.keys, rest.stored, rest.largest[0].size) == (10, 500, 9000)
    unknown = together([usage(300.0, 3), Usage(5, None, None, None)])
    assert unknown is not None
    assert (unknown.keys, unknown.stored, unknown.error, unknown.writes) == (8, None, None, None)
    assert together([]) is None


# --- where the bytes are ---


def test_a_split_is_the_file_even_where_the_model_knows_better() -> None:
    one = census({PODS: usage(1000.0, 1)})
    one.records.add([(1000, 200 * MIB)])
    split = space.split(one)
    assert split is not None
    assert (split.live, split.half_empty, split.history, split.free) == (80 * MIB, 0, 0, 20 * MIB)
    assert split.size == STATUS.db_size


def test_the_file_of_another_member_is_split_with_the_same_keys() -> None:
    one = census({PODS: usage(1000.0, 1)})
    one.records.add([(1000, 967)])
    split = space.split(one, replace(STATUS, db_size=400 * MIB, db_size_in_use=MIB))
    assert split is not None
    assert split.free == 399 * MIB
    assert split.both_return == split.size - split.live


def test_without_sizes_there_is_no_split() -> None:
    assert space.split(census({PODS: Usage(5, None, None, None)})) is None


def test_an_empty_etcd_has_one() -> None:
    assert space.split(census({})) is not None


# --- when it is full ---


def test_growth_is_that_of_the_many_not_of_the_odd_one() -> None:
    steady = [Point(at, 1000.0 + 2 * at) for at in range(20)]
    assert space.growth(steady) == 2
    assert space.growth([*steady, Point(10.5, 1e9)]) == pytest.approx(2)
    assert space.growth(steady[:1]) is None
    assert space.growth([Point(1, 5), Point(1, 9)]) is None


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**9)), min_size=2, max_size=20), st.randoms())
def test_growth_does_not_depend_on_the_order(values: list[tuple[int, int]], chance: object) -> None:
    points = [Point(*value) for value in values]
    mixed = points.copy()
    chance.shuffle(mixed)
    assert space.growth(points) == space.growth(mixed)


def test_it_is_full_when_live_data_has_used_up_the_free_pages_and_the_rest_of_the_quota() -> None:
    split = Split(live=600 * MIB, half_empty=50 * MIB, history=150 * MIB, free=100 * MIB)
    assert space.seconds_until_full(split, 1000 * MIB, MIB) == 200
    assert space.seconds_until_full(split, 900 * MIB, MIB) == 0
    assert space.seconds_until_full(split, 1000 * MIB, 0.0) is None
    assert space.seconds_until_full(split, 1000 * MIB, -5.0) is None


def test_each_member_stalls_for_what_it_has_in_use() -> None:
    split = Split(live=20 * MIB, half_empty=0, history=50 * MIB, free=20 * MIB)
    sizes = {"etcd-1": 80 * MIB, "etcd-2": 60 * MIB}
    members = tuple(
        MemberState(
            name=name,
            endpoint=f"http://{name}:2379",
            voter=True,
            status=replace(STATUS, db_size_in_use=in_use),
            problem=None,
            ready=True,
            ready_reason="",
            defragmenting=False,
            snapshots_in_flight=0,
            quota=None,
            disk_free=None,
            disk_words="",
        )
        for name, in_use in sizes.items()
    )
    silent = replace(members[0], name="etcd-3", status=None)
    assert [
        (stall.member, stall.now, stall.after_compaction)
        for stall in space.stalls(EtcdState("main", (*members, silent), ()), split, 10 * MIB)
    ] == [("etcd-1", 8, 3), ("etcd-2", 6, 2)]


# --- what to do ---

CALM = Split(live=500 * MIB, half_empty=20 * MIB, history=50 * MIB, free=30 * MIB)


def cures(one: Census, split: Split = CALM, quota: int | None = 8 * GIB) -> list[Cure]:
    return [advice.cure for advice in space.advise(one, split, quota)]


def words(one: Census, cure: Cure, split: Split = CALM, quota: int | None = 8 * GIB) -> str:
    (found,) = [advice.words for advice in space.advise(one, split, quota) if advice.cure is cure]
    return found


def many(stored: float, writes: int | None = None) -> dict[Resource, Usage]:
    """Ten resources of which none stands out."""
    return {Resource("", f"r{number}"): usage(stored / 10, 100, writes) for number in range(10)}


def test_where_nothing_is_out_of_proportion_nothing_is_advised() -> None:
    assert cures(census(many(400 * MIB))) == []


def test_events_that_dominate_get_an_etcd_of_their_own() -> None:
    one = census({**many(200 * MIB, 10), EVENTS: usage(200 * MIB, 90_000, 900)}, since=0)
    text = words(one, Cure.OWN_ETCD)
    assert "events holds 200.0 MiB in 90000 objects: 50 % of all live bytes and 90 % of the writes" in text
    assert "--etcd-servers-overrides=/events#https://HOST:2379" in text
    assert "--event-ttl" in text
    (advice,) = space.advise(one, CALM, 8 * GIB)
    assert advice.returns == 250 * MIB


def test_a_custom_resource_cannot_have_one() -> None:
    one = census({**many(200 * MIB), WIDGETS: usage(300 * MIB)})
    assert "cannot have an etcd of its own" in words(one, Cure.FEWER_OBJECTS)
    leases = Resource("coordination.k8s.io", "leases")
    assert "overrides=coordination.k8s.io/leases#" in words(census({leases: usage(300 * MIB)}), Cure.OWN_ETCD)


def test_a_small_etcd_is_left_alone() -> None:
    assert cures(census({EVENTS: usage(5 * MIB)}), Split(6 * MIB, 0, 50 * MIB, 40 * MIB)) == []


def test_history_and_free_pages_are_told_with_what_they_return() -> None:
    split = Split(live=200 * MIB, half_empty=10 * MIB, history=600 * MIB, free=300 * MIB)
    assert cures(census(many(180 * MIB)), split) == [Cure.COMPACT, Cure.DEFRAGMENT]
    assert "600.0 MiB of 1.1 GiB" in words(census(many(180 * MIB)), Cure.COMPACT, split)
    assert "takes 300.0 MiB off" in words(census(many(180 * MIB)), Cure.DEFRAGMENT, split)


def test_live_data_that_fills_the_quota_is_a_matter_of_deleting_or_of_the_quota() -> None:
    split = Split(live=1800 * MIB, half_empty=0, history=100 * MIB, free=50 * MIB)
    one = census(many(1700 * MIB))
    assert cures(one, split, 2 * GIB) == [Cure.DELETE, Cure.QUOTA]
    assert "1.8 GiB of a quota of 2.0 GiB (88 %)" in words(one, Cure.DELETE, split, 2 * GIB)
    assert "2.0 GiB, the default" in words(one, Cure.QUOTA, split, 2 * GIB)
    assert cures(one, split, 8 * GIB) == []
    assert cures(one, split, None) == []


def test_an_object_that_nears_the_limit_of_a_request_is_named() -> None:
    one = census({**many(400 * MIB), WIDGETS: usage(MIB, largest=1_400_000)})
    assert "1.3 MiB (widgets.example.com)" in words(one, Cure.SHRINK_OBJECTS)


def test_strangers_that_use_the_quota_are_named() -> None:
    one = census(many(400 * MIB), {"cilium": usage(50 * MIB), "/calico": usage(2.0)})
    assert "cilium, /calico" in words(one, Cure.STRANGERS)


@given(
    st.lists(st.floats(0, 1e12), min_size=4, max_size=4),
    st.dictionaries(
        st.sampled_from([EVENTS, PODS, WIDGETS]),
        st.builds(usage, st.none() | st.floats(0, 1e12), st.integers(0, 10**7), st.none() | st.integers(0, 10**7)),
    ),
    st.none() | st.integers(1, 2**40),
    st.none() | st.integers(0, 1000),
)
def test_advice_is_always_words(
    parts: list[float], resources: dict[Resource, Usage], quota: int | None, since: int | None
) -> None:
    for advice in space.advise(census(resources, since=since), Split(*parts), quota):
        assert advice.words.endswith(".")
        assert math.isfinite(advice.returns)
