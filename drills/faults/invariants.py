"""What has to hold whatever was killed: read from the audit, and from etcd's own logs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from pathlib import Path
from typing import Final

from ballast_remediator.contract import TRANSITIONS, RunState
from ballast_remediator.store.records import AuditEntry, Run

STARTED: Final = "starting defragment"
FINISHED: Final = "finished defragment"
"""What etcd's maintenance API logs, 3.5 and 3.6; a start without an end was cut off by a kill of etcd."""
STATES: Final = frozenset(RunState)


@dataclass(frozen=True, slots=True)
class Interval:
    """One defragmentation of one member, as etcd logged it; seconds since the epoch."""

    member: str
    start: float
    end: float


def defragmentations(member: str, log: Path) -> tuple[Interval, ...]:
    """What a member's log tells. One that never ended lasts for ever."""
    found: list[Interval] = []
    started: float | None = None
    for line in log.read_text(errors="replace").splitlines():
        entry = json.loads(line) if line.startswith("{") else {}
        if entry.get("msg") not in {STARTED, FINISHED}:
            continue
        at = datetime.fromisoformat(entry["ts"]).timestamp()
        if entry["msg"] == STARTED:
            started = at
        elif started is not None:
            found.append(Interval(member, started, at))
            started = None
    if started is not None:
        found.append(Interval(member, started, float("inf")))
    return tuple(found)


def two_at_once(intervals: Iterable[Interval]) -> tuple[str, ...]:
    """Pairs of defragmentations that overlap."""
    ordered = sorted(intervals, key=lambda interval: interval.start)
    return tuple(
        f"{one.member} and {other.member} were in defragmentation at once, at {other.start:.3f}"
        for one, other in combinations(ordered, 2)
        if other.start < one.end
    )


def story_violations(run: Run, timeline: Sequence[AuditEntry]) -> tuple[str, ...]:
    """What a run's audit shows that must not be."""
    return tuple(
        f"run {run.id}: {words}"
        for words in (
            *(() if run.final else (f"ended in {run.state}, which is not final",)),
            *_forbidden_transitions(timeline),
            *_steps_again(timeline),
            *_lifted_too_early(timeline),
        )
    )


def _forbidden_transitions(timeline: Sequence[AuditEntry]) -> Iterable[str]:
    states = [RunState(entry.event) for entry in timeline if entry.event in STATES]
    return (f"went from {one} to {other}" for one, other in pairwise(states) if other not in TRANSITIONS[one])


def _steps_again(timeline: Sequence[AuditEntry]) -> Iterable[str]:
    done: set[int] = set()
    for entry in timeline:
        if entry.event == "step_done":
            done.add(entry.data["ordinal"])
        elif entry.event == "step_started" and entry.data["ordinal"] in done:
            yield f"started step {entry.data['ordinal']} again after it was done"


def _lifted_too_early(timeline: Sequence[AuditEntry]) -> Iterable[str]:
    """Step rows are done in order, so the last defragmentation's end has to come before the first lifting."""
    open_defragmentations = {
        entry.data["ordinal"]
        for entry in timeline
        if entry.event in {"step_started", "step_done"} and entry.data["kind"] == "defragment"
    }
    for entry in timeline:
        if entry.event == "step_done":
            open_defragmentations.discard(entry.data["ordinal"])
        elif entry.event == "note" and entry.words.startswith("lifted NOSPACE") and open_defragmentations:
            yield "lifted NOSPACE before every member's defragmentation was done"
