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
from drills.stall.lookalikes import LOOKALIKES, NOBODY, Lookalike, Names, NotMade
from drills.stall.watch import EVERY_SECONDS, Verdicts, Watcher
from kube_ballast.analysis.stall import Verdict

WELL_AGAIN_SECONDS: Final = 90.0
NOTHING: Final = "nothing"
"""Told, where there is no valid evidence."""
NOTHING_SHARE: Final = 2 / 3
"""More of the time nothing may be told: who says nothing says no false name. A stopped exporter is for about half."""
WHOSE: Final = ("the first", "the other")


class Observed(msgspec.Struct, frozen=True, omit_defaults=True):
    """For how many seconds each verdict was told, of either apiserver; ``false`` are names with the reasons given."""

    name: str
    lasted: float
    first: dict[str, float]
    other: dict[str, float]
    false: tuple[str, ...]
    well_again: float | None
    """Seconds from its end until both were `ok`; None is not within `WELL_AGAIN_SECONDS`."""
    busy: float | None
    """Processors that the first apiserver used, on average; None where it was restarted."""
    code: str = ""
    endpoints: str = ""
    least: float = 0.0
    """Processors that it had to use."""
    not_made: str = ""
    """Why it was none, in words."""

    @property
    def misses(self) -> tuple[str, ...]:
        """What does not hold, in words."""
        silent = [
            f"nothing told of {whose} apiserver for {told[NOTHING]:.0f} s"
            for whose, told in zip(WHOSE, (self.first, self.other), strict=True)
            if told.get(NOTHING, 0.0) > NOTHING_SHARE * self.lasted
        ]
        others = (
            (f"not well again {WELL_AGAIN_SECONDS:g} s after its end", self.well_again is not None),
            (f"{self.used}, not {self.least:g}", (self.busy or 0.0) >= self.least),
            (f"not made: {self.not_made}", not self.not_made),
        )
        return (*(f"false: {each}" for each in self.false), *silent, *(word for word, holds in others if not holds))

    @property
    def used(self) -> str:
        """By the first apiserver, in words."""
        return "restarted" if self.busy is None else f"{self.busy:.1f} processors"


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
                self.false.setdefault(f"{verdict} of {WHOSE[number]} apiserver", why)


def observe(ground: Ground, watcher: Watcher, lookalike: Lookalike, seconds: float) -> Observed:
    """Make it for so long; what is told from its end until all is well again counts too."""
    watcher.until_well()
    tally, pid = Tally(lookalike.allowed(ground)), ground.control.apiservers[0].process.pid
    busy: float | None = None
    not_made = ""
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
        try:
            with contextmanager(lookalike.during)(ground):
                time.sleep(seconds)
                with suppress(FileNotFoundError):  # it was restarted
                    busy = (cpu_seconds(pid) - used) / seconds
        except NotMade as why:
            not_made = str(why)
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
        busy=busy,
        least=lookalike.least,
        not_made=not_made,
    )


def _rounded(seconds: Counter[str]) -> dict[str, float]:
    return {name: round(lasted, 1) for name, lasted in seconds.most_common()}


def told(row: Observed) -> str:
    """One look-alike, as it went."""
    holds = "; ".join(row.misses) or "holds"
    return f"{row.name}: {_words(row.first)} (the other: {_words(row.other)}); {row.used}: {holds}"


def table(rows: Iterable[Observed]) -> str:
    """All of them in Markdown, with what may be said and why."""
    told_of = "told of the first; of the other"
    heads = ("endpoints", "made", "seconds", "may be said", "because", told_of, "false", "the first used")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    known = {each.name: each for each in LOOKALIKES}
    for row in rows:
        each = known[row.name]
        shared = each.shared if row.endpoints == "all" else NOBODY
        may = ", ".join(f"`{name}`" for name in sorted(each.first | each.other | shared)) or "nothing else"
        said = f"{_words(row.first)}; {_words(row.other)}"
        made = f"| {row.endpoints} | {row.name} | {row.lasted:.0f} | {may} | {each.why} "
        lines.append(f"{made}| {said} | {len(row.false) or 'none'} | {row.used} |")
    return "\n".join(lines)


def _words(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"`{name}` {lasted:.0f} s" for name, lasted in seconds.items())
