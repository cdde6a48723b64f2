"""How often fake nodes renew their Leases is decided once the machine has settled, and how many do is counted."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drills.stack import Fleet, StackError, kwok
from drills.stack.kwok import Lease, LeaseSpec, renewing, settled


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ((0.6, 0.9), 0.6),
        ((0.9, 0.8, 0.65, 0.9), 0.65),  # it only fell: they need not renew less often
        ((0.9, 0.895, 0.6), 0.895),  # it is as busy as it stays
        ((0.99, 0.95, 0.91, 0.87, 0.83, 0.79), 0.83),  # no longer than that
    ],
)
def test_a_busy_machine_is_measured_until_it_has_settled(measured: tuple[float, ...], expected: float) -> None:
    results = iter(measured)
    assert settled(lambda: next(results)) == expected


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A control plane whose Leases were renewed so many seconds ago, one never."""
    now = datetime.now(tz=UTC)
    ages = (0.0, 10.0, 20.0, 40.0)
    leases = [Lease(LeaseSpec(now - timedelta(seconds=age))) for age in ages] + [Lease(LeaseSpec())]
    asked = SimpleNamespace(list=lambda *_, **__: SimpleNamespace(items=leases))
    monkeypatch.setattr(kwok, "Kubernetes", lambda *_, **__: asked)
    (tmp_path / "kubeconfig").touch()
    return SimpleNamespace(admin=tmp_path / "kubeconfig")


def fleet(*, running: bool) -> Fleet:
    process: Any = SimpleNamespace(running=running, name="kwok-80", tail=lambda: "")
    return Fleet(process, nodes=5, renewed_every=20.0, busy=0.5)


def test_who_renewed_within_one_and_a_half_periods_counts(kubernetes: Any) -> None:
    assert renewing(kubernetes, fleet(running=True)) == 0.6


def test_a_fleet_that_has_ended_is_no_fleet(kubernetes: Any) -> None:
    with pytest.raises(StackError, match="kwok-80 has ended"):
        renewing(kubernetes, fleet(running=False))
