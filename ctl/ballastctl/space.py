"""Counts what fills an etcd, once or again and again, and shows it."""

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import click
from pydantic import TypeAdapter

from ballast_exporter.census import Cancelled, CensusError, Counter, Settings
from ballastctl import space_view
from ballastctl.etcd_access import Etcd, Look
from ballastctl.progress import Line
from ballastctl.space_report import Counted, Report, compose, overview
from ballastctl.words import clean, terminal_height, terminal_width
from kube_ballast.analysis import space as analysis
from kube_ballast.analysis.census import Census
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import ClientError

_CLEAR = "\x1b[H\x1b[2J"
_FEWEST_SHOWN = 3
_PIPED_COLUMNS = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to count, and how many of the largest objects to name."""

    settings: Settings
    largest: int


class Console:
    """Standard output: a table as wide as the terminal, or JSON."""

    def __init__(self, *, json: bool, top: int) -> None:
        self._json = json
        self._top = top
        self.terminal = sys.stdout.isatty()

    @property
    def columns(self) -> int:
        """How wide a table may be."""
        width = terminal_width() if self.terminal else _PIPED_COLUMNS
        return max(space_view.NARROWEST, min(width, space_view.WIDEST))

    def begin(self, look: Look) -> None:
        """What is known already, for somebody who waits for the rest."""
        if not self._json:
            self._say(space_view.header(overview(look), self.columns))

    def show(self, report: Report) -> None:
        """The rest of it."""
        if self._json:
            click.echo(TypeAdapter(Report).dump_json(report, indent=2))
        else:
            self._say(space_view.body(report, self.columns, top=self._top))

    def show_next(self, report: Report, every: float) -> None:
        """One of many, whole: in place of the one before on a terminal, one JSON document a line."""
        if self._json:
            click.echo(TypeAdapter(Report).dump_json(report))
            return
        if self.terminal:
            click.echo(_CLEAR, nl=False)
        self._say(self._screen(report, every))

    def _screen(self, report: Report, every: float) -> list[str]:
        """With as many resources as leave room for all the rest, if that is possible; the last row is for progress."""
        clock = report.at.astimezone().strftime("%H:%M:%S")
        around = [*space_view.header(report.etcd, self.columns)]
        until = f"As of {clock}; counted every {duration(every)} until Ctrl-C."
        lines = [*around, *space_view.body(report, self.columns, top=self._top), until]
        above = len(lines) + 1 - terminal_height() if self.terminal else 0
        if above <= 0:
            return lines
        fewer = max(_FEWEST_SHOWN, min(self._top, len(report.resources)) - above)
        return [*around, *space_view.body(report, self.columns, top=min(fewer, self._top)), until]

    def _say(self, lines: Iterable[str]) -> None:
        click.echo("\n".join(lines))


class _Counting:
    """Counts one etcd, and remembers what the next count is compared to."""

    def __init__(self, etcd: Etcd, wanted: Wanted, cancel: threading.Event) -> None:
        self._etcd = etcd
        self._wanted = wanted
        self._cancel = cancel
        self._counter: Counter | None = None
        self._points: list[analysis.Point] = []

    def look(self) -> Look:
        """The members as they are now. Raises as ``Etcd.look`` does."""
        return self._etcd.look()

    def report(self, look: Look) -> Report:
        """A look and a census, in words and numbers. Raises ClientError and CensusError."""
        if self._cancel.is_set():
            raise Cancelled("stopped before the count")
        if self._counter is None:
            self._counter = self._etcd.counter(self._wanted.settings)
        counter, before = self._counter, self._counter.last
        # From the index alone, which is quick: somebody waits, and wants to know how long.
        expected = counter.sweep(cancel=self._cancel)
        line = Line(expected=expected, pace=self._wanted.settings.pace, terminal=sys.stderr.isatty())
        line.announce()
        try:
            census = counter.run(progress=line, cancel=self._cancel)
        finally:
            line.clear()
        self._remember(census)
        counted = Counted(census, before, self._points)
        return compose(look, counted, largest=self._wanted.largest)

    def _remember(self, census: Census) -> None:
        found = analysis.split(census)
        if found is not None:
            self._points.append(analysis.Point(census.began, found.live))
            del self._points[: -analysis.MOST_POINTS]


def once(etcd: Etcd, wanted: Wanted, console: Console, cancel: threading.Event) -> None:
    """Count and show. Raises as ``Etcd.look`` and ``Counter.run`` do."""
    counting = _Counting(etcd, wanted, cancel)
    look = counting.look()
    console.begin(look)
    console.show(counting.report(look))


def watch(etcd: Etcd, wanted: Wanted, console: Console, cancel: threading.Event, every: float) -> None:
    """Count and show every ``every`` seconds, until cancelled; a count that fails after the first is told and passed.

    Raises Cancelled, and for the first count whatever ``once`` raises.
    """
    counting = _Counting(etcd, wanted, cancel)
    succeeded = False
    while True:
        began = time.monotonic()
        try:
            console.show_next(counting.report(counting.look()), every)
            succeeded = True
        except (ClientError, CensusError) as error:
            if not succeeded or isinstance(error, Cancelled):
                raise
            click.echo(f"ballastctl: {clean(str(error))}; tried again in {duration(every)}", err=True)
        if cancel.wait(max(0.0, every - (time.monotonic() - began))):
            raise Cancelled("stopped between two counts")
