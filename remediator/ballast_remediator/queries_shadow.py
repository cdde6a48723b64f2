"""What came of shadowed runs, as the API shows it.

docs/shadow.md says what each score means, and what it cannot know.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from typing import Final

from pydantic import Field

from ballast_remediator.queries import View
from ballast_remediator.store import shadow
from ballast_remediator.store.database import Store
from ballast_remediator.store.shadow import AtWork, Later, Look, Mark, Shadow

DEFAULT_SPAN: Final = 30 * 86400.0
"""Seconds that a report covers when nobody says since when."""


class Score(StrEnum):
    """What came of a shadowed run."""

    PEOPLE = "people"
    ITSELF = "itself"
    NOT_AT_ALL = "not_at_all"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    OPEN = "open"


class LookView(View):
    """What one later look found: what the run would have done then."""

    at: datetime
    found: Later
    words: str
    guard: str | None = Field(description="The guard that refused.")


class ShadowRun(View):
    """One shadowed run, and what came of it."""

    id: str
    cluster: str
    runbook: str
    target: str
    shadowed_at: datetime = Field(description="When it would have begun, or would have asked.")
    would_have: str = Field(description="What its plan says in a sentence; `GET /api/v1/runs/{run_id}` has all of it.")
    steps: int = Field(description="How many steps its plan has.")
    score: Score
    words: str = Field(description="Why that score.")
    guard: str | None = Field(description="With `refused`: the guard that refused at the last look.")
    ended_at: datetime | None = Field(description="When the fault ended, as far as that is known.")
    looks: tuple[LookView, ...]
    mark: Mark | None = Field(description="Who ended the fault, as a person said; it decides the score.")


class ShadowTotals(View):
    """One runbook in one cluster."""

    cluster: str
    runbook: str
    runs: int
    alerts: int = Field(
        description="Different alerts behind them: one that goes on firing opens a run again and again."
    )
    scores: Mapping[Score, int] = Field(description="How many runs have each score.")
    refused_by: Mapping[str, int] = Field(description="With `refused`: how many, by the guard.")


class ShadowReport(View):
    """The newest runs first."""

    since: datetime
    totals: tuple[ShadowTotals, ...]
    runs: tuple[ShadowRun, ...]
    left_out: int = Field(description="Older runs that are counted in the totals, and not in the list.")


def report(store: Store, *, since: datetime | None, limit: int) -> ShadowReport:
    """What came of the runs that were shadowed since then, 30 days by default. Raises StoreUnavailable."""
    begin = store.now() - DEFAULT_SPAN if since is None else since.timestamp()
    found = store.read(shadow.followed, since=begin)
    at_work = store.read(shadow.at_work, since=begin)
    scored = [(run, _score(run, at_work)) for run in found]
    return ShadowReport(
        since=_time(begin),
        totals=tuple(_totals(scored)),
        runs=tuple(_shown(run, score) for run, score in scored[:limit]),
        left_out=max(0, len(found) - limit),
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """A score and why; ``ended`` is when the fault did, in seconds since the epoch, as far as that is known."""

    score: Score
    words: str
    guard: str | None = None
    ended: float | None = None


def _shown(run: Shadow, scored: Scored) -> ShadowRun:
    return ShadowRun(
        id=run.run_id,
        cluster=run.target.cluster,
        runbook=run.target.runbook,
        target=run.target.name,
        shadowed_at=_time(run.since),
        would_have=run.plan["summary"],
        steps=len(run.plan["steps"]),
        score=scored.score,
        words=scored.words,
        guard=scored.guard,
        ended_at=None if scored.ended is None else _time(scored.ended),
        looks=tuple(
            LookView(at=_time(look.at), found=look.found, words=look.words, guard=look.guard) for look in run.looks
        ),
        mark=None if run.marked is None else run.marked.mark,
    )


def _score(run: Shadow, at_work: Iterable[AtWork]) -> Scored:
    ended = _ended(run)
    if run.marked is not None:
        words = f"{run.marked.person} says so: {run.marked.reason}"
        return Scored(Score(run.marked.mark), words, ended=ended)
    if ended is None:
        return _going_on(run)
    for one in at_work:
        if one.touched(run.target, since=run.since, until=ended):
            return Scored(Score.PEOPLE, one.words, ended=ended)
    how = "the alert resolved" if run.resolved_at is not None else "there was nothing to do any more"
    return Scored(Score.ITSELF, f"{how}, and nobody had said that they work on it", ended=ended)


def _going_on(run: Shadow) -> Scored:
    if run.next_look_at is not None:
        following = f"the next look is at {_time(run.next_look_at):%H:%M} UTC"
        return Scored(Score.OPEN, f"the alert has not resolved; {following}")
    last = _last(run)
    if last is None:
        return Scored(Score.UNKNOWN, "nobody could look afterwards, and no notification says that the alert resolved")
    if last.found is Later.REFUSED:
        return Scored(Score.REFUSED, last.words, last.guard)
    return Scored(Score.NOT_AT_ALL, "at the last look the fault was still there, and no guard would have refused")


def _last(run: Shadow) -> Look | None:
    return next((look for look in reversed(run.looks) if look.found is not Later.UNSEEN), None)


def _ended(run: Shadow) -> float | None:
    """When the fault ended: a look that found nothing to do counts once no other can contradict it."""
    if run.resolved_at is not None or run.next_look_at is not None:
        return run.resolved_at
    last = _last(run)
    return last.at if last is not None and last.found is Later.NOTHING_TO_DO else None


def _totals(scored: Sequence[tuple[Shadow, Scored]]) -> Iterable[ShadowTotals]:
    def place(pair: tuple[Shadow, Scored]) -> tuple[str, str]:
        return pair[0].target.runbook, pair[0].target.cluster

    for (runbook, cluster), group in groupby(sorted(scored, key=place), key=place):
        pairs = [*group]
        counts = Counter(one.score for _, one in pairs)
        yield ShadowTotals(
            cluster=cluster,
            runbook=runbook,
            runs=len(pairs),
            alerts=len({(run.fingerprint, run.starts_at) for run, _ in pairs}),
            scores={score: counts[score] for score in Score},
            refused_by=Counter(one.guard or "no guard" for _, one in pairs if one.score is Score.REFUSED),
        )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
