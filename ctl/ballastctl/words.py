"""Runs as people read them in a terminal."""

import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import click

from kube_ballast.analysis.words import duration
from kube_ballast.clients.remediator_types import Plan, Run, RunSummary, Scalar, Step

_COLOURS: Final = {
    "succeeded": "green",
    "failed": "red",
    "outcome_unknown": "red",
    "awaiting_approval": "yellow",
    "running": "cyan",
    "verifying": "cyan",
}
_VERDICTS: Final = {"allow": ("ok ", "green"), "ask": ("ASK", "yellow"), "refuse": ("NO ", "red")}
_NUMBERS: Final = {2: "two", 3: "three", 4: "four", 5: "five"}
_NARROWEST: Final = 20
_ROOM: Final = 40
"""Columns that a reason needs beside the others; with less it has a line of its own."""
_BEFORE_WORDS: Final = re.compile(r" *(?:\d+\. |(?:ok |ASK|NO ) |- |\d\d:\d\d:\d\dZ +\+[\w. ]+?  +(?=[a-z_]+  ))")


def clean(text: str) -> str:
    """On one line and without control characters: labels come from anywhere and must not drive the terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def wrapped(text: str, columns: int | None, *, indent: int = 0, hang: int | None = None) -> Iterator[str]:
    """The text with ``indent``, and ``hang`` on its further lines, wrapped at ``columns``; None is one line.

    Colours take no columns.
    """
    first, later = " " * indent, " " * (indent if hang is None else hang)
    if columns is None:
        yield first + text
        return
    line, room = first, max(columns, _NARROWEST)
    for word in text.split(" "):
        if line.strip() and len(click.unstyle(line)) + 1 + len(click.unstyle(word)) > room:
            yield line.rstrip()
            line = later + word
        else:
            line += word if not line.strip() and len(line) == len(first) else f" {word}"
    yield line


def fitted(lines: Iterable[str], columns: int | None) -> Iterator[str]:
    """Each line wrapped; what follows hangs under its words, behind a number, a guard's verdict or a time."""
    for line in lines:
        bare = click.unstyle(line)
        indent = len(bare) - len(bare.lstrip())
        found = _BEFORE_WORDS.match(bare)
        hang = found.end() if found else indent + 2
        yield from wrapped(line.strip(), columns, indent=indent, hang=hang)


def table(runs: Sequence[RunSummary], *, now: datetime, columns: int | None) -> Iterator[str]:
    """One line for each run under a heading; in few ``columns`` the reason has its own. It is cut, with None whole."""
    if not runs:
        yield "no runs"
        return
    rows = [("RUN", "STATE", "RUNBOOK", "CLUSTER", "TARGET", "AGE", "REASON"), *(_cells(run, now) for run in runs)]
    widths = [max(len(cell) for cell in column) for column in zip(*(row[:-1] for row in rows), strict=True)]
    room = None if columns is None else columns - sum(widths) - 2 * len(widths)
    for row in rows:
        *cells, reason = (clean(cell) for cell in row)
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        padded[1] = click.style(padded[1], fg=_COLOURS.get(row[1]))
        if columns is None or room is None or room >= _ROOM:
            yield "  ".join([*padded, reason if room is None else _cut(reason, room)]).rstrip()
            continue
        yield "  ".join(padded).rstrip()
        if row is not rows[0]:
            yield f"  {_cut(reason, columns - 2)}"


def _cells(run: RunSummary, now: datetime) -> tuple[str, ...]:
    return run.id, run.state, run.runbook, run.cluster, run.target, age(run.created_at, now), run.reason


def terminal_width() -> int:
    """Columns of the terminal."""
    return shutil.get_terminal_size().columns


def terminal_height() -> int:
    """Rows of the terminal."""
    return shutil.get_terminal_size().lines


def age(then: datetime, now: datetime) -> str:
    """How long ago, in words."""
    return duration(max((now - then).total_seconds(), 0.0))


def details(run: Run, *, now: datetime) -> Iterator[str]:
    """Everything about one run."""
    state = click.style(run.state, fg=_COLOURS.get(run.state), bold=True)
    yield f"run {run.id}: {state}, {clean(run.reason)}"
    yield f"  {run.runbook} for {clean(run.target)} in {clean(run.cluster)}, opened {_when(run.created_at, now)}"
    name = clean(run.alert.labels.get("alertname", "without a name"))
    yield f"  alert {name}, firing since {_when(run.alert.starts_at, now)}"
    if run.finished_at is not None:
        yield f"  finished {_when(run.finished_at, now)}"
    if run.resolved_at is not None:
        yield f"  its unknown outcome was looked at {_when(run.resolved_at, now)}"
    if run.state == "awaiting_approval" and run.expires_at is not None:
        left = (run.expires_at - now).total_seconds()
        yield f"  the plan lapses in {duration(left)}" if left > 0 else "  the plan has lapsed"
    if run.state == "awaiting_approval" or run.approvals:
        yield "  " + click.style(approvals(run), fg="yellow" if run.state == "awaiting_approval" else None)
        for one in run.approvals:
            yield f"    {one.person} {_when(one.at, now)}: {clean(one.reason)}"
    if run.plan is not None:
        yield from plan(run, run.plan, now=now)
    if run.timeline:
        yield from _section(f"Timeline since {_clock(run.timeline[0].at)}", _timeline(run))


