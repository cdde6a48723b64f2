"""The request mix as people read it: what there is most of, then a line for each of the busiest."""

from collections.abc import Iterator, Sequence
from typing import Final

import click

from ballastctl.apiserver_mix import Mix, Row
from ballastctl.apiserver_reading import CLIENTS
from ballastctl.bars import bar
from ballastctl.words import clean, wrapped
from kube_ballast.analysis.words import duration

NARROWEST: Final = 80
WIDEST: Final = 160
_GAP: Final = "  "
_BAR: Final = range(8, 31)
_SHORTEST: Final = 8
_MUCH, _WRONG = 0.5, 0.1
_TENTHS_UNTIL: Final = 0.0995
_LEAST: Final = 0.001
_WHOLE_FROM: Final = 9.95
_NOTHING: Final = "(none)"
"""In place of a namespace or resource that a request does not have."""


def lines(mix: Mix, columns: int, top: int) -> Iterator[str]:
    """The whole of it, with at most ``top`` rows."""
    yield click.style(_verdict(mix, columns), bold=True)
    yield from _about(mix, columns)
    yield ""
    yield from _table(mix, columns, top)
    for note in mix.notes:
        yield from (click.style(line, fg="yellow") for line in wrapped(clean(note), columns - 1))


def share(ratio: float) -> str:
    """A ratio as ``62 %`` or ``0.4 %``; what is there is never 0."""
    if ratio and ratio < _LEAST:
        return "<0.1 %"
    return f"{ratio * 100:.1f} %" if 0 < ratio < _TENTHS_UNTIL else f"{ratio * 100:.0f} %"


def rate(per_second: float) -> str:
    """``12,345``, ``1.5``, or ``<0.1`` requests a second."""
    if 0 < per_second < 0.05:  # noqa: PLR2004 - what would be shown as 0.0
        return "<0.1"
    return f"{per_second:.1f}" if 0 < per_second < _WHOLE_FROM else f"{per_second:,.0f}"


def _verdict(mix: Mix, columns: int) -> str:
    if not mix.requests_per_second:
        return f"The apiservers were asked nothing in {duration(mix.seconds)}"
    most = max(mix.rows, key=lambda row: row.requests_per_second, default=None)
    if most is None:
        return f"{rate(mix.requests_per_second)} requests a second, none of them told by name"
    names = " ".join(_named(most.by[each]) for each in mix.by)
    said = f"{share(most.share)} of {rate(mix.requests_per_second)} requests a second: {names}"
    return said if len(said) < columns else f"{said[: columns - 2]}…"


def _about(mix: Mix, columns: int) -> Iterator[str]:
    counted = "audit events" if mix.source == CLIENTS else "the apiservers' own metrics"
    wrong = "" if mix.errors is None else f"; {share(mix.errors)} of all end in an error (4xx, 5xx)"
    yield from wrapped(f"Over {duration(mix.seconds)}, from {counted}{wrong}.", columns - 1)
    if mix.rest is not None and mix.rest.requests_per_second:
        bound = mix.rest.error_bound
        most = "" if bound is None else f"; none of those did one thing more than {bound:,.0f} times of late"
        text = (
            f"{share(mix.rest.share)} ({rate(mix.rest.requests_per_second)}/s) are of clients not told by name{most}."
        )
        yield from wrapped(text, columns - 1)
    if mix.lost_events:
        lost = ", ".join(f"{count:,.0f} ({clean(why)})" for why, count in sorted(mix.lost_events.items()))
        text = f"Lost audit events: {lost}. All shares are of what was counted."
        yield from (click.style(line, fg="red") for line in wrapped(text, columns - 1))


def _table(mix: Mix, columns: int, top: int) -> Iterator[str]:
    if not mix.rows:
        return
    shown = mix.rows[:top]
    has_open = any(row.open for row in mix.rows)
    tail = [("REQUESTS/S", 10), ("ERRORS", 6), *([("OPEN", 7)] if has_open else [])]
    taken = sum(width + len(_GAP) for _, width in tail) + len(_GAP) + len(" <0.1 %")
    widths = _widths(mix.by, shown, columns - 1 - taken - _BAR.start)
    drawn = min(_BAR.stop - 1, columns - 1 - taken - sum(widths) - len(_GAP) * (len(widths) - 1))
    names = _GAP.join(f"{_title(each):<{width}}" for each, width in zip(mix.by, widths, strict=True))
    heading = [names, f"{'REQUESTS/S':>10}", f"{'SHARE':<{drawn + 7}}", *(f"{t:>{w}}" for t, w in tail[1:])]
    yield click.style(_GAP.join(heading), dim=True)
    most = max(row.share for row in shown) or 1.0
    for row in shown:
        cells = _GAP.join(f"{_fit(_named(row.by[by]), w):<{w}}" for by, w in zip(mix.by, widths, strict=True))
        colour = "red" if row.share >= _MUCH else "blue"
        wrong = f"{'-' if row.errors is None else share(row.errors):>6}"
        parts = [
            cells,
            f"{rate(row.requests_per_second):>10}",
            f"{bar(row.share / most, drawn, colour=colour)} {share(row.share):>6}",
            click.style(wrong, fg="red" if (row.errors or 0.0) >= _WRONG else None),
        ]
        yield _GAP.join([*parts, *([f"{row.open:>7,.0f}" if row.open else " " * 7] if has_open else [])])
    if len(mix.rows) > len(shown):
        others = mix.rows[len(shown) :]
        total = sum(row.requests_per_second for row in others)
        yield click.style(
            f"{len(others):,} more rows: {rate(total)}/s ({share(sum(r.share for r in others))})", dim=True
        )


def _widths(by: Sequence[str], rows: Sequence[Row], room: int) -> list[int]:
    """Of the label columns: as long as their longest, the longest cut first where that is too much."""
    widths = [max(len(_title(each)), *(len(_named(row.by[each])) for row in rows)) for each in by]
    while sum(widths) + len(_GAP) * (len(widths) - 1) > room and max(widths) > _SHORTEST:
        widths[widths.index(max(widths))] -= 1
    return widths


def _title(label: str) -> str:
    return label.replace("_", " ").upper()


def _named(value: str) -> str:
    """Service accounts lose the words that all of them begin with."""
    return clean(value.removeprefix("system:serviceaccount:")) or _NOTHING


def _fit(text: str, width: int) -> str:
    """Cut in the middle: names differ at their ends."""
    if len(text) <= width:
        return text
    head = width // 2
    return f"{text[:head]}…{text[len(text) - (width - head - 1) :]}"
