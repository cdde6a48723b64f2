"""What every runbook and every guard has to have, so that none can be added half."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator import runbooks
from ballast_remediator.connections import Connections
from ballast_remediator.contract import Runbook
from ballast_remediator.runbooks import APPROVED, lock
from ballast_remediator.runbooks.checking import smallest
from ballast_remediator.runbooks.imports import PACKAGE, reachable
from ballast_remediator.runbooks.rules import RULES, Book, Rule

ROOT = Path(__file__).resolve().parents[2]
GUARDS = sorted(path.stem for path in (PACKAGE / "guards").glob("*.py") if path.stem != "__init__")
GATE = {"__init__", "lock", "imports", "rules", "checking"}
"""What guards the runbooks' approval, and is no part of any."""
RUNBOOKS = sorted(path.stem for path in (PACKAGE / "runbooks").glob("*.py") if path.stem not in GATE)
TESTED_TOGETHER = {"lock_is_free": "test_ledger_guards", "target_is_not_quarantined": "test_ledger_guards"}


@pytest.mark.parametrize(("folder", "stem"), [*(("guards", g) for g in GUARDS), *(("runbooks", r) for r in RUNBOOKS)])
def test_every_module_is_used_by_what_is_approved(folder: str, stem: str) -> None:
    approved = reachable(*(kind.__module__ for kind in APPROVED), "ballast_remediator.engine.judging")
    assert f"ballast_remediator.{folder}.{stem}" in approved


@pytest.mark.parametrize("stem", GUARDS)
def test_every_guard_is_called_like_its_file_and_has_a_test(stem: str) -> None:
    source = (PACKAGE / "guards" / f"{stem}.py").read_text()
    assert f'NAME = "{stem}"' in source
    assert re.search(rf"^def {stem}\(", source, re.MULTILINE)
    test = Path(__file__).with_name("guards") / f"{TESTED_TOGETHER.get(stem, f'test_{stem}')}.py"
    assert f"import {stem}" in test.read_text() or f".{stem} import" in test.read_text()


@pytest.fixture(params=APPROVED, ids=lambda kind: kind.name)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Runbook[Any]:
    """Each approved runbook as the program builds it; nothing is asked of anybody."""
    config = smallest(tmp_path)
    return runbooks.build(Connections(config.clusters), config)[request.param.name]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_approved_runbook_keeps_every_rule(made: Runbook[Any], rule: Rule) -> None:
    file = Path(str(sys.modules[type(made).__module__].__file__)).resolve()
    assert list(rule(Book(type(made), made, file, ROOT))) == []


def test_the_lock_names_approved_runbooks_and_no_others() -> None:
    assert set(lock.approved()) == {kind.name for kind in APPROVED}
