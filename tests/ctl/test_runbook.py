"""`ballastctl runbook check`: what a person sees, and what a file cannot do to it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ballast_remediator.runbooks import etcd_defrag, etcd_free_space, etcd_guards
from ballastctl import runbook
from ballastctl.cli import main


def check(file: Path | str) -> Result:
    return CliRunner().invoke(main, ["runbook", "check", str(file)])


@pytest.mark.parametrize("module", [etcd_defrag, etcd_free_space], ids=lambda module: module.__name__)
def test_an_approved_runbook_keeps_every_rule(module: object) -> None:
    file = str(vars(module)["__file__"])
    result = check(file)
    assert result.output == f"{file}: keeps every rule\n"
    assert result.exit_code == 0


def test_a_module_of_steps_is_no_runbook() -> None:
    result = check(etcd_guards.__file__)
    assert result.exit_code == 1
    assert "there is no runbook in it: write a class with name, target_label, observe, plan and verify" in result.output


BROKEN = {
    "x = (\n": "line 1: it is not Python: '(' was never closed. Mend that first",
    "x = '\0'\n": "it is not Python: source code string cannot contain null bytes",
    "": "there is no runbook in it",
    "import nobody_has_this\n": "it cannot be imported: ModuleNotFoundError(\"No module named 'nobody_has_this'\")",
    "import sys\nsys.exit(0)\n": "loading it ended the program (exit code 0): nothing may be done when a module is",
    "class A:\n    plan = 1\nclass B:\n    verify = 2\n": "there are 2 runbooks in it, A and B: each has a file of",
    "class A:\n    target_label = 'a'\n": "it has no plan(world): decide there, from the world alone, what to do",
    "print('[]')\nclass A:\n    plan = 1\n": "it has no verify(context)",
}


@pytest.mark.parametrize("source", BROKEN)
def test_what_is_no_runbook_and_why(tmp_path: Path, source: str) -> None:
    file = tmp_path / "my-runbook.py"
    file.write_text(source)
    result = check(file)
    assert result.exit_code == 1
    assert f"{file}: {BROKEN[source]}" in result.output


def test_an_import_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runbook, "TIMEOUT", 2.0)
    file = tmp_path / "endless.py"
    file.write_text("while True:\n    pass\n")
    result = check(file)
    assert result.exit_code == 1
    assert "loading it did not end within 2 s" in result.output


def test_words_that_would_drive_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "red.py"
    file.write_text("raise ValueError('\\x1b[31m')\nclass A:\n    plan = 1\n")
    assert "\x1b" not in check(file).output


def test_no_file() -> None:
    result = check("nowhere.py")
    assert result.exit_code == 2
    assert "'nowhere.py' does not exist" in result.output
