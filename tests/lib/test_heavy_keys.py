"""Whatever comes in whatever order: nothing is lost, no series goes down, and the bound holds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.heavy_keys import HeavyKeys

KEYS = st.integers(0, 40).map(str)
ACTS = st.lists(st.one_of(st.lists(KEYS, max_size=60), st.sampled_from(["choose", "halve"])), max_size=40)


@given(ACTS)
def test_the_told_the_remainder_and_the_retired_are_all_events_and_none_goes_down(
    acts: list[list[str] | str],
) -> None:
    heavy: HeavyKeys[str] = HeavyKeys(3, kept=6)
    events, before, sums = 0, dict(heavy.told), (0, 0)
    for act in acts:
        if act == "choose":
            heavy.choose()
        elif act == "halve":
            heavy.halve()
        else:
            for key in act:
                heavy.add(key)
                events += 1
        assert heavy.events == events == sum(heavy.told.values()) + heavy.remainder + heavy.retired
        assert len(heavy.told) <= 3
        for key, count in heavy.told.items():
            if key in before:
                assert count >= before[key]
            else:
                assert count == 0
        assert (heavy.remainder, heavy.retired) >= sums
        assert heavy.retired >= sums[1]
        before, sums = dict(heavy.told), (heavy.remainder, heavy.retired)


@given(ACTS)
def test_no_key_without_a_series_has_more_than_the_bound(acts: list[list[str] | str]) -> None:
    heavy: HeavyKeys[str] = HeavyKeys(3, kept=6)
    weights: Counter[str] = Counter()
    fading: dict[str, float] = {}
    for act in acts:
        if act == "choose":
            heavy.choose()
        elif act == "halve":
            heavy.halve()
            fading = {key: (fading.get(key, 0.0) + weights[key]) / 2 for key in weights | fading}
            weights.clear()
        else:
            for key in act:
                heavy.add(key)
            weights.update(act)
        bound = heavy.error_bound()
        for key in weights | fading:
            if key not in heavy.told:
                assert weights[key] + fading.get(key, 0.0) <= bound + 1e-9


def test_memory_is_bounded_whatever_comes() -> None:
    heavy: HeavyKeys[int] = HeavyKeys(10, kept=100)
    for number in range(100_000):
        heavy.add(number)
        heavy.add(-1)
    heavy.choose()
    assert -1 in heavy.told
    assert len(heavy._weights) <= 201
    assert heavy.events == 200_000


def test_two_that_are_alike_do_not_change_places_and_a_flood_takes_one() -> None:
    heavy: HeavyKeys[str] = HeavyKeys(1)
    for key in ("a",) * 10:
        heavy.add(key)
    heavy.choose()
    for key in ("b",) * 20:
        heavy.add(key)
    heavy.choose()
    assert list(heavy.told) == ["a"]
    heavy.add("a")
    for key in ("b",) * 3:
        heavy.add(key)
    heavy.choose()
    assert (dict(heavy.told), heavy.retired) == ({"b": 0}, 1)


def test_more_told_than_kept_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="where 5 are kept"):
        HeavyKeys(6, kept=5)
