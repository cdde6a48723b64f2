"""``ballastctl runbook``: helps to write runbooks; it needs no remediator."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from ballastctl.exits import EXIT_REFUSED
from ballastctl.words import clean

TIMEOUT: Final = 60.0


@click.group()
def runbook() -> None:
    """Helps to write runbooks (docs/runbooks/WRITING.md)."""


@runbook.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def check(file: Path) -> None:
    """Says what a runbook's source FILE lacks, and what to do about each.

    FILE is imported, in a process of its own: check only what you would run. Exit code 0 when it keeps every
    rule, 1 when it does not.
    """
    missing = _missing(file)
    if not missing:
        click.echo(f"{file}: keeps every rule")
        return
    for words in missing:
        click.echo(f"{file}: {clean(words)}")
    sys.exit(EXIT_REFUSED)


def _missing(file: Path) -> Sequence[str]:
    try:
        # Isolated: what lies in the current folder must not stand in for a module of the program.
        done = subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable, "-I", "-m", "ballast_remediator.runbooks.checking", str(file.resolve())],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [f"loading it did not end within {TIMEOUT:.0f} s: nothing may be done when a module is imported"]
    last = (done.stdout.strip().splitlines() or [""])[-1]
    try:
        missing: Sequence[str] = json.loads(last)
    except json.JSONDecodeError:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return [f"loading it ended the program ({why}): nothing may be done when a module is imported"]
    return missing
