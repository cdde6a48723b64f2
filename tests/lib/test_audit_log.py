"""An audit log file is followed as an apiserver writes, rotates and truncates it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kube_ballast.clients import audit_log
from kube_ballast.clients.audit_log import AuditLog
from kube_ballast.clients.errors import LocalDisk


class Written:
    """A log and who follows it."""

    def __init__(self, path: Path, first: bytes) -> None:
        self.path = path
        path.write_bytes(first)
        self.too_long = 0
        self.log = AuditLog(path, self.count)

    def count(self) -> None:
        self.too_long += 1

    def write(self, text: bytes) -> list[bytes]:
        with self.path.open("ab") as file:
            file.write(text)
        return list(self.log.lines())


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Written]:
    written = Written(tmp_path / "audit.log", b"old\n")
    yield written
    written.log.close()


def test_it_begins_at_the_end_and_gives_whole_lines(log: Written) -> None:
    assert log.write(b"") == []
    assert log.write(b"a\nb") == [b"a"]
    assert log.write(b"b\n\nc\n") == [b"bb", b"c"]


def test_the_rest_of_a_line_that_was_begun_before_is_not_taken_for_a_line(tmp_path: Path) -> None:
    log = Written(tmp_path / "audit.log", b'old\n{"begun')
    assert log.write(b'"}\nnew\n') == [b"new"]
    log.log.close()


def test_a_rotated_file_is_read_to_its_end_and_the_new_one_from_its_start(log: Written) -> None:
    log.write(b"a\nhalf")
    with log.path.open("ab") as old:
        log.path.rename(log.path.with_suffix(".1"))
        assert list(log.log.lines()) == []
        old.write(b" whole\nlast\n")
    log.path.write_bytes(b"new\n")
    assert list(log.log.lines()) == [b"half whole", b"last", b"new"]
    assert log.write(b"more\n") == [b"more"]


def test_a_truncated_file_is_read_from_its_start(log: Written) -> None:
    log.write(b"a\nb\nhalf")
    log.path.write_bytes(b"n\n")
    assert list(log.log.lines()) == [b"n"]


def test_a_line_without_an_end_is_dropped_and_takes_no_memory(log: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "LINE_BYTES", 10)
    assert log.write(b"x" * 8) == []
    assert log.write(b"x" * 8) == []
    assert log.write(b"x" * 80) == []
    assert log.write(b"x\nnext\n") == [b"next"]
    assert log.too_long == 1


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalDisk, match=r"audit.log: cannot be read: No such file"):
        AuditLog(tmp_path / "audit.log", lambda: None)


def test_what_is_written_while_the_files_change_places_is_not_lost(
    log: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    with log.path.open("ab", buffering=0) as old:
        look = log.log._replaced

        def late() -> bool:
            if not log.path.with_suffix(".1").exists():
                log.path.rename(log.path.with_suffix(".1"))
                old.write(b"last\n")
                log.path.write_bytes(b"new\n")
            return look()

        monkeypatch.setattr(log.log, "_replaced", late)
        assert list(log.log.lines()) == [b"last", b"new"]
