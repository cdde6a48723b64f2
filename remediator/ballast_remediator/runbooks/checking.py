"""Loads one runbook from its file and asks it for every rule: in a process of its own, since loading runs the file.

    python -m ballast_remediator.runbooks.checking FILE

prints a JSON list of sentences, one for each thing that is missing.
"""

import ast
import importlib
import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from ballast_remediator.config import Config
from ballast_remediator.connections import Connections
from ballast_remediator.runbooks.imports import PACKAGE
from ballast_remediator.runbooks.rules import RULES, Book

MARKS = ("plan", "verify", "target_label")
"""A class with one of these is meant to be a runbook."""


class NotThere(Exception):
    """There is no runbook to ask; the text says why and what to do."""


def check(file: Path) -> Sequence[str]:
    """What is missing of the runbook in ``file``, a sentence each; nothing when it keeps every rule."""
    try:
        kind = the_runbook(load(file.resolve()))
    except NotThere as error:
        return [str(error)]
    made, problem = built(kind)
    book = Book(kind, made, file.resolve(), root(file.resolve()))
    return [*problem, *(words for rule in RULES for words in rule(book))]


def load(file: Path) -> ModuleType:
    """The module of ``file``: by its own name where it lies in the package, else by its stem, with what lies beside it.

    Raises:
        NotThere: it is not Python, or cannot be imported.
    """
    try:
        ast.parse(file.read_bytes())
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise NotThere(f"{where}it is not Python: {error.msg}. Mend that first") from error
    except ValueError as error:  # what Python 3.11 says of a null byte
        raise NotThere(f"it is not Python: {error}. Mend that first") from error
    try:
        if file.is_relative_to(PACKAGE):
            return importlib.import_module(".".join((PACKAGE.name, *file.relative_to(PACKAGE).with_suffix("").parts)))
        sys.path.append(str(file.parent))
        module = sys.modules[file.stem] = ModuleType(file.stem)
        module.__file__ = str(file)
        SourceFileLoader(file.stem, str(file)).exec_module(module)
    except Exception as error:
        raise NotThere(f"it cannot be imported: {error!r}. Mend that first; nothing else could be looked at") from error
    return module


def the_runbook(module: ModuleType) -> type[Any]:
    """The one runbook that ``module`` itself holds.

    Raises:
        NotThere: it holds none, or several.
    """
    own = [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]
    found = [each for each in own if any(hasattr(each, mark) for mark in MARKS)]
    if not found:
        raise NotThere("there is no runbook in it: write a class with name, target_label, observe, plan and verify")
    if len(found) > 1:
        names = " and ".join(each.__name__ for each in found)
        raise NotThere(f"there are {len(found)} runbooks in it, {names}: each has a file of its own, as its digest has")
    return found[0]


def built(kind: type[Any]) -> tuple[Any, Sequence[str]]:
    """What `configured` makes of the smallest configuration, and else what is wrong with that. It asks nobody."""
    if not callable(getattr(kind, "configured", None)):
        return kind, ["it has no classmethod configured(connections, config): the program makes it by that"]
    with tempfile.TemporaryDirectory() as folder:
        config = smallest(Path(folder))
        try:
            return kind.configured(Connections(config.clusters), config), []
        except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
            asked = "Has RunbooksConfig (remediator/ballast_remediator/config.py) its settings, each with a default?"
            return kind, [f"configured() fails: {error!r}. {asked}"]


def smallest(folder: Path) -> Config:
    """A configuration of nothing but what has no default, of which nothing answers."""
    for name in ("tokens.yaml", "policy.yaml"):
        (folder / name).touch()
    nowhere = "http://127.0.0.1:9"
    return Config.model_validate(
        {
            "store": {"path": folder / "remediator.db"},
            "tokens_file": folder / "tokens.yaml",
            "policy_file": folder / "policy.yaml",
            "snapshots": {"directory": folder / "snapshots"},
            "clusters": {
                "here": {
                    "etcd": [{"members": [{"endpoint": nowhere}]}],
                    "prometheus": {"url": nowhere},
                    "alertmanagers": [{"url": nowhere}],
                }
            },
        }
    )


def root(file: Path) -> Path | None:
    """The folder above ``file`` that holds docs/runbooks."""
    return next((folder for folder in file.parents if (folder / "docs" / "runbooks").is_dir()), None)


if __name__ == "__main__":
    print(json.dumps(check(Path(sys.argv[1]))))  # noqa: T201 - the answer
