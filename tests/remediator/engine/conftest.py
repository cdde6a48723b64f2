from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "remediator.db") as opened:
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    """With a runbook of three steps that may run by itself."""
    return Desk(store)
