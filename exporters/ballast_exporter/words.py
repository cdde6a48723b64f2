"""Times and states in words, for people."""

from dataclasses import dataclass
from typing import Final

from ballast_exporter.contract import Finding
from ballast_exporter.core import Slot
from kube_ballast.analysis.words import duration

OK: Final = "ok"
"""The verdict that blames nobody."""


@dataclass(frozen=True, slots=True)
class Row:
    """One collector on the status page. ``condition`` is ok, found, trouble, failed or waiting.

    ``verdicts`` are on what it watches; a note that only repeats one is left out.
    """

    name: str
    condition: str
    says: str
    interval: str
    took: str
    succeeded: str
    verdicts: tuple[Finding, ...]
    notes: tuple[str, ...]
    requests: tuple[tuple[str, int], ...]


def row(slot: Slot, now: float) -> Row:
    """``slot`` in words; ``now`` in its clock's monotonic seconds."""
    state = slot.state
    verdicts = state.snapshot.evidence if state.snapshot else ()
    told = tuple(f"{each.subject}: {each.verdict}" for each in verdicts)
    notes = tuple(note for note in (state.snapshot.notes if state.snapshot else ()) if not note.startswith(told))
    if not state.attempted:
        condition, says = "waiting", "the first poll is under way"
    elif state.error is not None:
        condition, says = "failed", state.error
    elif notes:
        condition, says = "trouble", "some of what it asks gives no answer:"
    elif any(each.verdict != OK for each in verdicts):
        condition, says = "found", "not all that it watches is well:"
    else:
        condition, says = "ok", "works"
    return Row(
        name=slot.name,
        condition=condition,
        says=says,
        interval=duration(slot.interval),
        took="unknown" if state.duration_seconds is None else duration(state.duration_seconds),
        succeeded="never" if state.last_success is None else f"{duration(now - state.last_success)} ago",
        verdicts=verdicts,
        notes=notes,
        requests=tuple((target, count) for (_, target), count in sorted(slot.requests.totals().items())),
    )
