"""Bars of block characters."""

from collections.abc import Iterable
from typing import Final

import click

_EIGHTHS: Final = " ▏▎▍▌▋▊▉"


def bar(ratio: float, width: int, *, colour: str | None = None) -> str:
    """``width`` columns filled by ``ratio`` (held to 0 to 1), an eighth of a column exact; the rest stays visible."""
    eighths = round(min(max(ratio, 0.0), 1.0) * width * 8)
    whole, part = divmod(eighths, 8)
    full = "█" * whole + (_EIGHTHS[part] if part else "")
    return click.style(full, fg=colour) + click.style("·" * (width - len(full)), dim=True)


def stacked(parts: Iterable[tuple[float, str, str | None]], width: int) -> str:
    """(ratio, character, colour) side by side, ``width`` columns in all; what is not 0 has a column at least."""
    kept = [(ratio, letter, colour) for ratio, letter, colour in parts if ratio > 0]
    columns = [max(1, int(ratio * width)) for ratio, _, _ in kept]
    # The largest remainders get what rounding left over; the widest gives back what the narrow ones took.
    order = sorted(range(len(kept)), key=lambda index: int(kept[index][0] * width) - kept[index][0] * width)
    for index in order[: max(0, width - sum(columns))]:
        columns[index] += 1
    if columns:
        columns[columns.index(max(columns))] += width - sum(columns)
    return "".join(
        click.style(letter * count, fg=colour) for (_, letter, colour), count in zip(kept, columns, strict=True)
    )
