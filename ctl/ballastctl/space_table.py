"""The table of resources: what it shows depends on the width, and on whether sizes and growth are known."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from ballastctl.bars import bar
from ballastctl.space_report import Holder, Report
from ballastctl.words import clean
from kube_ballast.analysis.words import percent, size

_SHORTEST_NAME: Final = 27
_LONGEST_BAR: Final = 30
_SHORTEST_BAR: Final = 10
_PERCENT: Final = 5
_GAP: Final = "  "
_HOUR: Final = 3600
_SHARE: Final = "SHARE"
_GROWTH: Final = "GROWTH/H"
_EXPENDABLE: Final = ("AVERAGE", "LARGEST")


def table(report: Report, columns: int, top: int) -> Iterator[str]:
    """A line for each of the ``top`` largest resources and strangers, and one for the rest of each."""
    stored = "" if report.bytes is None else f", {size(report.bytes)}"
    yield click.style(f"Whose they are: {report.keys:,} keys{stored}", bold=True)
    if not report.keys:
        return
    resources, foreign = _cut(report.resources, top), _cut(report.foreign, top)
    layout = _layout(report, [*resources, *foreign], columns)
    yield click.style(layout.heading(), dim=True)
    yield from (layout.line(each, "blue") for each in resources)
    if foreign:
        yield click.style("  not of an apiserver, yet it uses up the same quota:", fg="yellow")
        yield from (layout.line(each, "yellow") for each in foreign)


def _cut(holders: Sequence[Holder], top: int) -> list[Holder]:
    """The first ``top``, and what is left as one."""
    rest = holders[top:]
    if len(rest) < 2:  # noqa: PLR2004 - a line that says "1 more" could as well name it
        return [*holders]
    return [
        *holders[:top],
        Holder(
            name=f"({len(rest)} more)",
            keys=sum(each.keys for each in rest),
            bytes=_sum([each.bytes for each in rest]),
            error_bytes=None,
            share=_sum([each.share for each in rest]),
            average_bytes=None,
            largest_bytes=max((each.largest_bytes or 0 for each in rest), default=0) or None,
            writes=None,
            growth_bytes_per_second=_sum([each.growth_bytes_per_second for each in rest]),
        ),
    ]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class _Layout:
    """Widths of the name, the bar and the other columns by title; a full bar is ``most`` of the whole.

    ``fastest`` is the growth in bytes a second of what grows most.
    """

    name: int
    bar: int
    widths: Mapping[str, int]
    most: float
    fastest: float

    def heading(self) -> str:
        """The titles."""
        titles = (
            f"{title:<{self.bar + _PERCENT + 1}}" if title == _SHARE else f"{title:>{self.widths[title]}}"
            for title in self.widths
        )
        return _GAP.join((f"  {'RESOURCE':<{self.name}}", *titles)).rstrip()

    def line(self, holder: Holder, colour: str) -> str:
        """One holder."""
        name = clean(holder.name)
        if len(name) > self.name:
            name = f"{name[: self.name - 1]}…"
        cells = (
            self._share(holder, colour)
            if title == _SHARE
            else click.style(f"{_cell(holder, title):>{width}}", fg=self._colour_of(holder, title))
            for title, width in self.widths.items()
        )
        return _GAP.join((f"  {name:<{self.name}}", *cells)).rstrip()

    def _colour_of(self, holder: Holder, title: str) -> str | None:
        """What grows most stands out."""
        grows = title == _GROWTH and 0 < self.fastest == holder.growth_bytes_per_second
        return "red" if grows else None

    def _share(self, holder: Holder, colour: str) -> str:
        if holder.share is None:
            return f"{'?':<{self.bar + _PERCENT + 1}}"
        return f"{bar(holder.share / self.most, self.bar, colour=colour)} {percent(holder.share):>{_PERCENT}}"


def _layout(report: Report, holders: Sequence[Holder], columns: int) -> _Layout:
    """Everything where there is room; else names are cut, and then the average and the largest give way."""
    longest = max(len("RESOURCE"), *(len(clean(each.name)) for each in holders))
    titles = ["KEYS", "BYTES", _SHARE, "AVERAGE", "LARGEST"] if report.bytes is not None else ["KEYS", _SHARE]
    if report.growth is not None:
        titles.append(_GROWTH)
    widths = {title: max(len(title), *(len(_cell(each, title)) for each in holders)) for title in titles}
    kept, room = widths, 0
    for least, dropped in ((longest, ()), (_SHORTEST_NAME, ()), (_SHORTEST_NAME, ("AVERAGE",)), (0, _EXPENDABLE)):
        kept = {title: width for title, width in widths.items() if title not in dropped}
        taken = sum(len(_GAP) + (_PERCENT + 1 if title == _SHARE else width) for title, width in kept.items())
        room = columns - 1 - len("  ") - taken
        if room - _SHORTEST_BAR >= min(longest, least):
            break
    name = max(min(longest, room - _SHORTEST_BAR), len("RESOURCE"))
    most = max((each.share or 0.0 for each in holders), default=0.0) or 1.0
    fastest = max((each.growth_bytes_per_second or 0.0 for each in holders), default=0.0)
    return _Layout(name, max(_SHORTEST_BAR, min(_LONGEST_BAR, room - name)), kept, most, fastest)


def _cell(holder: Holder, title: str) -> str:
    match title:
        case "KEYS":
            return f"{holder.keys:,}"
        case "BYTES":
            about = "~" if holder.error_bytes else ""
            return about + _size(holder.bytes)
        case "AVERAGE":
            return _size(holder.average_bytes)
        case "LARGEST":
            return _size(holder.largest_bytes)
        case _ if title == _SHARE:
            return ""
        case _:
            return _change(holder.growth_bytes_per_second)


def _size(value: float | None) -> str:
    return "" if value is None else size(value)


def _change(bytes_per_second: float | None) -> str:
    if bytes_per_second is None:
        return ""
    hourly = bytes_per_second * _HOUR
    if round(hourly) == 0:
        return "0 B"
    return f"{'+' if hourly > 0 else '-'}{size(abs(hourly))}"
