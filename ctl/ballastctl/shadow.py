"""``ballastctl shadow``: what would have been done, what came of it, and who ended the fault."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Final

import click
from pydantic import TypeAdapter

from ballastctl.bars import bar
from ballastctl.connection import Connection, connected, output_option, reason_option, say, span
from ballastctl.words import clean, listed, terminal_width
from kube_ballast.analysis.words import duration, percent
from kube_ballast.clients.remediator_shadow import Look, ShadowReport, ShadowRun, ShadowTotals

_SCORES: Final = {
    "people": ("ended by people", "yellow", "a run would have spared them that"),
    "itself": ("ended by itself", "cyan", "a run would have been needless"),
    "not_at_all": ("did not end", "red", "no guard would have refused the run"),
    "refused": ("refused later", "magenta", "by {}"),
    "unknown": ("unknown", None, "nobody can tell"),
    "open": ("still open", None, "followed up for an hour"),
}
_LATER: Final = {
    "same_plan": "the same",
    "other_plan": "another plan",
    "nothing_to_do": "nothing to do",
    "unseen": "not seen",
}
_BAR: Final = 12
_LABEL: Final = 13
_NOTE: Final = 42
"""Columns before a note, without the digits of the count."""
_NARROWEST: Final = 20
_WIDEST: Final = 110


@click.group()
def shadow() -> None:
    """Shows what came of the runs that the policy lets do nothing (mode shadow)."""


@shadow.command()
@click.option("--since", type=span, default="30d", show_default=True, metavar="DURATION", help="How far back.")
@click.option("--limit", type=click.IntRange(1, 5000), default=50, show_default=True, help="List at most so many runs.")
@output_option
@connected
def report(connection: Connection, since: float, limit: int, output: str) -> None:
    """Counts what came of shadowed runs, and lists them: what would have been done, when, and how it ended.

    docs/shadow.md says what each score means, and what it cannot know.
    """
    begin = datetime.now(UTC) - timedelta(seconds=since)
    found = connection.remediator.shadow(since=begin, limit=limit, timeout=connection.timeout)
    if output == "json":
        click.echo(TypeAdapter(ShadowReport).dump_json(found, indent=2))
        return
    say(_report(found, width=min(terminal_width(), _WIDEST)))


@shadow.command()
@click.argument("run_id", metavar="RUN")
@click.argument("who", type=click.Choice(["people", "itself", "unknown"]))
@reason_option
@connected
def mark(connection: Connection, run_id: str, who: str, reason: str) -> None:
    """Says who ended the fault of RUN. It decides the run's score; the last word counts."""
    run = connection.remediator.mark(run_id, who, reason=reason, timeout=connection.timeout)
    click.echo(f"run {run.id} is marked: {_SCORES[who][0]}")


def _report(found: ShadowReport, *, width: int) -> Iterator[str]:
    since = f"{found.since:%Y-%m-%d %H:%M} UTC"
    if not found.totals:
        yield f"no run was shadowed since {since}"
        return
    runs = sum(one.runs for one in found.totals)
    yield click.style(f"Shadowed since {since}: {_count(runs, 'run')}. None of them did anything.", bold=True)
    for one in found.totals:
        yield ""
        yield from _totals(one, width)
    yield ""
    yield click.style("The runs, the newest first", bold=True)
    for run in found.runs:
        yield ""
        yield from _run(run, width)
    if found.left_out:
        yield ""
        yield f"… and {_count(found.left_out, 'older run')}: --limit {len(found.runs) + found.left_out}"


def _totals(one: ShadowTotals, width: int) -> Iterator[str]:
    place = f"{clean(one.runbook)} in {clean(one.cluster)}"
    yield click.style(f"{place}: {_count(one.runs, 'run')} for {_count(one.alerts, 'alert')}", bold=True)
    digits = len(str(one.runs))
    guards = ", ".join(f"{clean(guard)} {times}" for guard, times in sorted(one.refused_by.items()))
    for score, (title, colour, note) in _SCORES.items():
        count = one.scores.get(score, 0)
        share = count / one.runs
        told = textwrap.wrap(note.format(guards), max(width - digits - _NOTE, _NARROWEST)) if count else []
        line = f"  {title:<15}  {count:>{digits}}  {bar(share, _BAR, colour=colour)}  {percent(share):>5}"
        yield "  ".join([line, *told[:1]])
        yield from (" " * (digits + _NOTE) + more for more in told[1:])


def _run(run: ShadowRun, width: int) -> Iterator[str]:
    title, colour, _ = _SCORES.get(run.score, (run.score, None, ""))
    place = f"{clean(run.runbook)} on {clean(run.target)} in {clean(run.cluster)}"
    yield click.style(f"{run.id}  {run.shadowed_at:%Y-%m-%d %H:%M} UTC  {place}", fg=colour)
    yield from _told("would have", f"{run.would_have} ({_count(run.steps, 'step')})", width)
    if run.looks:
        yield from _told("later", _looks(run), width)
    after = "" if run.ended_at is None else f" after {_after(run, run.ended_at)}"
    yield from _told("outcome", f"{title}{after}: {run.words}", width)


def _looks(run: ShadowRun) -> str:
    """What the looks found, alike ones in a row together."""
    return "; ".join(
        f"{found} after {listed([_after(run, look.at) for look in alike])}"
        for found, alike in groupby(run.looks, key=_found)
    )


def _found(look: Look) -> str:
    return f"refused by {look.guard or 'no guard'}" if look.found == "refused" else _LATER.get(look.found, look.found)


def _after(run: ShadowRun, then: datetime) -> str:
    return duration(max(0.0, (then - run.shadowed_at).total_seconds()))


def _told(label: str, text: str, width: int) -> Iterator[str]:
    lines = textwrap.wrap(clean(text), max(width - _LABEL, _NARROWEST), break_on_hyphens=False)
    for number, line in enumerate(lines):
        yield f"  {'' if number else label:<{_LABEL - 2}}{line}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
