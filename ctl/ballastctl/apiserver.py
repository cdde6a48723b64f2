"""``ballastctl apiserver``: who asks the apiservers for what, as a ballast-exporter counts it."""

import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
from pydantic import TypeAdapter, ValidationError

from ballastctl import apiserver_view as view
from ballastctl.apiserver_mix import DEFAULT_BY, Mix, sort_rows
from ballastctl.apiserver_reading import CLIENTS, LABELS, Source
from ballastctl.apiserver_top import Exhausted, Stopped, Top
from ballastctl.connection import output_option, span
from ballastctl.etcd import cancelled_by_ctrl_c
from ballastctl.exits import EXIT_INTERRUPTED, EXIT_MISTAKEN, EXIT_REFUSED, EXIT_UNREACHABLE, fail
from ballastctl.words import clean, terminal_height, terminal_width
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import BadResponse, ClientError, Denied
from kube_ballast.clients.exporter import Exporter
from kube_ballast.config import BasicAuth, HttpConfig, TLSFiles

_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
_CLEAR: Final = "\x1b[H\x1b[2J"
_PIPED_COLUMNS: Final = 120
_FEWEST: Final = 3
_EPILOG: Final = """\b
Examples:
  ballastctl apiserver top
  ballastctl apiserver top --exporter https://10.0.0.9:9790 --cacert ca.crt --user me --password-file pw
  ballastctl apiserver top --by client,namespace --sort errors
  ballastctl apiserver top --once --output json | jq '.rows[:3]'

\b
Exit codes:
  0    done
  1    the exporter does not accept the credentials
  2    a mistake in the command line
  3    the exporter cannot be reached, is none, or counts no requests
  130  Ctrl-C

docs/ballastctl.md explains the JSON.
"""


@click.group()
def apiserver() -> None:
    """Shows who asks the apiservers for what."""


