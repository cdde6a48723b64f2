"""Asks a remediator about its runs, and tells it what a person decided.

Source: the remediator's own ``/openapi.json``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Timeout, Unavailable
from kube_ballast.clients.http import Answer, HttpClient
from kube_ballast.config import HttpConfig

T = TypeVar("T")
Scalar = str | int | float | bool | None
_RUNS: Final = "/api/v1/runs"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run in a list. Times are aware; None where it has not come to that."""

    id: str
    cluster: str
    runbook: str
    target: str
    state: str
    reason: str
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Alert:
    """The alert that opened a run."""

    fingerprint: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime


@dataclass(frozen=True, slots=True)
class GuardAnswer:
    """``verdict`` is ``allow``, ``ask`` or ``refuse``."""

    guard: str
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step as the plan has it; ``ordinal`` counts from 1."""

    ordinal: int
    kind: str
    target: str
    words: str
    params: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do, or did."""

    summary: str
    because: tuple[str, ...]
    steps: tuple[PlannedStep, ...]
    limits: Mapping[str, Scalar]
    answers: tuple[GuardAnswer, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """How far one step came."""

    ordinal: int
    kind: str
    target: str
    words: str
    attempts: int
    intended_at: datetime | None
    done_at: datetime | None
    result: str | None
    facts: Mapping[str, Scalar]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """One entry of a run's audit."""

    at: datetime
    event: str
    actor: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(RunSummary):
    """One run with all that led to where it is; ``plan_hash`` is what an approval names."""

    alert: Alert
    mode: str | None
    plan: Plan | None
    plan_hash: str | None
    to_acknowledge: tuple[str, ...]
    acknowledged: tuple[str, ...]
    steps: tuple[Step, ...]
    timeline: tuple[TimelineEntry, ...]


@dataclass(frozen=True, slots=True)
class _Runs:
    runs: tuple[RunSummary, ...]


class _Problem(BaseModel):
    error: str


_LIST = TypeAdapter(_Runs)
_ONE = TypeAdapter(Run)
_REQUEST: TypeAdapter[Mapping[str, object]] = TypeAdapter(Mapping[str, object])


class Remediator:
    """Every call takes ``timeout`` in seconds for all of it and raises ``ClientError``s only.

    ``Conflict`` carries the remediator's own words when it says no.
    """

    def __init__(self, config: HttpConfig) -> None:
        self._http = HttpClient(config)
        self.url = config.url

    def runs(self, *, limit: int, state: str | None = None, timeout: float) -> tuple[RunSummary, ...]:
        """The newest ``limit`` runs first, only those in ``state`` where it is given."""
        params = [("limit", str(limit))] + ([] if state is None else [("state", state)])
        answer = self._http.get(_RUNS, params, timeout=timeout)
        return self._read(_LIST, answer, acted=False).runs

    def run(self, run_id: str, *, timeout: float) -> Run:
        """One run. Raises Conflict when there is none of that id."""
        return self._read(_ONE, self._http.get(_path(run_id), timeout=timeout), acted=False)

    def approve(self, run_id: str, *, plan_hash: str, reason: str, acknowledge: Sequence[str], timeout: float) -> Run:
        """Lets exactly the plan of that hash run."""
        content = {"plan_hash": plan_hash, "reason": reason, "acknowledge": list(acknowledge)}
        return self._decide(run_id, "approve", content, timeout)

    def reject(self, run_id: str, *, reason: str, timeout: float) -> Run:
        """Cancels a run that has not begun."""
        return self._decide(run_id, "reject", {"reason": reason}, timeout)

    def resolve(self, run_id: str, *, reason: str, timeout: float) -> Run:
        """Frees the target of a run whose outcome is unknown, after a person looked."""
        return self._decide(run_id, "resolve", {"reason": reason}, timeout)

    def _decide(self, run_id: str, what: str, content: Mapping[str, object], timeout: float) -> Run:
        body = _REQUEST.dump_json(content)
        answer = self._http.request("POST", f"{_path(run_id)}/{what}", timeout=timeout, body=body)
        return self._read(_ONE, answer, acted=True)

    def _read(self, adapter: TypeAdapter[T], answer: Answer, *, acted: bool) -> T:
        if answer.status != 200:  # noqa: PLR2004 (the one status of success)
            raise self._refusal(answer, acted=acted)
        try:
            return adapter.validate_json(answer.body)
        except ValidationError as error:
            raise BadResponse(
                self.url, f"the answer is not a remediator's: {answer.text()[:200]}; is this its address?"
            ) from error

    def _refusal(self, answer: Answer, *, acted: bool) -> ClientError:
        try:
            words = _Problem.model_validate_json(answer.body).error
        except ValidationError:
            return BadResponse(self.url, f"answered {answer.status}, not as a remediator does: {answer.text()[:200]}")
        if answer.status in {404, 409}:
            return Conflict(self.url, words)
        if answer.status >= 500:  # noqa: PLR2004 (the class of the server's own faults)
            # It may have committed before it failed, or after it gave up waiting.
            return Timeout(self.url, words) if acted else Unavailable(self.url, words)
        return BadResponse(self.url, f"answered {answer.status}: {words}")


def _path(run_id: str) -> str:
    return f"{_RUNS}/{quote(run_id, safe='')}"
