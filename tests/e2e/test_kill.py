"""The remediator under kill -9: the short version of `make faults`."""

import pytest

from drills.faults import kill

pytestmark = pytest.mark.e2e
POINTS = 50


def test_no_kill_loses_an_alert_repeats_a_step_or_blocks_two_members() -> None:
    counts = kill.run(points=POINTS, seed=None)

    assert counts.violations == []
    assert counts.accepted > 0
    assert counts.defragmentations > 0
