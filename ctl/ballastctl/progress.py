"""How far a count is, while it counts: one line that is written over on a terminal, a line now and then elsewhere."""

import threading
import time
from typing import Final

import click

from ballast_exporter.census import Pace, Progress
from ballastctl import words
from kube_ballast.analysis.words import duration

_TERMINAL_SECONDS: Final = 0.1
_LOG_SECONDS: Final = 5.0
_BACK: Final = "\r\x1b[K"


class Line:
    """Takes what a census tells, from any of its threads, and shows it on standard error."""

    def __init__(self, *, expected: int, pace: Pace | None, terminal: bool) -> None:
        self._expected = expected
        self._pace = pace
        self._terminal = terminal
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._told = self._began
        self._last_words = ""
        self._waited = 0.0
        self._waiting_since: float | None = None

    def announce(self) -> None:
        """Say what begins; how long a gentle count takes at least, and how to have it sooner."""
        if self._pace is None:
            how = "without a pause"
        else:
            least = duration(self._expected / self._pace.keys)
            how = f"gently, {self._pace.keys:,.0f} a second at most ({least} or more; --fast does not pause)"
        self._write(f"counting {self._expected:,} keys {how}")

    def __call__(self, progress: Progress) -> None:
        """Show it, unless something was shown just now that says the same but for numbers."""
        with self._lock:
            now = time.monotonic()
            self._clock(progress, now)
            every = _TERMINAL_SECONDS if self._terminal else _LOG_SECONDS
            if now - self._told < every and progress.words == self._last_words:
                return
            self._told, self._last_words = now, progress.words
            self._write(self._words(progress, now))

    def clear(self) -> None:
        """Leave the terminal as it was."""
        with self._lock:
            if self._terminal:
                click.echo(_BACK, nl=False, err=True)

    def _clock(self, progress: Progress, now: float) -> None:
        if progress.state == "waiting":
            self._waiting_since = self._waiting_since or now
        elif self._waiting_since is not None:
            self._waited += now - self._waiting_since
            self._waiting_since = None
        if progress.state == "again":
            self._began, self._waited = now, 0.0

    def _words(self, progress: Progress, now: float) -> str:
        if progress.state == "again":
            return progress.words
        if progress.state == "waiting":
            return f"waiting after {progress.keys:,} keys: {progress.words}"
        spent = now - self._began - self._waited
        rate = progress.keys / spent if spent > 0 else 0.0
        total = max(self._expected, progress.keys)
        share = progress.keys / total if total else 1.0
        told = f"{progress.keys:,} of {total:,} keys  {share:4.0%}"
        if rate:
            told += f"  {rate:,.0f}/s  {duration((total - progress.keys) / rate)} left"
        if self._pace is not None:
            told += ", gently (see --fast)"
        return f"{told}  from {progress.member}"

    def _write(self, text: str) -> None:
        text = words.clean(text)
        if self._terminal:
            click.echo(f"{_BACK}{text[: words.terminal_width() - 1]}", nl=False, err=True)
        else:
            click.echo(text, err=True)
