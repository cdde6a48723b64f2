"""What a remediator shows of shadowed runs. Source: the schemas of its ``/openapi.json``. Times are aware."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What one later look found; ``guard`` is the one that refused."""

    at: datetime
    found: str
    words: str
    guard: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRun:
    """One shadowed run, and what came of it. ``words`` say why it has that score."""

    id: str
    cluster: str
    runbook: str
    target: str
    shadowed_at: datetime
    would_have: str
    steps: int
    score: str
    words: str
    guard: str | None
    ended_at: datetime | None
    looks: tuple[Look, ...]
    mark: str | None


@dataclass(frozen=True, slots=True)
class ShadowTotals:
    """One runbook in one cluster: ``runs`` for so many ``alerts``, and how many have each score."""

    cluster: str
    runbook: str
    runs: int
    alerts: int
    scores: Mapping[str, int]
    refused_by: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ShadowReport:
    """The newest runs first; ``left_out`` older ones are in the totals alone."""

    since: datetime
    totals: tuple[ShadowTotals, ...]
    runs: tuple[ShadowRun, ...]
    left_out: int
