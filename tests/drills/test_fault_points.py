"""What the fault script draws, and what it makes of a power cut's trace."""

from collections import Counter
from pathlib import Path

import pytest

from drills.faults.load import fingerprint
from drills.faults.points import WEIGHT, Fault, StoreKind, draw
from drills.faults.power import lose, unsynced


@pytest.mark.parametrize("store", StoreKind)
def test_a_point_follows_from_its_seed_and_its_number_alone(store: StoreKind) -> None:
    straight = [draw(7, number, store) for number in range(1, 50)]
    assert [draw(7, number, store) for number in reversed(range(1, 50))] == straight[::-1]
    assert straight != [draw(8, number, store) for number in range(1, 50)]


@pytest.mark.parametrize("store", StoreKind)
def test_a_thousand_points_have_every_fault(store: StoreKind) -> None:
    drawn = Counter(draw(1, number, store).fault for number in range(1000))
    assert set(drawn) == set(WEIGHT[store])
    assert min(drawn.values()) >= 5


def test_every_fault_is_drawn_on_some_store() -> None:
    assert set().union(*WEIGHT.values()) == set(Fault)


def test_fingerprints_are_alertmanager_s() -> None:
    # common/model/signature_test.go: an empty set, and one label.
    assert int(fingerprint({}), 16) == 14695981039346656037
    assert int(fingerprint({"name": "garland, briggs", "fear": "love is not enough"}), 16) == 5799056148416392346


TRACE = [
    '10 pwrite64(5</d/db-wal>, ""..., 8, 0) = 8',
    "10 fdatasync(5</d/db-wal>) = 0",
    '10 pwrite64(5</d/db-wal>, ""..., 8, 8) = 8',
    "10 fdatasync(5</d/db-wal> <unfinished ...>",
    '11 pwrite64(5</d/db-wal>, ""..., 4, 16) = 4',
    "10 <... fdatasync resumed>) = 0",
    '11 pwrite64(6</d/db>, ""..., 4, 4 <unfinished ...>',
    "11 <... pwrite64 resumed>) = 4",
    "11 fsync(6</d/db> <unfinished ...>",
    "11 +++ killed by SIGKILL +++",
]


def test_a_sync_covers_what_was_written_before_it_began_and_only_when_it_ended() -> None:
    assert unsynced(TRACE) == {"/d/db-wal": [(16, 4)], "/d/db": [(4, 4)]}


def test_what_was_not_synced_is_zeroed_and_the_rest_stays(tmp_path: Path) -> None:
    database, wal, shm = (tmp_path / name for name in ("db", "db-wal", "db-shm"))
    for path, length in ((database, 12), (wal, 18), (shm, 3)):
        path.write_bytes(b"x" * length)
    trace = tmp_path / "trace"
    trace.write_text("\n".join(TRACE).replace("/d/", f"{tmp_path}/"))

    assert lose(trace, database) == 2
    assert database.read_bytes() == b"xxxx\0\0\0\0xxxx"
    assert wal.read_bytes() == b"x" * 16 + b"\0\0"  # it never grew to its full length
    assert not shm.exists()
