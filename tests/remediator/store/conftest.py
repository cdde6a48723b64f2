from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast_remediator.store.database import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "remediator.db") as opened:
        yield opened
