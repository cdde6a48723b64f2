"""What a replay tells: each alert's decision, side by side with another policy's, and the totals."""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from ballast_remediator import policy
from ballast_remediator.contract import Alert
from ballast_remediator.engine.replay import ASSUMPTIONS, Decision, Delivery, Kind, replay
from ballastctl.recordings import Recording
from ballastctl.words import approvers, clean, count
from kube_ballast import configfile

_COLOURS: Final = {Kind.RUN: "red", Kind.ASK: "yellow", Kind.SHADOW: "cyan"}
_TITLES: Final = {
    Kind.RUN: "would run",
    Kind.ASK: "would ask",
    Kind.SHADOW: "shadow",
    Kind.SUPPRESSED: "suppressed",
    Kind.JOINED: "joined an open run",
    Kind.IGNORED: "no run answers it",
}
_ALIKE: Final = 3
"""Rows alike in everything but target and time that are shown in a row."""
_WIDEST: Final = 110
_NARROWEST: Final = 20
_LONGEST_NAME: Final = 24


@dataclass(frozen=True, slots=True)
class Ruled:
    """One policy: its file, how it is called in the report, and the line of each rule."""

    file: Path
    name: str
    lines: tuple[int, ...]

    def place(self, decision: Decision) -> str:
        """Where the rule stands."""
        return f"{self.name}:{self.lines[decision.rule]}" if decision.rule is not None else self.name


@dataclass(frozen=True, slots=True)
class Row:
    """One alert that fires, and what each policy decides."""

    at: float
    alert: Alert
    decisions: tuple[Decision, ...]

    @property
    def differs(self) -> bool:
        """Whether the policies come to different things."""
        return len({one.essence for one in self.decisions}) > 1

    @property
    def shown(self) -> bool:
        """What only joins an open run is counted."""
        return self.differs or any(one.kind is not Kind.JOINED for one in self.decisions)

    @property
    def subject(self) -> str:
        """What it is about, but for the target."""
        labels = self.alert.labels
        return " ".join(filter(None, (labels.get("alertname"), labels.get("cluster"), labels.get("ballast_runbook"))))

    @property
    def likeness(self) -> tuple[object, ...]:
        """What rows that are told together have in common."""
        return self.subject, *((one.essence, one.rule) for one in self.decisions)


@dataclass(frozen=True, slots=True)
class Replayed:
    """``truncated`` is how many alerts Alertmanager had left out of the recorded notifications."""

    policies: tuple[Ruled, ...]
    rows: tuple[Row, ...]
    notifications: int
    truncated: int

    @property
    def different(self) -> int:
        """How many decisions differ."""
        return sum(row.differs for row in self.rows)


def replayed(found: Sequence[Recording], clusters: Sequence[str], files: Sequence[Path]) -> Replayed:
    """Lets each policy decide. Raises ConfigError where one cannot be used."""
    policies = [policy.load(file) for file in files]
    deliveries = [Delivery(one.at, one.body, one.alerts) for one in found]
    decided = [replay(one, deliveries, clusters) for one in policies]
    rows = []
    for number, delivery in enumerate(deliveries):
        for index, alert in enumerate(delivery.alerts):
            decisions = tuple(one for each in decided if (one := each[number][index]) is not None)
            if decisions:
                rows.append(Row(delivery.at, alert, decisions))
    return Replayed(_ruled(files, policies), tuple(rows), len(found), sum(one.truncated for one in found))


def _ruled(files: Sequence[Path], policies: Sequence[policy.Policy]) -> tuple[Ruled, ...]:
    distinct = len({file.name for file in files}) == len(files)
    names = [clean(file.name if distinct else str(file)) for file in files]
    return tuple(
        Ruled(
            file,
            name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}",
            tuple(configfile.line_of(file, ("rules", number)) for number in range(len(one.content.rules))),
        )
        for file, name, one in zip(files, names, policies, strict=True)
    )


def lines(told: Replayed, *, width: int) -> Iterator[str]:
    """For people, at most ``width`` columns where no word is longer."""
    width = min(width, _WIDEST)
    yield click.style("Taken to be so, since a recording does not hold it", bold=True)
    for words in ASSUMPTIONS:
        yield from textwrap.wrap(words, width, initial_indent="- ", subsequent_indent="  ")
    for _, group in groupby((row for row in told.rows if row.shown), key=lambda row: row.likeness):
        alike = [*group]
        for row in alike[:_ALIKE]:
            yield ""
            yield from _row(told, row, width)
        if len(alike) > _ALIKE:
            yield f"  … and {len(alike) - _ALIKE:,} more like this until {_clock(alike[-1].at)}"
    yield ""
    yield from _totals(told)


