from collections.abc import Iterator
from pathlib import Path

import pytest

from ballast_remediator.store.database import Store
from ballast_remediator.store.places import Place, SqliteFile
from tests.remediator.engine.desk import Desk

ON_BOTH = {"test_execution", "test_planning", "test_stopping"}
"""What a run comes to is the same on either store."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2] in ON_BOTH:
        metafunc.parametrize("store", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty one; on SQLite where nothing else is said."""
    place: Place = SqliteFile(tmp_path / "remediator.db")
    if getattr(request, "param", "sqlite") == "postgresql":
        place = request.getfixturevalue("shared")
    with Store(place) as opened:
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    """With a runbook of three steps that may run by itself."""
    return Desk(store)
