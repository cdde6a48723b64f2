"""How many of something were dealt with, on standard error, while it takes long."""

import sys
import time
from types import TracebackType
from typing import Final, Self

import click

_TERMINAL_SECONDS: Final = 0.2
_LOG_SECONDS: Final = 5.0
_BACK: Final = "\r\x1b[K"


class Counting:
    """One line that is written over on a terminal, a line now and then elsewhere; none where it takes a moment."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = sys.stderr.isatty()
        self._every = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
        self._count = 0
        self._told_at = time.monotonic()
        self._told = False

    def one(self) -> None:
        """One more."""
        self._count += 1
        now = time.monotonic()
        if now - self._told_at < self._every:
            return
        self._told_at, self._told = now, True
        line = f"{self._count:,} {self._what}"
        click.echo(f"{_BACK}{line}" if self._terminal else line, nl=not self._terminal, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._told and self._terminal:
            click.echo(_BACK, nl=False, err=True)
