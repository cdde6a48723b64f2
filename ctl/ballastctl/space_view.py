"""A report of what fills an etcd as people read it: how full, why, whose, and what to do about it."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Final

import click

from ballastctl.bars import bar, stacked
from ballastctl.space_report import Member, Overview, Parts, Report, Stall
from ballastctl.space_table import table
from ballastctl.words import clean
from kube_ballast.analysis.words import duration, percent, size

NARROWEST: Final = 80
WIDEST: Final = 132
_TIGHT: Final = 0.9
_WARM: Final = 0.75
_SOON_SECONDS: Final = 24 * 3600
_ALIKE: Final = 0.1


def header(etcd: Overview, columns: int) -> Iterator[str]:
    """Which etcd it is, and how full each member."""
    versions = sorted({each.version for each in etcd.members if each.version})
    count = len(etcd.members)
    named = "" if etcd.name == "main" else f"{clean(etcd.name)}: "
    title = f"{named}etcd {' and '.join(versions)}, {count} member{'s' if count != 1 else ''}"
    yield click.style(title, bold=True) + ("" if etcd.revision is None else f", revision {etcd.revision:,}")
    for kind in sorted({alarm.kind for alarm in etcd.alarms}):
        who = ", ".join(clean(alarm.member) for alarm in etcd.alarms if alarm.kind == kind)
        means = "the cluster takes deletes only" if kind == "NOSPACE" else "members disagree about the data"
        yield click.style(f"ALARM {kind}, raised by {who}: {means}", fg="red", bold=True)
    yield ""
    yield from _members(etcd.members, columns)
    if etcd.missing_members:
        missing = f"  not asked, not being among the endpoints: {', '.join(map(clean, etcd.missing_members))}"
        yield click.style(missing, fg="yellow")


def _members(members: Sequence[Member], columns: int) -> Iterator[str]:
    width = max(6, *(len(each.name) for each in members))
    drawn = max(8, min(40, columns - width - 58))
    heading = f"  {'MEMBER':<{width}}  {'ROLE':<8}  {'DATABASE':>10}  {'IN USE':>10}  OF ITS QUOTA"
    yield click.style(heading, dim=True)
    for each in members:
        name = clean(each.name)
        if each.size_bytes is None or each.in_use_bytes is None:
            state = "defragments now" if each.defragmenting else f"gives no status: {clean(each.problem or '')}"
            yield f"  {name:<{width}}  {click.style(state, fg='yellow')}"
            continue
        line = f"  {name:<{width}}  {each.role:<8}  {size(each.size_bytes):>10}  {size(each.in_use_bytes):>10}  "
        if each.quota_bytes is None:
            yield f"{line}unknown, or switched off"
            continue
        ratio = each.size_bytes / each.quota_bytes
        yield f"{line}{bar(ratio, drawn, colour=_heat(ratio))} {percent(ratio):>5} of {size(each.quota_bytes)}"


def _heat(ratio: float) -> str:
    return "red" if ratio >= _TIGHT else "yellow" if ratio >= _WARM else "green"


def body(report: Report, columns: int, *, top: int) -> Iterator[str]:
    """What fills it, whose it is, what to do; at most ``top`` resources."""
    yield ""
    if report.parts is None:
        yield "Sizes were not read: how much is live data and how much is history is unknown."
    else:
        yield from _split(report, report.parts, columns)
    yield ""
    yield from table(report, columns, top)
    if report.largest:
        yield ""
        yield click.style("Largest objects", bold=True)
        yield from (f"  {size(each.bytes):>10}  {clean(each.key)}" for each in report.largest)
    if report.advice:
        yield ""
        yield click.style("What to do", bold=True)
        for number, each in enumerate(report.advice, 1):
            yield from _wrapped(f"{number}. {clean(each.words)}", columns, indent=5, first=2)
    yield ""
    yield from _footer(report, columns)


def _split(report: Report, parts: Parts, columns: int) -> Iterator[str]:
    whole = parts.size_bytes or 1.0
    rows = (
        ("live", parts.live_bytes, "█", "blue", "the keys as they are now"),
        ("half empty", parts.half_empty_bytes, "▓", "cyan", "room on the pages of live keys"),
        ("history", parts.history_bytes, "▒", "yellow", "old revisions, until a compaction"),
        ("free", parts.free_bytes, "░", "white", "unused pages, until a defragmentation"),
    )
    yield click.style(_verdict(report, parts), bold=True)
    yield "  " + stacked(((value / whole, letter, colour) for _, value, letter, colour, _ in rows), columns - 4)
    for name, value, letter, colour, meaning in rows:
        mark = click.style(letter, fg=colour)
        yield f"  {mark} {name:<10}  {size(value):>10}  {percent(value / whole):>5}  {click.style(meaning, dim=True)}"
    yield from _growth(report)
    yield ""
    yield from _cures(report, columns)


def _verdict(report: Report, parts: Parts) -> str:
    """The cause, in one sentence."""
    whole = parts.size_bytes or 1.0
    loose = parts.half_empty_bytes + parts.free_bytes
    of = f"of the {size(parts.size_bytes)} of {clean(parts.member)}"
    if parts.live_bytes >= max(parts.history_bytes, loose):
        most = next((each for each in report.resources if each.share), None)
        above_all = f", {clean(most.name)} above all ({percent(most.share)})" if most and most.share else ""
        return f"Live data is {percent(parts.live_bytes / whole)} {of}{above_all}"
    if parts.history_bytes >= loose:
        return f"History is {percent(parts.history_bytes / whole)} {of}: old revisions that nobody compacted"
    return f"Free space is {percent(loose / whole)} {of}: a defragmentation gives it back"


def _cures(report: Report, columns: int) -> Iterator[str]:
    cures = report.cures
    if cures is None:
        return
    yield click.style("What each cure gives back", bold=True)
    yield f"  a compaction       {_gain(cures.compaction_bytes):>10}  inside the file, which keeps its size"
    yield f"  a defragmentation  {_gain(cures.defragmentation_bytes):>10}  off the file"
    yield f"  both, in order     {_gain(cures.both_bytes):>10}  off the file"
    if cures.stalls:
        text = (
            f"A defragmentation blocks {_stalls(cures.stalls)}, at {size(cures.assumed_bytes_per_second)} a second, "
            "a guess until it was measured here."
        )
        yield from _wrapped(text, columns, indent=2, first=2)


def _gain(value: float) -> str:
    return size(value) if round(value) else "nothing"


def _stalls(stalls: Sequence[Stall]) -> str:
    """One number where members are alike."""
    if _alike([each.now_seconds for each in stalls]):
        longest = max(stalls, key=lambda each: each.now_seconds)
        return f"{'each member in turn' if len(stalls) > 1 else 'the member'} for {_stall(longest)}"
    return ", ".join(f"{clean(each.member)} for {_stall(each)}" for each in stalls)


def _stall(stall: Stall) -> str:
    now, after = stall.now_seconds, stall.after_compaction_seconds
    return duration(now) if _alike([now, after]) else f"{duration(now)}, {duration(after)} after a compaction"


def _alike(values: Sequence[float]) -> bool:
    return min(values) >= (1 - _ALIKE) * max(values)


def _growth(report: Report) -> Iterator[str]:
    growth = report.growth
    if growth is None or not report.keys:
        return
    yield ""
    yield click.style(f"Growth in {duration(growth.seconds)}", bold=True)
    rate = growth.live_bytes_per_second
    most = max(report.resources + report.foreign, key=lambda each: each.growth_bytes_per_second or 0.0)
    above_all = f", {clean(most.name)} above all" if (most.growth_bytes_per_second or 0.0) > 0 else ""
    yield f"  live data {'+' if rate >= 0 else '-'}{size(abs(rate) * 3600)} an hour{above_all}"
    if growth.seconds_until_full is not None:
        words = "is reached" if not growth.seconds_until_full else f"in {duration(growth.seconds_until_full)}"
        near = growth.seconds_until_full < _SOON_SECONDS
        yield click.style(f"  NOSPACE {words}, if it goes on like this", fg="red" if near else None, bold=near)
    elif rate > 0:
        yield "  when the quota is reached is unknown: no member tells its quota"
    else:
        yield "  the quota is not reached like this"


def _footer(report: Report, columns: int) -> Iterator[str]:
    sizes = {"exact": "sizes are exact", "sampled": "sizes are estimated", "unknown": "sizes were not read"}
    text = (
        f"Counted in {duration(report.count_seconds)} with {report.requests} requests, all to {report.read_from}; "
        f"{sizes[report.sizes]}."
    )
    yield from _wrapped(text, columns, dim=True)
    for note in report.notes:
        yield from _wrapped(clean(note), columns, colour="yellow")


def _wrapped(
    text: str, columns: int, *, indent: int = 0, first: int = 0, colour: str | None = None, dim: bool = False
) -> Iterator[str]:
    lines = textwrap.wrap(
        text,
        columns - 1,
        initial_indent=" " * first,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    yield from (click.style(line, fg=colour, dim=dim or None) for line in lines)
