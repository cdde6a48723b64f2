"""How often fake nodes renew their Leases is decided once the machine has settled."""

import pytest

from drills.stack.kwok import settled


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
