from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.live_data_fits import LIVE_DATA_HELP, live_data_fits
from kube_ballast.analysis.etcd import MIB
from kube_ballast.analysis.live_data import Filling, Report, Since
from kube_ballast.analysis.space import Split
from tests.remediator.guards.states import cluster, member

REPORT = Report(
    ended=0.0,
    revision=1,
    keys=1000,
    shares=(("events", 80.0 * MIB), ("pods", 40.0 * MIB)),
    error=0.0,
    exact=True,
    largest=1.0 * MIB,
    largest_event=1000.0,
    split=Split(126.0 * MIB, 0, 2.0 * MIB, 0),
)
SAME = Since(0, 0, 0)


def filling(live: float, since: Since = SAME) -> Filling:
    split = Split(live, 0, 0, 0)
    return Filling(replace(REPORT, shares=(("events", live),), split=split), since, 60.0)


def test_live_data_that_fills_the_quota_is_named_with_what_a_person_can_do() -> None:
    answer = live_data_fits(Filling(REPORT, SAME, 60.0), cluster(), share=0.9)
    assert answer.verdict is Verdict.REFUSE
    assert not answer.passing, "data does not go by waiting"
    assert answer.reason.startswith(
        "live data takes 126.0 MiB of a quota of 128.0 MiB (98 %), so neither compaction nor defragmentation can bring "
        "it below 90 % (live_data). What fills it (census of 1000 keys 1 min ago): live data 126.0 MiB (98 %), "
    )
    assert "events 80.0 MiB (67 %), pods 40.0 MiB (33 %). What a person can do: delete" in answer.reason
    assert answer.reason.endswith(LIVE_DATA_HELP)


def test_the_help_names_what_it_means() -> None:
    for words in (
        "deletes still pass",
        "--quota-backend-bytes (to 8589934592, 8 GiB, at most) on every member in a rolling restart",
        "if `etcdctl alarm list` shows no CORRUPT, `etcdctl alarm disarm`",
        "--etcd-servers-overrides=/events#https://HOST:2379 on every apiserver",
        "--event-ttl",
    ):
        assert words in LIVE_DATA_HELP


def test_the_smallest_quota_decides() -> None:
    one_is_small = cluster(member(1), member(2, quota=64 * MIB), member(3))
    assert live_data_fits(filling(60 * MIB), cluster(), share=0.9).verdict is Verdict.ALLOW
    assert live_data_fits(filling(60 * MIB), one_is_small, share=0.9).verdict is Verdict.REFUSE


def test_history_is_no_reason() -> None:
    answer = live_data_fits(filling(12.8 * MIB), cluster(), share=0.9)
    assert answer.verdict is Verdict.ALLOW
    assert answer.reason == "live data takes 12.8 MiB of a quota of 128.0 MiB (10 %)"


def test_what_may_have_gone_since_leaves_it_to_the_compaction() -> None:
    answer = live_data_fits(filling(120 * MIB, Since(10, 0, 0)), cluster(), share=0.9)
    assert answer.verdict is Verdict.ALLOW
    assert answer.reason.endswith("by the census, which is not certain now: it shows after the compaction")


def test_what_is_unknown_is_no_reason() -> None:
    answer = live_data_fits(Filling(unknown="the census is empty"), cluster(), share=0.9)
    assert answer.verdict is Verdict.ALLOW
    assert answer.reason.startswith("what fills it is unknown: the census is empty.")


def test_nor_is_an_unknown_quota() -> None:
    answer = live_data_fits(filling(128 * MIB), cluster(member(1), member(2, quota=None)), share=0.9)
    assert answer.verdict is Verdict.ALLOW
    assert "a quota is unknown" in answer.reason


@given(st.floats(0, 200 * MIB), st.integers(0, 5), st.integers(1, 200 * MIB))
def test_refused_only_when_certain(live: float, revisions: int, quota: int) -> None:
    seen = filling(live, Since(revisions, 0, 0))
    answer = live_data_fits(seen, cluster(member(1, quota=quota)), share=0.9)
    assert (answer.verdict is Verdict.REFUSE) is (seen.at_least >= 0.9 * quota)
