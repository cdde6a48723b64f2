"""The fault script notices when one safeguard is missing: else that it finds nothing would say nothing."""

from collections.abc import Sequence

import pytest

from drills.faults.points import REPLICAS, Fault, Point, StoreKind
from drills.faults.script import Round, carry_out

pytestmark = pytest.mark.e2e


def points(count: int, fault: Fault, aim: str | None = None, *, lasts: float = 3.0, replicas: int = 1) -> list[Point]:
    """The same fault so many times, on one replica after the other."""
    return [
        Point(number=number, fault=fault, replica=number % replicas, aim=aim, offset=0.1, lasts=lasts, jump=0.0)
        for number in range(count)
    ]


def missed(without: str, store: StoreKind, given: Sequence[Point]) -> set[str]:
    """What was violated without that safeguard."""
    one = Round(0, store, tuple(given), without=without, real=False, lanes=1, drain_within=10.0)
    return set(carry_out(one).violations)


def test_without_the_fence_a_zombie_acts() -> None:
    paused = points(6, Fault.PAUSE, "sustain", lasts=5.0, replicas=REPLICAS)
    assert "actions by a fenced replica" in missed("fence", StoreKind.POSTGRESQL, paused)


def test_without_locks_runs_overlap() -> None:
    assert "overlaps on a target or a lock" in missed("lock", StoreKind.SQLITE, points(1, Fault.BLINK, lasts=6.0))


def test_without_another_try_a_checkpoint_is_missing() -> None:
    full = points(3, Fault.DISK_FULL, "sustain")
    assert "steps done without their effect" in missed("retry", StoreKind.SQLITE, full)


@pytest.mark.parametrize(
    ("store", "fault"), [(StoreKind.SQLITE, Fault.POWER_CUT), (StoreKind.POSTGRESQL, Fault.SERVER_KILLED)]
)
def test_without_fsync_accepted_alerts_are_lost(store: StoreKind, fault: Fault) -> None:
    assert "accepted alerts lost" in missed("fsync", store, points(2, fault))
