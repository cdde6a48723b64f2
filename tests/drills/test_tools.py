"""`make tools` takes what is there in a good version, and says what is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drills.stack.process import ROOT, TOOLS
from tools import debian, fetch


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def run_fetch(clone: Path, path: str) -> subprocess.CompletedProcess[str]:
    """Run it in a fresh clone with that PATH and an empty cache."""
    if not clone.exists():
        shutil.copytree(ROOT / "tools", clone / "tools")
    return subprocess.run(
        [sys.executable, "-m", "tools.fetch"],
        cwd=clone,
        env={"PATH": path, "XDG_CACHE_HOME": str(clone / "cache")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_programs_on_path_are_linked(tmp_path: Path) -> None:
    for _ in range(2):
        done = run_fetch(tmp_path / "clone", f"{TOOLS}:{os.defpath}")
        assert done.returncode == 0, done.stderr
    links = sorted((tmp_path / "clone" / ".tools" / "bin").iterdir())
    assert [link.name for link in links] == sorted(program.name for program in fetch.PROGRAMS)
    assert all(link.readlink() == TOOLS / link.name for link in links)


def test_neither_program_nor_apt_says_what_is_wanted(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_fetch(tmp_path / "clone", str(empty))
    assert done.returncode == 1
    assert "  etcd: 3.5 from 3.5.23 on, or 3.6 from 3.6.5 on\n" in done.stderr
    assert "there is no apt-get on this machine" in done.stderr
    assert "Put the programs on PATH" in done.stderr


def test_an_old_program_on_path_is_left_aside(tmp_path: Path) -> None:
    script(tmp_path / "etcd", "echo etcd Version: 3.5.22")
    done = run_fetch(tmp_path / "clone", str(tmp_path))
    assert done.returncode == 1
    assert f"{tmp_path}/etcd is left aside" in done.stdout


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        ((3, 5, 22), False),
        ((3, 5, 23), True),
        ((3, 6, 4), False),
        ((3, 6, 5), True),
        ((4, 0, 0), False),
    ],
)
def test_etcd_versions_that_can_corrupt_data_are_refused(version: fetch.Version, *, accepted: bool) -> None:
    assert (version in fetch.ETCD) is accepted


def test_package_names_are_read_with_and_without_epoch() -> None:
    prometheus = fetch.Program("prometheus", "prometheus", fetch.PROMETHEUS)
    assert fetch.offers(prometheus, "prometheus_3.5.3+ds1-6_amd64.deb")
    assert fetch.offers(prometheus, "prometheus_1%3a2.53.3+ds1-2_amd64.deb")
    assert not fetch.offers(prometheus, "prometheus_2.42.0+ds-5_amd64.deb")
    assert not fetch.offers(prometheus, "prometheus_strange.deb")


def test_only_debian_archives_are_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uris = [
        ("http://archive.example/debian/", "bookworm"),
        ("http://archive.example/debian-security/", "bookworm-security"),
        ("http://archive.example/debian", "trixie"),
        ("http://snapshot.example/archive/debian/20260101T000000Z", "bookworm"),
        ("mirror+file:/etc/apt/mirrors/debian.list", "bookworm"),
        ("http://vendor.example", "bookworm"),
        ("http://vendor.example/apt", "stable"),
        ("http://vendor.example/debian", "nodistro"),
    ]
    lines = "\n".join(f"'{uri.rstrip('/')}/dists/{suite}/main/binary-amd64/Packages.xz' x 0" for uri, suite in uris)
    (tmp_path / "uris").write_text(lines)
    script(tmp_path / "apt-get", f'exec cat "{tmp_path}/uris"')
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert debian.mirrors() == [
        "http://archive.example/debian",
        "http://snapshot.example/archive/debian/20260101T000000Z",
        "mirror+file:/etc/apt/mirrors/debian.list",
    ]


def test_a_relocated_program_reads_its_own_share(tmp_path: Path) -> None:
    content = tmp_path / "content"
    (content / "usr" / "bin").mkdir(parents=True)
    (content / "usr" / "share" / "prometheus").mkdir(parents=True)
    (content / "usr" / "share" / "prometheus" / "a.tmpl").write_text("a template")
    script(content / "usr" / "bin" / "reader", "exec cat /usr/share/prometheus/a.tmpl")
    plain = script(content / "usr" / "bin" / "plain", "exit 0")
    relocated = debian.relocate(content, "reader")
    link = tmp_path / "link"
    link.symlink_to(relocated)
    assert subprocess.check_output([link], cwd="/", text=True) == "a template"
    assert debian.relocate(content, "plain") == plain
