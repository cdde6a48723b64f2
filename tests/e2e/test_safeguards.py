"""The fault script notices when one safeguard is missing: else that it finds nothing would say nothing."""

import pytest

from drills.faults.points import LEASE, REPLICAS, Fault, Point, StoreKind
from drills.faults.script import Round, carry_out

pytestmark = pytest.mark.e2e


POINTS = 12
"""At most: the first few are enough."""


def points(fault: Fault, aim: str | None = None, *, lasts: float = 2.0, replicas: int = 1) -> tuple[Point, ...]:
    """The same fault again and again, on one replica after the other."""
    return tuple(
        Point(number=number, fault=fault, replica=number % replicas, aim=aim, offset=0.1, lasts=lasts, jump=0.0)
        for number in range(POINTS)
    )


def missed(without: str, store: StoreKind, given: tuple[Point, ...], until: str | None) -> set[str]:
    """What was violated without that safeguard."""
    return set(carry_out(Round(0, store, given, without=without, real=False, lanes=1, until=until)).violations)


def test_without_the_fence_a_zombie_acts() -> None:
    name = "actions by a fenced replica"
    paused = points(Fault.PAUSE, "sustain", lasts=3 * LEASE, replicas=REPLICAS)
    assert name in missed("fence", StoreKind.POSTGRESQL, paused, name)


def test_without_locks_runs_overlap() -> None:
    name = "overlaps on a target or a lock"
    assert name in missed("lock", StoreKind.SQLITE, points(Fault.BLINK, "sustain", lasts=0.1), name)


def test_without_another_try_the_store_lacks_what_was_done() -> None:
    name = "effects without an intention"
    assert name in missed("retry", StoreKind.SQLITE, points(Fault.DISK_FULL, "sustain"), name)


@pytest.mark.parametrize(
    ("store", "fault", "times"),
    [
        (StoreKind.SQLITE, Fault.POWER_CUT, 1),
        # Of PostgreSQL only the last, unfinished page of the log is lost: what was written is in the kernel's memory.
        (StoreKind.POSTGRESQL, Fault.SERVER_KILLED, 8),
    ],
)
def test_without_fsync_accepted_alerts_are_lost(store: StoreKind, fault: Fault, times: int) -> None:
    name = "accepted alerts lost"
    assert name in missed("fsync", store, points(fault)[:times], None)
