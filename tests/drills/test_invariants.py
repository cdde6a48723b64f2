"""The judge of the kill drill has to see what it judges."""

import json
from pathlib import Path

from drills.faults.invariants import Interval, defragmentations, two_at_once
from drills.filling import client
from drills.stack import EtcdCluster


def test_a_real_member_s_log_shows_its_defragmentation(etcd: EtcdCluster) -> None:
    member = etcd.members[0]
    before = len(defragmentations(member.name, member.process.log))
    with client(etcd) as one:
        one.defragment(timeout=10)

    found = defragmentations(member.name, member.process.log)

    assert len(found) == before + 1
    assert found[-1].start <= found[-1].end < float("inf")


def test_one_that_was_cut_off_never_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(json.dumps({"ts": "2026-01-01T00:00:00.000Z", "msg": "starting defragment"}) + "\nno json\n")
    (found,) = defragmentations("etcd-1", log)
    assert found.end == float("inf")


def test_two_at_once_are_named_and_two_in_a_row_are_not() -> None:
    first, second, third = Interval("a", 1.0, 2.0), Interval("b", 1.5, 3.0), Interval("c", 3.0, 4.0)
    assert two_at_once([third, first]) == ()
    (words,) = two_at_once([second, first, third])
    assert words.startswith("a and b were in defragmentation at once")


def test_a_long_one_overlaps_more_than_its_neighbour() -> None:
    long = Interval("a", 0.0, 10.0)
    assert len(two_at_once([long, Interval("b", 1.0, 2.0), Interval("c", 3.0, 4.0)])) == 2
