"""How ``ballastctl`` ends when it does not end well."""

import sys
from typing import Final, NoReturn

import click

from ballastctl import words

EXIT_REFUSED: Final = 1
EXIT_MISTAKEN: Final = 2
EXIT_UNREACHABLE: Final = 3
EXIT_UNKNOWN: Final = 4
EXIT_INTERRUPTED: Final = 130
"""As a shell reports a program that SIGINT ended."""


def fail(why: str, code: int) -> NoReturn:
    """Say why on standard error and end with ``code``."""
    click.echo(f"ballastctl: {words.clean(why)}", err=True)
    sys.exit(code)
