"""What every runbook and every guard has to have, so that none can be added half."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator import guards, runbooks
from ballast_remediator.config import RunbooksConfig
from ballast_remediator.connections import Connections
from ballast_remediator.contract import Reversibility, Runbook
from ballast_remediator.runbooks import APPROVED, lock
from kube_ballast.config import EtcdConfig
from tests.remediator.chain import UNREACHABLE, configuration

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(str(guards.__file__)).parent.parent
GUARDS = sorted(path.stem for path in (PACKAGE / "guards").glob("*.py") if path.stem != "__init__")
RUNBOOKS = sorted(path.stem for path in (PACKAGE / "runbooks").glob("*.py") if path.stem not in {"__init__", "lock"})
TESTED_TOGETHER = {"lock_is_free": "test_ledger_guards", "target_is_not_quarantined": "test_ledger_guards"}


def imported(path: Path) -> set[str]:
    """Full names of what a module imports from this package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ballast_remediator"):
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def file_of(name: str) -> Path:
    return PACKAGE.joinpath(*name.split(".")[1:]).with_suffix(".py")


def reachable(*start: str) -> set[str]:
    """Every module of the package that ``start`` lead to by their imports."""
    found: set[str] = set()
    frontier = list(start)
    while frontier:
        name = frontier.pop()
        if name not in found and file_of(name).is_file():
            found.add(name)
            frontier += imported(file_of(name))
    return found


@pytest.mark.parametrize(("folder", "stem"), [*(("guards", g) for g in GUARDS), *(("runbooks", r) for r in RUNBOOKS)])
def test_every_module_is_used_by_what_is_approved(folder: str, stem: str) -> None:
    approved = reachable(*(kind.__module__ for kind in APPROVED), "ballast_remediator.engine.judging")
    assert f"ballast_remediator.{folder}.{stem}" in approved


@pytest.mark.parametrize("stem", GUARDS)
def test_every_guard_is_called_like_its_file_and_has_a_test(stem: str) -> None:
    source = file_of(f"ballast_remediator.guards.{stem}").read_text()
    assert f'NAME = "{stem}"' in source
    assert re.search(rf"^def {stem}\(", source, re.MULTILINE)
    test = Path(__file__).with_name("guards") / f"{TESTED_TOGETHER.get(stem, f'test_{stem}')}.py"
    assert f"import {stem}" in test.read_text() or f".{stem} import" in test.read_text()


@pytest.fixture(params=APPROVED, ids=lambda kind: kind.name)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Runbook[Any]:
    """Each approved runbook as the program builds it; nothing is asked of anybody."""
    nowhere = EtcdConfig.model_validate({"members": [{"endpoint": UNREACHABLE}]})
    config = configuration(tmp_path, nowhere)
    return runbooks.build(Connections(config.clusters), config)[request.param.name]


class TestApproved:
    def test_it_says_what_it_needs_and_how_it_is_undone(self, made: Runbook[Any]) -> None:
        permissions = made.permissions
        assert any((permissions.etcd, permissions.prometheus, permissions.kubernetes, permissions.hosts))
        assert isinstance(made.reversibility, Reversibility)
        assert len(made.undo) > 20
        assert made.target_label
        assert made.locks

    def test_it_is_guarded_and_verified(self, made: Runbook[Any]) -> None:
        assert made.guards
        assert callable(made.verify)

    def test_its_steps_are_covered_by_its_digest(self, made: Runbook[Any]) -> None:
        covered = {type(made).__module__, *(module.__name__ for module in made.sources)}
        assert {type(step).__module__ for step in made.steps.values()} <= covered
        used = {name for name in reachable(*covered) if name.startswith("ballast_remediator.runbooks.")}
        assert used <= covered

    def test_its_source_is_the_one_that_was_reviewed(self, made: Runbook[Any]) -> None:
        assert lock.approved()[made.name] == lock.digest(made), "review it, then `make approve-runbooks`"

    def test_it_has_a_page_with_all_its_knobs_guards_and_permissions(self, made: Runbook[Any]) -> None:
        page = (ROOT / "docs" / "runbooks" / f"{made.name}.md").read_text()
        knobs = next(one for one in RunbooksConfig.model_fields.values() if one.alias == made.name).default
        ours = [name for name in imported(file_of(type(made).__module__)) if ".guards." in name]
        for word in (*type(knobs).model_fields, *(name.rsplit(".", 1)[1] for name in ours), *made.steps):
            assert f"`{word}`" in page, f"{word} is missing on the page"
        for permission in made.permissions.etcd:
            assert permission.partition(":")[2].strip() in page.replace("`", "")


def test_the_lock_names_approved_runbooks_and_no_others() -> None:
    assert set(lock.approved()) == {kind.name for kind in APPROVED}


def test_names_are_unique_and_read_as_verbs_on_nouns() -> None:
    names = [kind.name for kind in APPROVED]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)+", name) for name in names)
