"""One look-alike, made for a while: what is told of the apiservers meanwhile, and the names that are false."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from drills.stack.families import cpu_seconds
from drills.stall.crowd import repeatedly
from drills.stall.ground import Ground
from drills.stall.lookalikes import LOOKALIKES, NOBODY, Lookalike, Names
from drills.stall.watch import EVERY_SECONDS, Verdicts, Watcher
from kube_ballast.analysis.stall import Verdict

WELL_AGAIN_SECONDS: Final = 90.0
NOTHING: Final = "nothing"
"""Told, where there is no valid evidence."""


class Observed(msgspec.Struct, frozen=True, omit_defaults=True):
    """For how many seconds each verdict was told, of either apiserver; ``false`` are names with the reasons given."""

    name: str
    lasted: float
    first: dict[str, float]
    other: dict[str, float]
    false: tuple[str, ...]
    well_again: float | None
    """Seconds from its end until both were `ok`; None is not within `WELL_AGAIN_SECONDS`."""
    busy: float
    """Processors that the first apiserver used, on average."""
    code: str = ""
    endpoints: str = ""

    @property
    def misses(self) -> tuple[str, ...]:
        """What does not hold, in words."""
        never = () if self.well_again is not None else (f"not well again {WELL_AGAIN_SECONDS:g} s after its end",)
        return (*(f"false: {each}" for each in self.false), *never)


class Tally:
    """Adds up what is told; ``allowed`` are the names that may be said of the first and the other one."""

    def __init__(self, allowed: tuple[Names, Names]) -> None:
        self._allowed = allowed
        self.seconds: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.false: dict[str, str] = {}

    def see(self, lasted: float, verdicts: Verdicts, why: str) -> None:
        """It was so for that many seconds; ``why`` is what the verdicts' reasons are."""
        for number, verdict in enumerate(verdicts):
            self.seconds[number][verdict or NOTHING] += lasted  # type: ignore[assignment]
            if verdict is not None and verdict not in self._allowed[number]:
                whose = ("the first", "the other")[number]
                self.false.setdefault(f"{verdict} of {whose} apiserver", why)


def observe(ground: Ground, watcher: Watcher, lookalike: Lookalike, seconds: float) -> Observed:
    """Make it for so long; what is told from its end until all is well again counts too."""
    watcher.until_well()
    tally, pid, spent = Tally(lookalike.allowed(ground)), ground.control.apiservers[0].process.pid, 0.0
    used, began = cpu_seconds(pid), time.monotonic()
    looked = began
    told: Verdicts = (None, None)

    def look(stop: threading.Event) -> None:
        nonlocal looked, told
        told, now = watcher.verdicts(), time.monotonic()
        tally.see(now - looked, told, str(dict(watcher.reasons)))
        looked = now
        stop.wait(EVERY_SECONDS)

    with repeatedly(look):
        with contextmanager(lookalike.during)(ground):
            time.sleep(seconds)
            with suppress(FileNotFoundError):  # it was restarted
                spent = cpu_seconds(pid) - used
        ended = time.monotonic()
        while told != (Verdict.OK, Verdict.OK) and time.monotonic() < ended + WELL_AGAIN_SECONDS:
            time.sleep(EVERY_SECONDS)
        well = told == (Verdict.OK, Verdict.OK)
    return Observed(
        name=lookalike.name,
        lasted=time.monotonic() - began,
        first=_rounded(tally.seconds[0]),
        other=_rounded(tally.seconds[1]),
        false=tuple(f"{name}: {why}" for name, why in sorted(tally.false.items())),
        well_again=time.monotonic() - ended if well else None,
        busy=spent / seconds,
    )


def _rounded(seconds: Counter[str]) -> dict[str, float]:
    return {name: round(lasted, 1) for name, lasted in seconds.most_common()}


def told(row: Observed) -> str:
    """One look-alike, as it went."""
    holds = "; ".join(row.misses) or "holds"
    return f"{row.name}: {_words(row.first)} (the other: {_words(row.other)}); {row.busy:.1f} processors: {holds}"


def table(rows: Iterable[Observed]) -> str:
    """All of them in Markdown, with what may be said and why."""
    heads = ("endpoints", "made", "seconds", "may be said", "because", "told of the first; of the other", "false")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    known = {each.name: each for each in LOOKALIKES}
    for row in rows:
        each = known[row.name]
        shared = each.shared if row.endpoints == "all" else NOBODY
        may = ", ".join(f"`{name}`" for name in sorted(each.first | each.other | shared)) or "nothing else"
        said = f"{_words(row.first)}; {_words(row.other)}"
        why = each.why
        lines.append(
            f"| {row.endpoints} | {row.name} | {row.lasted:.0f} | {may} | {why} | {said} | {len(row.false) or 'none'} |"
        )
    return "\n".join(lines)


def _words(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"`{name}` {lasted:.0f} s" for name, lasted in seconds.items())
