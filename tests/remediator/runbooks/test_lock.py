"""The review gate: what a digest covers."""

from pathlib import Path

import pytest

from ballast_remediator.config import EtcdFreeSpaceSettings, SnapshotsConfig
from ballast_remediator.connections import Connections
from ballast_remediator.runbooks import lock
from ballast_remediator.runbooks.etcd_free_space import EtcdFreeSpace


class Copy:
    """A runbook whose one source is a file of the test."""

    sources = ()


@pytest.fixture
def guards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "one.py").write_text("strict = True\n")
    monkeypatch.setattr(lock, "GUARDS", tmp_path)
    return tmp_path


def test_a_guard_that_is_weakened_asks_for_a_review(guards: Path) -> None:
    before = lock.digest(Copy())

    (guards / "one.py").write_text("strict = False\n")

    assert lock.digest(Copy()) != before


def test_each_module_with_steps_is_covered() -> None:
    names = {module.__name__.rpartition(".")[2] for module in EtcdFreeSpace.sources}
    used = {type(step).__module__.rpartition(".")[2] for step in _steps()}
    assert used <= names


def _steps() -> list[object]:
    book = EtcdFreeSpace(
        Connections({}), EtcdFreeSpaceSettings(), SnapshotsConfig(directory=Path()), evidence_valid=1.0
    )
    return list(book.steps.values())
