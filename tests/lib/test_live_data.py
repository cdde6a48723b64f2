"""What the exporter told of a census, and what of it is certain now."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.etcd import MIB
from kube_ballast.analysis.live_data import PREFIX, Filling, Report, Since, Unusable, report
from kube_ballast.analysis.space import REQUEST_LIMIT, Split
from kube_ballast.clients.prometheus import Sample

GIB = 1024 * MIB
WHOLE: Mapping[str, float] = {
    "census_success": 1,
    "census_timestamp_seconds": 1000,
    "census_revision": 4711,
    "census_exact": 1,
    'keys{resource="events"}': 90,
    'keys{group="apps",resource="deployments"}': 9,
    'live_bytes{resource="events"}': 600,
    'live_bytes{group="apps",resource="deployments"}': 300,
    'sampling_error_bytes{resource="events"}': 0,
    'sampling_error_bytes{group="apps",resource="deployments"}': 0,
    'largest_bytes{resource="events"}': 40,
    'largest_bytes{group="apps",resource="deployments"}': 50,
    'foreign_keys{owner="cilium"}': 1,
    'foreign_bytes{owner="cilium"}': 100,
    'space_bytes{part="live"}': 1100,
    'space_bytes{part="half_empty"}': 100,
    'space_bytes{part="history"}': 500,
    'space_bytes{part="free"}': 300,
}


def samples(told: Mapping[str, float], **more: str) -> list[Sample]:
    """As Prometheus gives them; ``more`` labels are its own, such as the instance."""
    found = []
    for series, value in told.items():
        name, _, inner = series.partition("{")
        pairs = (pair.split("=") for pair in inner.rstrip("}").split(",") if pair)
        labels = {key: text.strip('"') for key, text in pairs}
        found.append(Sample({"__name__": PREFIX + name, "etcd_cluster": "main", **more, **labels}, value, 0.0))
    return found


def changed(**changes: float | None) -> dict[str, float]:
    """The whole census with other values for these families; None leaves one out."""
    told = dict(WHOLE)
    for series in WHOLE:
        family = series.partition("{")[0]
        if family in changes:
            value = changes[family]
            if value is None:
                del told[series]
            else:
                told[series] = value
    return told


class TestReport:
    def test_a_whole_census(self) -> None:
        found = report(samples(WHOLE, instance="a"))
        assert found == Report(
            ended=1000.0,
            revision=4711,
            keys=100,
            shares=(("events", 600), ("deployments.apps", 300), ("others' keys (cilium)", 100)),
            error=0.0,
            exact=True,
            largest=50,
            largest_event=40,
            split=Split(1100, 100, 500, 300),
        )
        assert found.stored == 1000

    def test_the_newest_of_several_tellers_and_no_mixture(self) -> None:
        older = samples({**WHOLE, "census_timestamp_seconds": 900, 'keys{resource="events"}': 5}, instance="b")
        assert report([*older, *samples(WHOLE, instance="a")]) == report(samples(WHOLE))
        assert report([*samples(WHOLE, instance="a"), *older]) == report(samples(WHOLE))

    @pytest.mark.parametrize(
        ("told", "words"),
        [
            ({}, "has no census of it"),
            (changed(census_success=0), "last attempt at a census came to nothing"),
            (changed(census_success=None), "missing (census_success)"),
            (changed(census_timestamp_seconds=None), "missing (census_timestamp_seconds)"),
            (changed(census_timestamp_seconds=math.nan), "census_timestamp_seconds nan"),
            (changed(census_revision=None), "missing (census_revision)"),
            (changed(census_exact=None), "missing (census_exact)"),
            (changed(live_bytes=math.nan), "a value that is no number (live_bytes nan)"),
            (changed(space_bytes=math.inf), "a value that is no number (space_bytes inf)"),
            (changed(keys=-1), "a value that is no number (keys -1)"),
            (changed(live_bytes=None), "missing (live_bytes)"),
            (changed(keys=None), "missing (live_bytes)"),
            (changed(sampling_error_bytes=None), "missing (sampling_error_bytes)"),
            (changed(foreign_bytes=None), "missing (foreign_bytes)"),
            (changed(space_bytes=None), "missing (space_bytes)"),
            ({k: v for k, v in WHOLE.items() if "history" not in k}, "missing (space_bytes)"),
            ({k: v for k, v in WHOLE.items() if k != 'live_bytes{resource="events"}'}, "missing (live_bytes)"),
            (changed(keys=0, foreign_keys=0), "the census is empty"),
            (changed(live_bytes=0, foreign_bytes=0), "the census is empty"),
        ],
    )
    def test_what_cannot_be_relied_on(self, told: Mapping[str, float], words: str) -> None:
        with pytest.raises(Unusable) as refused:
            report(samples(told))
        assert words in str(refused.value)

    @given(st.sets(st.sampled_from(sorted(WHOLE))))
    def test_with_any_part_missing_it_says_the_same_or_nothing(self, missing: set[str]) -> None:
        """Largest objects may be absent: then the bound counts with the largest there can be."""
        told = {series: value for series, value in WHOLE.items() if series not in missing}
        try:
            found = report(samples(told))
        except Unusable:
            return
        whole = {part.partition("{")[0] for part in missing}
        assert whole <= {"largest_bytes", "foreign_keys", "foreign_bytes", "keys", "live_bytes", "sampling_error_bytes"}
        assert found.keys <= 100
        assert found.stored <= 1000


def of(stored: float, live: float, error: float = 0.0, **more: float | None) -> Report:
    return Report(
        ended=0.0,
        revision=1,
        keys=1000,
        shares=(("events", stored),),
        error=error,
        exact=not error,
        largest=more.get("largest") or 0.0,
        largest_event=more.get("largest_event"),
        split=Split(live, 0, 0, 0),
    )


_KEYS = [f"{kind}{number}" for kind in "eo" for number in range(8)]


class TestCertainty:
    def test_what_the_pages_add_is_modelled_and_held_to_its_error(self) -> None:
        assert of(1000, 1500).at_least == pytest.approx(0.95 * 1500)
        assert of(1000, 1010).at_least == 1000

    def test_a_sample_counts_for_what_is_certain_of_it(self) -> None:
        assert of(1000, 1000, error=200).at_least == pytest.approx(800)
        assert of(1000, 1000, error=2000).at_least == 0

    def test_nothing_is_lost_while_nothing_is_written(self) -> None:
        filling = Filling(of(GIB, GIB), Since(0, 0, 0))
        assert filling.at_least == GIB

    def test_each_revision_and_each_key_that_is_gone_may_have_been_the_largest(self) -> None:
        assert Since(2, 0, 3).may_be_gone(of(GIB, GIB)) == 5 * (REQUEST_LIMIT + 4096)
        assert Since(0, 0, 1).may_be_gone(of(GIB, GIB, largest=7 * MIB)) == 7 * MIB + 4096

    def test_events_that_expired_were_no_larger_than_the_largest(self) -> None:
        assert Since(0, 100, 0).may_be_gone(of(GIB, GIB, largest_event=1000)) == 100 * 5096

    def test_but_where_sizes_were_sampled_or_events_not_told_apart_that_is_not_known(self) -> None:
        assert Since(0, 1, 0).may_be_gone(of(GIB, GIB)) == REQUEST_LIMIT + 4096
        sampled = of(GIB, GIB, error=1.0, largest_event=1000)
        assert Since(0, 1, 0).may_be_gone(sampled) == REQUEST_LIMIT + 4096

    def test_keys_that_came_make_up_for_none_that_went(self) -> None:
        assert Since(5, -100, -100).may_be_gone(of(GIB, GIB)) == 5 * (REQUEST_LIMIT + 4096)

    def test_never_below_nothing(self) -> None:
        assert Filling(of(GIB, GIB), Since(10**9, 0, 0)).at_least == 0
        assert Filling(unknown="because").at_least == 0

    @given(st.data())
    def test_the_bound_holds_whatever_is_written(self, data: st.DataObject) -> None:
        """Against a model of etcd: one object a revision, deletes as many as they like."""
        sizes = st.integers(1, REQUEST_LIMIT)
        keys = data.draw(st.dictionaries(st.sampled_from(_KEYS), sizes))
        before = dict(keys)
        stored = sum(keys.values())
        found = of(stored, stored, largest_event=max((keys[k] for k in keys if k[0] == "e"), default=None))
        revisions = data.draw(st.integers(0, 4))
        for turn in range(revisions):
            deleted = data.draw(st.sets(st.sampled_from(sorted(keys)))) if keys else set()
            if deleted:
                keys = {key: size for key, size in keys.items() if key not in deleted}
            else:
                keys[data.draw(st.sampled_from([*sorted(keys), f"e-new{turn}", f"o-new{turn}"]))] = data.draw(sizes)
        gone = {kind: sum(k[0] == kind for k in before) - sum(k[0] == kind for k in keys) for kind in "eo"}
        filling = Filling(found, Since(revisions, gone["e"], gone["o"]))
        assert filling.at_least <= sum(keys.values())


class TestWords:
    def test_the_most_first_with_age_and_revisions(self) -> None:
        filling = Filling(report(samples(WHOLE)), Since(12, 0, 0), 180.0)
        assert filling.words == (
            "what fills it (census of 100 keys 3 min ago, 12 revisions since): live data 1.1 KiB (55 %), history 500 B "
            "(25 %), free pages 300 B (15 %), half empty pages 100 B (5 %); of the live data: events 600 B (60 %), "
            "deployments.apps 300 B (30 %), others' keys (cilium) 100 B (10 %)"
        )

    def test_what_is_less_than_a_hundredth_is_left_out_but_for_live_data(self) -> None:
        told = {**WHOLE, 'space_bytes{part="history"}': 1e6, 'live_bytes{resource="events"}': 1e6}
        words = Filling(report(samples(told)), Since(0, 0, 0), 1.0).words
        assert words.endswith(
            "): history 976.6 KiB (100 %), live data 1.1 KiB (0 %); of the live data: events 976.6 KiB (100 %)"
        )

    def test_a_sample_says_so(self) -> None:
        told = changed(census_exact=0, sampling_error_bytes=30)
        words = Filling(report(samples(told)), Since(0, 0, 0), 1.0).words
        assert words.endswith(", sampled, ± 142 B"), "errors of resources and all of what strangers have"

    def test_what_is_unknown_says_why_and_when_it_will_be_known(self) -> None:
        assert Filling(unknown="nobody asked").words == (
            "what fills it is unknown: nobody asked. Whether live data leaves room shows after the compaction"
        )
