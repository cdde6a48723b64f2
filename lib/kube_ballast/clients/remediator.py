"""Asks a remediator about its runs, and tells it what a person decided.

Source: the remediator's own ``/openapi.json``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, TypeAdapter, ValidationError

from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Timeout, Unavailable
from kube_ballast.clients.http import Answer, HttpClient
from kube_ballast.clients.remediator_audit import AuditPage
from kube_ballast.clients.remediator_shadow import ShadowReport
from kube_ballast.clients.remediator_types import Explanations, Preapproval, Run, RunSummary, Stop, Stops
from kube_ballast.config import HttpConfig

T = TypeVar("T")
_RUNS: Final = "/api/v1/runs"
_STOPS: Final = "/api/v1/stops"
_PREAPPROVALS: Final = "/api/v1/preapprovals"
_EXPLAIN: Final = "/api/v1/explain"
_SHADOW: Final = "/api/v1/shadow"
_AUDIT: Final = "/api/v1/audit"


@dataclass(frozen=True, slots=True)
class _Runs:
    runs: tuple[RunSummary, ...]


class _Problem(BaseModel):
    error: str


@dataclass(frozen=True, slots=True)
class _Preapprovals:
    preapprovals: tuple[Preapproval, ...]


_LIST = TypeAdapter(_Runs)
_ONE = TypeAdapter(Run)
_ALL_STOPS = TypeAdapter(Stops)
_STOP = TypeAdapter(Stop)
_ALL_PREAPPROVALS = TypeAdapter(_Preapprovals)
_PREAPPROVAL = TypeAdapter(Preapproval)
_EXPLANATIONS = TypeAdapter(Explanations)
_REPORT = TypeAdapter(ShadowReport)
_AUDIT_PAGE = TypeAdapter(AuditPage)
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
        return self._read(_ONE, self._http.get(_path(_RUNS, run_id), timeout=timeout), acted=False)

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

    def shadow(self, *, since: datetime | None = None, limit: int, timeout: float) -> ShadowReport:
        """What came of the runs that were shadowed since then (aware), 30 days by default."""
        params = [("limit", str(limit))] + ([] if since is None else [("since", since.isoformat())])
        return self._read(_REPORT, self._http.get(_SHADOW, params, timeout=timeout), acted=False)

    def mark(self, run_id: str, mark: str, *, reason: str, timeout: float) -> Run:
        """Says who ended the fault of a shadowed run: ``people``, ``itself`` or ``unknown``."""
        return self._decide(run_id, "mark", {"mark": mark, "reason": reason}, timeout)

    def audit(self, *, after: int, limit: int, timeout: float) -> AuditPage:
        """At most ``limit`` entries of the audit with a higher number than ``after``; none is the end."""
        params = [("after", str(after)), ("limit", str(limit))]
        return self._read(_AUDIT_PAGE, self._http.get(_AUDIT, params, timeout=timeout), acted=False)

    def stops(self, *, timeout: float) -> Stops:
        """What keeps runs from beginning now."""
        return self._read(_ALL_STOPS, self._http.get(_STOPS, timeout=timeout), acted=False)

    def stop(
        self,
        kind: str,
        *,
        reason: str,
        cluster: str | None = None,
        runbook: str | None = None,
        target: str | None = None,
        seconds: float | None = None,
        timeout: float,
    ) -> Stop:
        """Sets a stop; what is None it covers whatever that is. Without ``seconds`` until somebody lifts it."""
        scope = {"cluster": cluster, "runbook": runbook, "target": target}
        content = {"kind": kind, "reason": reason, "seconds": seconds, **scope}
        return self._post(_STOP, _STOPS, content, timeout)

    def lift(self, stop_id: str, *, reason: str, timeout: float) -> Stop:
        """Lifts a stop; the answer is the one that was lifted."""
        return self._post(_STOP, f"{_path(_STOPS, stop_id)}/lift", {"reason": reason}, timeout)

    def preapprovals(self, *, timeout: float) -> tuple[Preapproval, ...]:
        """Those that are neither revoked nor over, oldest first."""
        return self._read(_ALL_PREAPPROVALS, self._http.get(_PREAPPROVALS, timeout=timeout), acted=False).preapprovals

    def preapprove(
        self,
        *,
        cluster: str,
        runbook: str,
        targets: Sequence[str],
        limits: Mapping[str, float],
        acknowledge: Sequence[str],
        reason: str,
        until: datetime | None = None,
        seconds: float | None = None,
        timeout: float,
    ) -> Preapproval:
        """Approves beforehand, until then or for so long: one of the two."""
        content = {
            "cluster": cluster,
            "runbook": runbook,
            "targets": list(targets),
            "limits": dict(limits),
            "acknowledge": list(acknowledge),
            "reason": reason,
            "until": until,
            "seconds": seconds,
        }
        return self._post(_PREAPPROVAL, _PREAPPROVALS, content, timeout)

    def revoke(self, preapproval_id: str, *, reason: str, timeout: float) -> Preapproval:
        """Takes a pre-approval back; the answer is the one that was taken back."""
        return self._post(_PREAPPROVAL, f"{_path(_PREAPPROVALS, preapproval_id)}/revoke", {"reason": reason}, timeout)

    def explain(self, alerts: bytes, *, record: bool, timeout: float) -> Explanations:
        """What it would do about ``alerts`` (JSON, as Alertmanager has them), and why. Nothing is written or begun."""
        params = [("record", "true" if record else "false")]
        try:
            answer = self._http.request("POST", _EXPLAIN, params, timeout=timeout, body=alerts)
        except Timeout as error:
            raise Unavailable(self.url, f"no explanation came within {timeout:g} s; nothing was changed") from error
        return self._read(_EXPLANATIONS, answer, acted=False)

    def _decide(self, run_id: str, what: str, content: Mapping[str, object], timeout: float) -> Run:
        return self._post(_ONE, f"{_path(_RUNS, run_id)}/{what}", content, timeout)

    def _post(self, adapter: TypeAdapter[T], path: str, content: Mapping[str, object], timeout: float) -> T:
        answer = self._http.request("POST", path, timeout=timeout, body=_REQUEST.dump_json(content))
        return self._read(adapter, answer, acted=True)

    def _read(self, adapter: TypeAdapter[T], answer: Answer, *, acted: bool) -> T:
        if answer.status != 200:  # noqa: PLR2004 (the one status of success)
            raise self._refusal(answer, acted=acted)
        try:
            # By the standard library, to which nothing that a store can hold is a mistake.
            return adapter.validate_python(json.loads(answer.body))
        except (ValidationError, ValueError, RecursionError) as error:
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


def _path(collection: str, one: str) -> str:
    return f"{collection}/{quote(one, safe='')}"
