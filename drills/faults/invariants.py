"""What has to hold whatever was done: read from the audit, from the effects' own log, and from etcd's logs."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ballast_remediator.chain import Break, Chain, Page
from ballast_remediator.contract import FINAL, TRANSITIONS, RunState
from drills.faults.effects import Effect, What
from drills.faults.history import History

STARTED: Final = "starting defragment"
FINISHED: Final = "finished defragment"
"""What etcd's maintenance API logs, 3.5 and 3.6; a start without an end was cut off by a kill of etcd."""
STATES: Final = frozenset(RunState)
GENERATED: Final = "drill-"
"""How the names of generated runbooks begin."""
EFFECTLESS: Final = frozenset({"already"})
"""Kinds of step that never have to act."""


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


def _lost(history: History) -> Iterator[str]:
    for fingerprint in sorted(history.accepted - history.known - history.waiting):
        yield f"alert {fingerprint} was accepted and is lost"


def _not_filed(history: History) -> Iterator[str]:
    for fingerprint in sorted(history.waiting):
        yield f"alert {fingerprint} is in the store, and nobody has filed it"


def _not_ended(history: History) -> Iterator[str]:
    for run in history.runs:
        if run.state not in FINAL:
            yield f"run {run.id} ended in {run.state}, which is not final: {run.reason}"


def _forbidden_transitions(history: History) -> Iterator[str]:
    for run, timeline in history.timelines().items():
        states = [RunState(entry.event) for entry in timeline if entry.event in STATES]
        for one, other in pairwise(states):
            if other not in TRANSITIONS[one]:
                yield f"run {run} went from {one} to {other}"


def _broken_chain(history: History) -> Iterator[str]:
    for found in Chain().follow([Page(None, history.audit)]):
        if isinstance(found, Break):
            yield f"the audit's chain breaks at entry {found.seq} ({found.kind}): {found.words}"


def _steps_again(history: History) -> Iterator[str]:
    """A step that was written down as done begins again, by the audit alone."""
    for run, timeline in history.timelines().items():
        done: set[int] = set()
        for entry in timeline:
            if entry.event == RunState.PLANNING:  # judged anew: these are steps of another plan
                done.clear()
            elif entry.event == "step_done":
                done.add(entry.data["ordinal"])
            elif entry.event == "step_started" and entry.data["ordinal"] in done:
                yield f"run {run} started step {entry.data['ordinal']} again after it was done"


def _unintended(history: History) -> Iterator[str]:
    """Each beginning of an effect was written down before: together with `_steps_again`, none is repeated."""
    intended = Counter(
        (entry.run_id, entry.data["ordinal"], entry.data["token"])
        for entry in history.audit
        if entry.event == "step_started"
    )
    began = Counter((one.run, one.step, one.token) for one in history.effects if one.what is What.BEGAN)
    for (run, step, token), times in began.items():
        if times > intended[run, step, token]:
            yield (
                f"run {run} began the effect of step {step} {times} times under token {token}, and wrote down "
                f"{intended[run, step, token]} intentions"
            )


def _done_twice(history: History) -> Iterator[str]:
    """An effect that shows in the world is caused again. What a zombie ends late, nobody could have seen."""
    ended: dict[tuple[str, int], Effect] = {}
    for effect in history.effects:
        step = (effect.run, effect.step)
        before = ended.get(step)
        if effect.what is What.ENDED:
            ended.setdefault(step, effect)
        elif effect.what is What.BEGAN and before is not None:
            late = before.replica != effect.replica and before.token < effect.token
            if not late:
                yield f"run {effect.run} did step {effect.step} again, which the world showed as done"


def _without_effect(history: History) -> Iterator[str]:
    """What was written down as done, or is said to have succeeded, and was not."""
    ended = {(one.run, one.step) for one in history.effects if one.what is What.ENDED}
    generated = {run.id: run for run in history.runs if run.runbook.startswith(GENERATED)}
    for step in history.steps:
        run = generated.get(step.run)
        if run is not None and step.done and step.kind not in EFFECTLESS and (step.run, step.ordinal) not in ended:
            yield f"run {step.run} has step {step.ordinal} ({step.kind}) as done, and the world does not show it"
    succeeded = {run.id for run in history.runs if run.state is RunState.SUCCEEDED}
    for step in history.steps:
        if step.run in succeeded and not step.done:
            yield f"run {step.run} succeeded without step {step.ordinal} ({step.kind}) being written down as done"


