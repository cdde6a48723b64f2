"""The pictures of the dashboards: when they are taken, and with which browser."""

from pathlib import Path

import pytest

from drills import pictures
from drills.space import Phases
from tools import chromium, debian


def test_pictures_are_taken_when_warned_when_paged_for_and_when_all_is_over() -> None:
    phases = Phases(warned=45.0, nospace=75.0, fired=78.8, restored=85.0, cluster_restored=95.0)
    assert pictures.moments(1000.0, phases) == {"filling": 1050.0, "full": 1081.0, "freed": 1100.0}


def test_no_picture_of_a_drill_that_did_not_end() -> None:
    with pytest.raises(ValueError, match="did not come to its end: nospace, fired"):
        pictures.moments(1000.0, Phases(warned=45.0))


def test_a_story_that_nobody_tells_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert pictures.main(["evnts"]) == 2
    assert capsys.readouterr().err == "no such story: evnts; there are demo, events, configmaps, stall\n"


def program(path: Path, exit_code: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\nexit {exit_code}\n")
    path.chmod(0o755)
    return path


def test_the_browser_on_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = program(tmp_path / "chromium")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium.chromium() == found


def test_a_browser_unpacked_before_is_taken_when_the_one_on_path_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin" / "chromium", exit_code=1)
    unpacked = program(tmp_path / "tools" / "chromium")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(chromium, "CONTENT", unpacked.parent)
    assert chromium.chromium() == unpacked


def test_without_any_browser_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(chromium, "TOOLS", tmp_path)
    monkeypatch.setattr(chromium, "CONTENT", tmp_path / "debian" / "chromium")
    with pytest.raises(chromium.ChromiumError, match=r"no apt-get on this machine\nPut chromium on PATH"):
        chromium.chromium()


def test_packages_are_laid_into_one_folder(tmp_path: Path) -> None:
    debs = []
    for name in ("one", "two"):
        control = tmp_path / name / "DEBIAN" / "control"
        control.parent.mkdir(parents=True)
        control.write_text(f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n")
        (tmp_path / name / "usr").mkdir()
        (tmp_path / name / "usr" / name).touch()
        debs.append(tmp_path / f"{name}.deb")
        debian._run("dpkg-deb", "--root-owner-group", "-b", str(tmp_path / name), str(debs[-1]), timeout=60)
    debian.unpack_together(debs, tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all" / "usr").iterdir()) == ["one", "two"]