def approvals(run: Run) -> str:
    """Who has approved the plan, how many more it takes, and who may."""
    given = [one.person for one in run.approvals]
    said = f"approved by {listed(given)}" if given else ""
    left = run.approvals_needed - len(given)
    if left <= 0 or run.state != "awaiting_approval":
        return said
    if given:
        people = "one more, a different person" if left == 1 else f"{count(left)} more, different people"
        said += f"; waits for {people}"
    else:
        said = "waits for one person" if left == 1 else f"waits for {count(left)} different people"
    may = None if run.approvers is None else [name for name in run.approvers if name not in given]
    return f"{said} ({approvers(may)})"


def approvers(names: Sequence[str] | None) -> str:
    """Who may approve."""
    return "whoever has the role approver or admin" if names is None else listed(names, "or")


def listed(names: Sequence[str], last: str = "and") -> str:
    """``a, b and c``, clean."""
    *others, final = map(clean, names)
    return f"{', '.join(others)} {last} {final}" if others else final


def shown(value: Scalar) -> str:
    """A value of a plan: 80.0 is 80."""
    return f"{value:g}" if isinstance(value, float) else clean(str(value))


def count(number: int) -> str:
    """A small number as a word."""
    return _NUMBERS.get(number, str(number))


def plan(run: Run, content: Plan, *, now: datetime) -> Iterator[str]:
    """The plan as numbered steps, with what each guard says of it."""
    yield from _section(f"Plan (mode {run.mode}): {clean(content.summary)}", map(clean, content.because))
    progress = {step.ordinal: step for step in run.steps}
    width = len(str(len(content.steps)))
    yield from _section(
        "Steps",
        (
            f"{step.ordinal:>{width}}. {clean(step.words)}{_progress(progress.get(step.ordinal), now)}"
            for step in content.steps
        ),
    )
    limits = [f"{clean(name)}: {shown(value)}" for name, value in content.limits.items()]
    limits += [f"{clean(name)}: at least {shown(value)}" for name, value in content.floors.items()]
    if limits:
        yield from _section("Limits", limits)
    yield from _section(
        "Guards", (f"{verdict(answer.verdict)} {answer.guard}: {clean(answer.reason)}" for answer in content.answers)
    )
    for guard in run.to_acknowledge:
        state = "was accepted" if guard in run.acknowledged else f"has to be accepted: --acknowledge {guard}"
        yield "  " + click.style(f"The risk that {guard} names {state}", fg="yellow")
    if run.plan_hash is not None:
        yield ""
        yield f"Plan hash {run.plan_hash}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield ""
    yield click.style(title, bold=True)
    for line in lines:
        yield f"  {line}"


def _timeline(run: Run) -> Iterator[str]:
    began = run.timeline[0].at
    width = max(len(entry.event) for entry in run.timeline)
    for entry in run.timeline:
        after = f"+{duration((entry.at - began).total_seconds())}"
        at = entry.at.astimezone(UTC).strftime("%H:%M:%SZ")
        yield f"{at}  {after:>10}  {entry.event:<{width}}  {clean(entry.actor)}: {clean(entry.words)}"


def _progress(step: Step | None, now: datetime) -> str:
    if step is None or (step.intended_at is None and step.done_at is None):
        return ""
    if step.intended_at is None:
        return click.style(f" [{clean(step.result or 'done already')}]", fg="green")
    if step.done_at is None:
        words = f"began {age(step.intended_at, now)} ago" + (f", attempt {step.attempts}" if step.attempts > 1 else "")
        return click.style(f" [{words}]", fg="cyan")
    took = duration((step.done_at - step.intended_at).total_seconds())
    return click.style(f" [done in {took}: {clean(step.result or '')}]", fg="green")


def verdict(said: str) -> str:
    """A guard's verdict in three columns."""
    mark, colour = _VERDICTS.get(said, (said, None))
    return click.style(mark, fg=colour)


def _when(time: datetime, now: datetime) -> str:
    return f"{_clock(time)} ({age(time, now)} ago)"


def until(time: datetime, now: datetime) -> str:
    """When, and how long that is from now."""
    return f"until {_clock(time)} ({age(now, time)} more)"


def _clock(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _cut(text: str, width: int) -> str:
    width = max(width, _NARROWEST)
    return text if len(text) <= width else f"{text[: width - 1]}…"