def _by_the_fenced(history: History) -> Iterator[str]:
    """A run's fencing token never goes down from one effect to the next."""
    highest: dict[str, Effect] = {}
    for effect in history.effects:
        if not effect.acts:
            continue
        newest = highest.get(effect.run)
        if newest is not None and effect.token < newest.token:
            if not _in_the_window(effect, newest):
                yield (
                    f"replica {effect.replica} acted in step {effect.step} of run {effect.run} with token "
                    f"{effect.token}, after token {newest.token} had acted"
                )
        elif newest is None or effect.token > newest.token:
            highest[effect.run] = effect


def _overlaps(history: History) -> Iterator[str]:
    """Of each lock, the runs' effects come one run after the other."""
    holder: dict[str, Effect] = {}
    gone: dict[str, dict[str, Effect]] = {}
    for effect in history.effects:
        for lock in effect.locks if effect.acts else ():
            now = holder.get(lock)
            if now is None or now.run != effect.run:
                over = gone.setdefault(lock, {})
                if now is not None:
                    over[now.run] = effect
                successor = over.get(effect.run)
                if successor is None:
                    holder[lock] = effect
                elif not _in_the_window(effect, successor):
                    yield f"run {effect.run} acted on {lock} after run {successor.run} had begun to"


def _lifted_too_early(history: History) -> Iterator[str]:
    """Step rows are done in order, so the last defragmentation's end has to come before the first lifting."""
    for run, timeline in history.timelines().items():
        open_defragmentations = {
            entry.data["ordinal"]
            for entry in timeline
            if entry.event in {"step_started", "step_done"} and entry.data["kind"] == "defragment"
        }
        for entry in timeline:
            if entry.event == "step_done":
                open_defragmentations.discard(entry.data["ordinal"])
            elif entry.event == "note" and entry.words.startswith("lifted NOSPACE") and open_defragmentations:
                yield f"run {run} lifted NOSPACE before every member's defragmentation was done"


def _in_the_window(effect: Effect, other: Effect) -> bool:
    """Whether it was decided before the other one acted: its process stood still between the look and the effect."""
    return effect.looked < other.at


INVARIANTS: Final[Mapping[str, Callable[[History], Iterator[str]]]] = MappingProxyType(
    {
        "accepted alerts lost": _lost,
        "accepted alerts not filed in the end": _not_filed,
        "completed steps re-run": _steps_again,
        "effects without an intention": _unintended,
        "effects caused twice": _done_twice,
        "steps done without their effect": _without_effect,
        "overlaps on a target or a lock": _overlaps,
        "actions by a fenced replica": _by_the_fenced,
        "runs neither final nor quarantined": _not_ended,
        "transitions that the table forbids": _forbidden_transitions,
        "breaks of the audit's chain": _broken_chain,
        "etcd: NOSPACE lifted too early": _lifted_too_early,
    }
)
"""What the table of counts calls them."""


def violations(history: History) -> Mapping[str, tuple[str, ...]]:
    """By invariant, each violation in words. A store that cannot be read violates all that it was to prove."""
    if history.problem is not None:
        return {"accepted alerts lost": (history.problem,)}
    return {name: tuple(holds(history)) for name, holds in INVARIANTS.items()}


def in_the_window(history: History) -> int:
    """Actions between whose look and whose effect a process stood still for so long that others had taken over.

    Nobody can close this window; it is counted, so that it is known how often it is met.
    """
    highest: dict[str, Effect] = {}
    found = 0
    for effect in history.effects:
        newest = highest.get(effect.run)
        if effect.acts and newest is not None and effect.token < newest.token and _in_the_window(effect, newest):
            found += 1
        if effect.acts and (newest is None or effect.token > newest.token):
            highest[effect.run] = effect
    return found
