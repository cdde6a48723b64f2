"""What the host tells: a clock that is set, and the kill switch's file."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Jump, Verdict
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.guards.clock_is_steady import clock_is_steady
from tests.remediator.guards.book import Book, request

MINUTE = 60.0


@dataclass
class Host:
    """A host whose clocks go when a test says so."""

    wall: float = 1_800_000_000.0
    monotonic: float = 5000.0
    surroundings: Surroundings = field(init=False)

    def __post_init__(self) -> None:
        self.surroundings = Surroundings(None, wall=lambda: self.wall, monotonic=lambda: self.monotonic)

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def jump(self) -> Jump | None:
        return self.surroundings.host().jump

    def steady(self) -> bool:
        return clock_is_steady(request(), Book(jump=self.jump())).verdict is Verdict.ALLOW


def test_a_clock_that_goes_evenly_was_never_set() -> None:
    host = Host()
    for _ in range(100):
        host.wait(10.0)
        host.wall += 0.001  # slewed
        assert host.jump() is None


@pytest.mark.parametrize("seconds", [10 * MINUTE, -10 * MINUTE])
def test_a_jump_of_ten_minutes_is_seen_and_waited_out(seconds: float) -> None:
    host = Host()
    host.wait(5.0)
    host.wall += seconds
    seen = host.jump()
    assert seen is not None
    assert (seen.seconds, seen.ago) == (pytest.approx(seconds), 0.0)
    assert not host.steady()
    host.wait(9 * MINUTE)
    assert not host.steady()
    host.wait(MINUTE + 0.1)
    assert host.steady()


def test_a_small_correction_does_not_make_a_large_jump_forgotten() -> None:
    host = Host()
    host.wall += 10 * MINUTE
    assert not host.steady()
    host.wait(10.0)
    host.wall -= 2.0
    seen = host.jump()
    assert seen is not None
    assert seen.seconds == pytest.approx(598.0)
    assert not host.steady()


def test_several_forward_count_together() -> None:
    host = Host()
    for _ in range(3):
        host.wall += 20.0
        host.jump()
        host.wait(5.0)
    seen = host.jump()
    assert seen is not None
    assert seen.seconds == pytest.approx(60.0)
    assert not host.steady()


def test_what_was_written_down_while_the_clock_was_back_looks_old_when_it_is_right_again() -> None:
    host = Host()
    host.wall -= 10 * MINUTE
    assert not host.steady()
    host.wait(MINUTE)
    host.wall += 10 * MINUTE
    seen = host.jump()
    assert seen is not None
    assert seen.seconds == pytest.approx(600.0)
    assert not host.steady()


def test_a_jump_is_forgotten_after_a_day() -> None:
    host = Host()
    host.wall += 10 * MINUTE
    assert host.jump() is not None
    host.wait(86400.0)
    assert host.jump() is not None
    host.wait(1.0)
    assert host.jump() is None


@given(st.lists(st.tuples(st.floats(1.0, 3600.0), st.floats(-900.0, 900.0)), min_size=1, max_size=12))
def test_no_row_of_jumps_makes_anything_look_older_than_it_is_told(rows: list[tuple[float, float]]) -> None:
    """Whenever something was written down today, the clock overstates its age by no more than the jump says."""
    host = Host()
    written: list[tuple[float, float]] = []
    for seconds, moved in rows:
        written.append((host.wall, host.monotonic))
        host.wall += moved
        seen = host.jump()
        for wall, monotonic in written:
            overstated = (host.wall - wall) - (host.monotonic - monotonic)
            told = 0.0 if seen is None else max(0.0, seen.seconds)
            # A time since the epoch is good for a microsecond as a float.
            assert overstated <= told + len(rows) * (1.0 + 1e-6), "less than a second each goes unnoticed"
        host.wait(seconds)


# --- The kill switch's file ---


def test_no_file_is_configured_or_there(tmp_path: Path) -> None:
    assert Surroundings(None).kill_switch_file() is None
    assert Surroundings(tmp_path / "STOP").kill_switch_file() is None


def test_a_folder_that_is_not_there_hides_no_file(tmp_path: Path) -> None:
    file = tmp_path / "volume" / "STOP"
    assert Surroundings(file).kill_switch_file() == str(file)


def test_whatever_is_there_stops(tmp_path: Path) -> None:
    file, folder, dangling = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.touch(mode=0o000)
    folder.mkdir()
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (file, folder, dangling):
        surroundings = Surroundings(path)
        assert surroundings.kill_switch_file() == surroundings.host().kill_switch_file == str(path)


def test_it_is_looked_at_each_time(tmp_path: Path) -> None:
    path = tmp_path / "STOP"
    surroundings = Surroundings(path)
    path.touch()
    assert surroundings.host().kill_switch_file == str(path)
    path.unlink()
    assert surroundings.host().kill_switch_file is None


def test_one_that_cannot_be_looked_at_is_taken_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "no-folder").touch()
    in_a_file = tmp_path / "no-folder" / "STOP"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (in_a_file, loop / "STOP", tmp_path / ("x" * 5000)):
        assert Surroundings(path).kill_switch_file() == str(path)
