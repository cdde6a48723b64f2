"""`ballastctl etcd space` again and again, and while it counts."""

import json
import signal
import subprocess

import pytest

from ballast_exporter.census import Progress
from ballast_exporter.census_terms import State
from ballastctl.progress import Line
from drills.keyspace import objects
from drills.stack import Stack
from tests.ctl.spaces import COMMAND, put


def test_watching_shows_growth_and_ends_with_ctrl_c(stack: Stack) -> None:
    etcd = stack.etcd()
    put(etcd, [*objects(4)])
    command = [*COMMAND, "--endpoints", etcd.endpoints[0], "--fast", "--watch", "1s", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        put(etcd, [(f"/registry/pods/new/{number}".encode(), b"x" * 10_000) for number in range(100)])
        while (later := json.loads(process.stdout.readline()))["keys"] == first["keys"]:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
    assert later["keys"] == first["keys"] + 100
    pods = next(each for each in later["resources"] if each["name"] == "pods")
    assert pods["growth_bytes_per_second"] > 0
    assert pods["writes"] == 100
    assert (first["growth"], later["growth"]["live_bytes_per_second"] > 0) == (None, True)
    assert later["growth"]["seconds_until_full"] > 0


def test_ctrl_c_leaves_a_count_and_shows_nothing_of_it(stack: Stack) -> None:
    etcd = stack.etcd()
    put(etcd, [(f"/registry/leases/kube-node-lease/{number}".encode(), b"x") for number in range(20_000)])
    command = [*COMMAND, "--endpoints", etcd.endpoints[0], "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline().startswith(
            "counting 20,000 keys gently, 4,000 a second at most (5.0 s or more"
        )
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stdout.read() == ""
        assert process.stderr.read() == "ballastctl: stopped; nothing is shown of an unfinished count\n"


def test_why_a_count_waits_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(expected=10, pace=None, terminal=False)
    told: list[tuple[State, str]] = [
        ("reading", ""),
        ("waiting", "m1 defragments"),
        ("waiting", "m1 defragments"),
        ("reading", ""),
        ("again", "beginning anew"),
    ]
    for state, words in told:
        line(Progress(state, 5, None, 0, "http://m1", words))
    waiting, reading, again = capsys.readouterr().err.splitlines()
    assert waiting == "waiting after 5 keys: m1 defragments"
    assert reading.startswith("5 of 10 keys   50%")
    assert again == "beginning anew"
