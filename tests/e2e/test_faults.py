"""The remediator while everything around it fails: the short version of `make faults`."""

import secrets

import pytest

from drills.faults import script
from drills.faults.__main__ import report
from drills.faults.points import StoreKind

pytestmark = pytest.mark.e2e
POINTS = 30


@pytest.mark.parametrize("store", StoreKind)
def test_nothing_is_lost_and_nothing_is_done_twice(store: StoreKind) -> None:
    seed = secrets.randbelow(10**6)
    counts = script.run(seed, store, points=POINTS, side_by_side=2, size=POINTS // 2)

    assert counts.violations == {}, report(counts, seed, store)
    assert sum(counts.faults.values()) + sum(counts.skipped.values()) == POINTS
    assert counts.accepted > POINTS
    assert counts.effects > POINTS
