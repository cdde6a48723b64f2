from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast_remediator.store.database import Store
from ballast_remediator.store.places import Place, PostgresqlServer, SqliteFile


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty one of each kind: what the store promises, it promises on both."""
    if request.param == "sqlite":
        return SqliteFile(tmp_path / "remediator.db")
    shared: PostgresqlServer = request.getfixturevalue("shared")
    return shared


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with Store(place) as opened:
        yield opened


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    """For what is so of SQLite alone."""
    with Store(tmp_path / "remediator.db") as opened:
        yield opened
