import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube_ballast.analysis.words import duration, percent, size


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024**2, "1.5 GiB"),
        (5000 * 1024**4, "5000.0 TiB"),
        (-2048, "-2.0 KiB"),
    ],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "40 ms"),
        (0.4, "400 ms"),
        (0.9996, "1.0 s"),
        (1.44, "1.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (10, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3599.7, "1 h"),
        (18600, "5 h 10 min"),
        (86399.9, "1 d"),
        (183600, "2 d 3 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_percent() -> None:
    assert percent(0.624) == "62 %"


@given(st.integers(0, 2**60))
def test_sizes_are_short(count: int) -> None:
    assert len(size(count)) <= len("1048576.0 TiB")