def _row(told: Replayed, row: Row, width: int) -> Iterator[str]:
    labels = row.alert.labels
    name, runbook = labels.get("alertname", "an alert without a name"), labels.get("ballast_runbook")
    others = {key: value for key, value in labels.items() if key not in {"alertname", "ballast_runbook", "severity"}}
    about = ", ".join(f"{key}={value}" for key, value in sorted(others.items()))
    head = f"{_clock(row.at)}  {name}" + (f" for {runbook}" if runbook else "") + (f" ({about})" if about else "")
    yield from textwrap.wrap(clean(head), width, subsequent_indent=" " * 21)
    places = [one.place(decision) for one, decision in zip(told.policies, row.decisions, strict=True)]
    column = max(map(len, places))
    for number, (place, decision) in enumerate(zip(places, row.decisions, strict=True)):
        mark = "≠" if row.differs and number else " "
        prefix = f"  {mark} {place:<{column}}  "
        told_lines = textwrap.wrap(clean(_words(decision)), max(width - len(prefix), _NARROWEST))
        for line_number, line in enumerate(told_lines):
            indent = " " * len(prefix) if line_number else prefix
            yield indent + click.style(line, fg=_COLOURS.get(decision.kind))


def _words(decision: Decision) -> str:
    match decision.kind:
        case Kind.RUN:
            return f"would run by itself ({decision.mode})"
        case Kind.ASK:
            several = f"; it takes {count(decision.needed or 1)} different people" if (decision.needed or 1) > 1 else ""
            return f"would ask {approvers(decision.people)}{several} ({decision.mode})"
        case Kind.SHADOW:
            return "would write down its plan (shadow)"
        case Kind.SUPPRESSED:
            return f"suppressed: {decision.words}"
        case _:
            return decision.words


def _totals(told: Replayed) -> Iterator[str]:
    counts = [Counter(_total(row.decisions[number]) for row in told.rows) for number in range(len(told.policies))]
    titles = sorted(set().union(*counts), key=lambda title: (_rank(title), title))
    first = max(map(len, (*titles, "Totals")))
    widths = [max(len(one.name), 5) for one in told.policies]
    names = "  ".join(one.name.rjust(width) for one, width in zip(told.policies, widths, strict=True))
    yield click.style(f"{'Totals':<{first}}  {names}", bold=True)
    for title in titles:
        cells = "  ".join(f"{count[title]:>{width},}" for count, width in zip(counts, widths, strict=True))
        yield f"{title:<{first}}  {cells}"
    cut = f"; Alertmanager had left out {told.truncated:,} more" if told.truncated else ""
    yield f"{told.notifications:,} notifications, {len(told.rows):,} alerts that fire{cut}"
    if len(told.policies) > 1:
        yield f"{told.different:,} decisions differ" if told.different else "no decision differs"


def _total(decision: Decision) -> str:
    by = f" by {decision.guard or 'no guard'}" if decision.kind is Kind.SUPPRESSED else ""
    return _TITLES[decision.kind] + by


def _rank(title: str) -> int:
    return next(number for number, known in enumerate(_TITLES.values()) if title.startswith(known))


def as_json(told: Replayed) -> str:
    """The same for programs, every alert of it."""
    content = {
        "assumptions": ASSUMPTIONS,
        "policies": [str(one.file) for one in told.policies],
        "notifications": told.notifications,
        "truncated_alerts": told.truncated,
        "differences": told.different,
        "decisions": [_entry(told, row) for row in told.rows],
    }
    return json.dumps(content, indent=2)


def _entry(told: Replayed, row: Row) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(row.at, UTC).isoformat(),
        "fingerprint": row.alert.fingerprint,
        "labels": dict(row.alert.labels),
        "differs": row.differs,
        "decisions": [
            {
                "policy": str(one.file),
                "line": None if decision.rule is None else one.lines[decision.rule],
                "mode": decision.mode,
                "decision": decision.kind,
                "guard": decision.guard,
                "words": decision.words,
                "approvals_needed": decision.needed,
                "approvers": decision.people,
            }
            for one, decision in zip(told.policies, row.decisions, strict=True)
        ],
    }


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