def _labels(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    wanted = tuple(dict.fromkeys(each.strip().replace("-", "_") for each in value.split(",") if each.strip()))
    unknown = [each for each in wanted if each not in {*LABELS[CLIENTS], "apiserver"}]
    if unknown or not wanted:
        raise click.BadParameter(f"choose among {', '.join((*LABELS[CLIENTS], 'apiserver'))}")
    return wanted


def _every(_context: click.Context, _option: click.Parameter, value: str) -> float:
    return span(f"{value}s" if value.isdecimal() else value)


@apiserver.command(epilog=_EPILOG)
@click.option("--exporter", "url", default="http://127.0.0.1:9790", show_default=True, metavar="URL")
@click.option("--cacert", type=_FILE, help="Who vouches for the exporter's certificate, PEM.")
@click.option("--cert", type=_FILE, help="PEM, where the exporter asks for one.")
@click.option("--key", type=_FILE, help="PEM.")
@click.option("--user", metavar="NAME", help="Where the exporter asks for one.")
@click.option("--password-file", type=_FILE, help="Its password and nothing else.")
@click.option(
    "--by",
    callback=_labels,
    metavar="LABEL[,LABEL…]",
    help="One row for each: client, user_agent, resource, verb, namespace, code, apiserver. "
    "Without it client,resource,verb; resource,verb where clients are unknown.",
)
@click.option("--sort", default="requests", show_default=True, help="requests, errors, open, or a label of --by.")
@click.option("--top", type=click.IntRange(1), default=15, show_default=True, help="Show so many rows.")
@click.option(
    "--every", callback=_every, default="10s", show_default=True, metavar="DURATION", help="Between two readings."
)
@click.option("--once", is_flag=True, help="Show one table and end.")
@output_option
def top(
    *,
    url: str,
    cacert: Path | None,
    cert: Path | None,
    key: Path | None,
    user: str | None,
    password_file: Path | None,
    by: tuple[str, ...] | None,
    sort: str,
    top: int,
    every: float,
    once: bool,
    output: str,
) -> None:
    """Shows who asks the apiservers for what, live: rates between two readings of the exporter."""
    if (user is None) != (password_file is None):
        raise click.UsageError("--user and --password-file belong together: give both or neither")
    sort = sort.replace("-", "_")
    if sort not in {"requests", "errors", "open", *(by or DEFAULT_BY[CLIENTS])}:
        raise click.UsageError(f"--sort {sort} is neither requests, errors, open, nor a label of --by")
    try:
        tls = TLSFiles(ca=cacert, cert=cert, key=key) if cacert or cert or key else None
        auth = BasicAuth(username=user, password_file=password_file) if user and password_file else None
        config = HttpConfig(url=url, tls=tls, auth=auth)
    except ValidationError as error:
        raise click.UsageError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
    screen = _Screen(json=output == "json", rows=top, sort=sort, every=None if once else every)
    with cancelled_by_ctrl_c() as cancel:
        _run(Top(Exporter(config), every, by, cancel, screen.waits), screen, cancel)


def _run(source: Top, screen: "_Screen", cancel: threading.Event) -> None:
    """Until it was shown once, or Ctrl-C; what fails after the first table is told and tried again."""
    shown = False
    while True:
        try:
            screen.show(source.next())
            shown = True
            if screen.every is None:
                return
        except Stopped:
            fail("stopped", EXIT_INTERRUPTED)
        except Exhausted as error:
            fail(str(error), EXIT_MISTAKEN)
        except ClientError as error:
            if not shown:
                _refuse(error)
            click.echo(f"ballastctl: {clean(str(error))}; tried again", err=True)
            if cancel.wait(source.every):
                fail("stopped", EXIT_INTERRUPTED)


def _refuse(error: ClientError) -> None:
    if isinstance(error, Denied):
        fail(f"{error}. Check --user and --password-file, --cacert, --cert and --key", EXIT_REFUSED)
    if isinstance(error, BadResponse):
        fail(f"{error}. Is --exporter a ballast-exporter's address?", EXIT_UNREACHABLE)
    fail(f"{error}. Is --exporter right, and the exporter running?", EXIT_UNREACHABLE)


class _Screen:
    """Standard output: one table in place of the one before, or JSON, a document a line."""

    def __init__(self, *, json: bool, rows: int, sort: str, every: float | None) -> None:
        self.every = every
        self._json = json
        self._rows = rows
        self._sort = sort
        self._terminal = sys.stdout.isatty()

    def waits(self, source: Source, seconds: float) -> None:
        """Somebody sees nothing yet, and wants to know until when."""
        click.echo(f"reading {source}: rates need two counts, the next in {duration(seconds)} or so", err=True)

    def show(self, mix: Mix) -> None:
        """One of many."""
        mix = replace(mix, rows=sort_rows(mix.rows, mix.by, self._sort))
        if self._json:
            click.echo(TypeAdapter(Mix).dump_json(mix, indent=2 if self.every is None else None))
            return
        columns = terminal_width() if self._terminal else _PIPED_COLUMNS
        self._say(mix, max(view.NARROWEST, min(columns, view.WIDEST)))

    def _say(self, mix: Mix, columns: int) -> None:
        until = [] if self.every is None else [self._until(mix)]
        lines = [*view.lines(mix, columns, self._rows), *until]
        if self._terminal and self.every is not None:
            above = len(lines) + 1 - terminal_height()
            if above > 0:
                fewer = max(_FEWEST, min(self._rows, len(mix.rows)) - above - 1)
                lines = [*view.lines(mix, columns, min(fewer, self._rows)), *until]
            click.echo(_CLEAR, nl=False)
        _echo(lines)

    def _until(self, mix: Mix) -> str:
        return f"As of {mix.at.astimezone():%H:%M:%S}; until Ctrl-C."


def _echo(lines: Iterable[str]) -> None:
    click.echo("\n".join(lines))
