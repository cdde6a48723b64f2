"""Times and states in words, for people."""

from dataclasses import dataclass

from ballast_exporter.core import Slot
from kube_ballast.analysis.words import duration


@dataclass(frozen=True, slots=True)
class Row:
    """One collector on the status page. ``condition`` is ok, trouble, failed or waiting."""

    name: str
    condition: str
    says: str
    interval: str
    took: str
    succeeded: str
    notes: tuple[str, ...]
    requests: tuple[tuple[str, int], ...]


def row(slot: Slot, now: float) -> Row:
    """``slot`` in words; ``now`` in its clock's monotonic seconds."""
    state = slot.state
    notes = state.snapshot.notes if state.snapshot else ()
    if not state.attempted:
        condition, says = "waiting", "the first poll is under way"
    elif state.error is not None:
        condition, says = "failed", state.error
    elif notes:
        condition, says = "trouble", "some of what it asks gives no answer:"
    else:
        condition, says = "ok", "works"
    return Row(
        name=slot.name,
        condition=condition,
        says=says,
        interval=duration(slot.interval),
        took="unknown" if state.duration_seconds is None else duration(state.duration_seconds),
        succeeded="never" if state.last_success is None else f"{duration(now - state.last_success)} ago",
        notes=notes,
        requests=tuple((target, count) for (_, target), count in sorted(slot.requests.totals().items())),
    )
