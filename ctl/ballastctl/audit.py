"""``ballastctl audit verify``: checks the audit's chain here, whatever the remediator says of it."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from ballast_remediator import archive
from ballast_remediator.chain import Break, Chain, Entry, Head, Known, Page, Told, named_by
from ballastctl.connection import Connection, columns, connected, output_option, say
from ballastctl.counting import Counting
from ballastctl.exits import EXIT_REFUSED, EXIT_UNKNOWN, fail
from ballastctl.words import clean, wrapped

PAGE: Final = 1000
_HEAD: Final = re.compile(r"(?:(\d{1,15}):)?([0-9a-f]{64})")
_TOLD: Final = {
    Told.FOUND: ("green", "is in the chain, and all that came before it is as it was then"),
    Told.MISSING: ("red", "is NOT in the chain: its end was cut off, or it was written anew"),
    Told.BEFORE: ("yellow", "is not in the chain; it may lie before the checkpoint, where retention dropped the rest"),
}


@click.group()
def audit() -> None:
    """Checks the audit: what happened, each entry with a hash over the one before."""


def _heads(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[Head | str, ...]:
    found: list[Head | str] = []
    for value in values:
        match = _HEAD.fullmatch(value.strip().lower())
        if match is None:
            raise click.BadParameter(f"{value!r} is no head: write SEQ:HASH or HASH, 64 hexadecimal digits")
        found.append(match[2] if match[1] is None else Head(int(match[1]), match[2]))
    return tuple(found)


@audit.command()
@click.option(
    "--head",
    "heads",
    multiple=True,
    callback=_heads,
    metavar="[SEQ:]HASH",
    help="One that was written down. Repeatable.",
)
@click.option(
    "--backup", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Check this backup; ask nobody."
)
@output_option
def verify(heads: tuple[Head | str, ...], backup: Path | None, output: str) -> None:
    """Reads the whole audit and checks each entry's hash here; names the first that was edited, dropped or moved.

    A head is what the log (audit_head), a notice or an earlier check told. Only with one that was kept elsewhere is it
    proven that the end was not cut off and that the whole was not written anew.

    Exit codes: 0 whole, and each --head is in it; 1 it is broken, or a --head is missing; 2 a mistake in the command
    line; 3 the remediator cannot be reached; 4 whole, but a --head may lie before what retention left.
    """
    if backup is None:
        _live(heads, output)
        return
    try:
        _tell(_checked(archive.audit_pages(backup), heads), output)
    except archive.Unusable as error:
        fail(str(error), EXIT_REFUSED)


@connected
def _live(connection: Connection, heads: tuple[Head | str, ...], output: str) -> None:
    _tell(_checked(_pages(connection), heads), output)


def _pages(connection: Connection) -> Iterator[Page]:
    after = 0
    while True:
        page = connection.remediator.audit(after=after, limit=PAGE, timeout=connection.timeout)
        checkpoint = None if page.checkpoint is None else Head(page.checkpoint.seq, page.checkpoint.hash)
        yield Page(
            checkpoint, tuple(Entry(**{name: getattr(one, name) for name in one.__slots__}) for one in page.entries)
        )
        if not page.entries:
            return
        last = page.entries[-1].seq
        if last <= after:
            fail(f"the remediator gave entry {last} when asked for those behind {after}", EXIT_REFUSED)
        after = last


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found; ``told`` says of each head that was given what the chain says of it."""

    chain: Chain
    broken: Break | None
    told: Mapping[Head | str, Told]

    @property
    def exit_code(self) -> int:
        if self.broken is not None or Told.MISSING in self.told.values():
            return EXIT_REFUSED
        return EXIT_UNKNOWN if Told.BEFORE in self.told.values() else 0


def _checked(pages: Iterable[Page], heads: Iterable[Head | str]) -> Checked:
    chain, known = Chain(), Known(heads)
    broken = None
    with Counting("entries checked") as counting:
        for found in chain.follow(pages):
            if isinstance(found, Break):
                broken = found
                break
            for head in named_by(found):
                known.see(head)
            counting.one()
    return Checked(chain, broken, known.told(chain))


def _tell(found: Checked, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(_content(found), indent=2))
    else:
        for line in _lines(found):
            say(wrapped(line, columns(), hang=2))
    sys.exit(found.exit_code)


def _lines(found: Checked) -> Iterator[str]:
    chain, broken = found.chain, found.broken
    if broken is None:
        yield f"{click.style('whole', fg='green', bold=True)}: {_extent(chain)}"
    else:
        title = click.style(f"BROKEN at entry {broken.seq} ({broken.kind})", fg="red", bold=True)
        yield f"{title}: {clean(broken.words)}"
        for entry in broken.around:
            mark = ">" if entry.seq == broken.seq else " "
            told = f"{entry.seq}  {_time(entry.at)}  {entry.event}  {entry.actor}  {entry.run_id or '-'}  {entry.words}"
            yield f"{mark} {clean(told)}"
        yield f"before it: {_extent(chain)}"
    if chain.checkpoint is not None:
        yield f"it begins behind entry {chain.checkpoint.seq}: retention dropped what came before"
    for head, told in found.told.items():
        colour, words = _TOLD[told]
        yield f"head {head} {click.style(words, fg=colour)}"
    if broken is None and chain.entries:
        yield f"head to write down: {chain.head}"


def _extent(chain: Chain) -> str:
    if chain.first_at is None or chain.last_at is None:
        return "no entries"
    return f"{chain.entries:,} entries, from {_time(chain.first_at)} to {_time(chain.last_at)}"


def _content(found: Checked) -> dict[str, Any]:
    chain, broken = found.chain, found.broken
    return {
        "whole": broken is None,
        "entries": chain.entries,
        "first_at": None if chain.first_at is None else _time(chain.first_at),
        "last_at": None if chain.last_at is None else _time(chain.last_at),
        "head": asdict(chain.head),
        "checkpoint": None if chain.checkpoint is None else asdict(chain.checkpoint),
        "break": None if broken is None else asdict(broken),
        "heads": {str(head): told for head, told in found.told.items()},
    }


def _time(seconds: object) -> str:
    """An edited entry may say anything of its time."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"  # type: ignore[arg-type]  # whatever an edited entry says is tried
    except (TypeError, ValueError, OverflowError, OSError):
        return str(seconds)
