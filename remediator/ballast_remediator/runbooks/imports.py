"""Which modules lead to which by their imports: read from their sources, nothing is run."""

import ast
from pathlib import Path
from typing import Final

from ballast_remediator import guards

PACKAGE: Final = Path(str(guards.__file__)).parent.parent


def imported(file: Path, beside: Path | None = None) -> set[str]:
    """Full names of what a module imports from this package, and from files ``beside`` it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if source(name, beside) is not None or name.startswith("ballast_remediator")}


def reachable(*start: str, beside: Path | None = None) -> set[str]:
    """Every module of the package, and ``beside`` it, that ``start`` lead to by their imports."""
    found: set[str] = set()
    frontier = list(start)
    while frontier:
        name = frontier.pop()
        file = source(name, beside)
        if name not in found and file is not None:
            found.add(name)
            frontier += imported(file, beside)
    return found


def source(name: str, beside: Path | None = None) -> Path | None:
    """The file of the module of that name in this package, or ``beside`` it; None where there is none."""
    first, *rest = name.split(".")
    if first == "ballast_remediator":
        file = PACKAGE.joinpath(*rest).with_suffix(".py")
    elif beside is not None and not rest:
        file = beside / f"{first}.py"
    else:
        return None
    return file if file.is_file() else None
