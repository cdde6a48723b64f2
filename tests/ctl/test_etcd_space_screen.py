"""What `ballastctl etcd space` looks like."""

import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import ioctl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballastctl.bars import bar, stacked
from drills.filling import fill
from drills.stack import EtcdCluster, Stack
from tests.ctl.spaces import COMMAND, ROOT, STYLE, report, space


@contextmanager
def terminal(*arguments: str, columns: int = 80, **environment: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The command on a terminal so wide."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(
        [*COMMAND, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=clean | environment
    ) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            os.close(ours)
            process.wait(timeout=60)


def everything(descriptor: int) -> str:
    shown = b""
    with suppress(OSError):  # that is how a terminal ends
        while piece := os.read(descriptor, 4096):
            shown += piece
    return shown.decode()


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_it_fits_the_terminal(filled: EtcdCluster, columns: int) -> None:
    where = ("--endpoints", filled.endpoints[0], "--prefix", ROOT, "--fast")
    with terminal(*where, columns=columns) as (process, descriptor):
        shown = everything(descriptor)
    assert process.returncode == 0
    assert "\x1b[34m" in shown
    lines = [STYLE.sub("", line.rpartition("\x1b[K")[2]) for line in shown.split("\r\n")]
    assert max(map(len, lines)) <= columns
    assert any(line.startswith("  pods ") and "█" in line for line in lines)
    for words in ("Live data is", "What each cure gives back", "Whose they are", "not of an apiserver"):
        assert words in shown


def test_no_colour_when_that_is_wished(filled: EtcdCluster) -> None:
    where = ("--endpoints", filled.endpoints[0], "--prefix", ROOT, "--fast")
    with terminal(*where, NO_COLOR="1") as (_, descriptor):
        assert not STYLE.search(everything(descriptor))
    assert "\x1b" not in space(filled).output


def test_a_full_etcd_says_so_first(stack: Stack) -> None:
    etcd = stack.etcd(quota_bytes=16 * 2**20)
    fill(etcd, keys=2)
    heading, alarm, *rest = space(etcd, prefix="/registry").stdout.splitlines()
    assert heading.startswith("etcd 3.")
    assert alarm == f"ALARM NOSPACE, raised by {etcd.members[0].name}: the cluster takes deletes only"
    (verdict,) = [line for line in rest if line.startswith("History is")]
    assert verdict.endswith(f"of {etcd.members[0].name}: old revisions that nobody compacted")
    shown = report(space(etcd, "-o", "json", prefix="/registry"))
    assert shown["etcd"]["alarms"] == [{"member": etcd.members[0].name, "kind": "NOSPACE"}]
    assert shown["cures"]["both_bytes"] > 8 * 2**20


def test_what_is_watched_fits_the_screen(filled: EtcdCluster) -> None:
    where = ("--endpoints", filled.endpoints[0], "--prefix", ROOT, "--fast", "--watch", "1s")
    with terminal(*where) as (process, descriptor):
        shown = b""
        while shown.count(b"until Ctrl-C.") < 2:
            shown += os.read(descriptor, 4096)
        process.send_signal(signal.SIGINT)
        everything(descriptor)
    assert process.returncode == 130
    screens = shown.decode(errors="replace").split("\x1b[H\x1b[2J")
    assert max(screen.count("\r\n") for screen in screens) < 50
    assert "Growth in" in screens[2]


@given(st.floats(-1, 2), st.integers(1, 60))
def test_a_bar_has_its_width(ratio: float, width: int) -> None:
    assert len(STYLE.sub("", bar(ratio, width, colour="red"))) == width


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=4).filter(lambda sizes: sum(sizes) > 1), st.integers(8, 130))
def test_parts_side_by_side_have_their_width_and_none_is_lost(sizes: list[float], width: int) -> None:
    parts = [(size / sum(sizes), letter, None) for size, letter in zip(sizes, "abcd", strict=False)]
    drawn = STYLE.sub("", stacked(parts, width))
    assert len(drawn) == width
    assert set(drawn) == {letter for ratio, letter, _ in parts if ratio > 0}
