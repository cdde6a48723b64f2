"""What the views work with, and how they find it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self, cast

from flask import Flask, Response, current_app
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from ballast_remediator.config import Config
from ballast_remediator.contract import Alert
from ballast_remediator.engine.explaining import Explained
from ballast_remediator.metrics import Metrics
from ballast_remediator.store.database import Store
from ballast_remediator.store.pulse import Pulse
from ballast_remediator.store.runs import NotPossible
from ballast_remediator.tokens import Tokens

_KEY = "ballast"


class Engine(Protocol):
    """What the web asks of the engine."""

    def wake(self) -> None:
        """There is something new in the store."""

    def problem(self) -> str | None:
        """Why runs are not carried out; None while they are."""

    def ignored_alerts(self) -> int:
        """Alerts received since the start that no run answers."""

    def notifications_set_aside(self) -> int:
        """Accepted notifications since the start that could not be filed."""

    def kill_switch_file(self) -> str | None:
        """The path of the kill switch's file while it exists."""

    def explain(self, alert: Alert) -> Explained:
        """What a run on ``alert`` would come to now; nothing is written or begun. Raises `StoreUnavailable`."""

    def policy_digest(self) -> str:
        """Of the policy that is in force."""

    def policy_problem(self) -> str | None:
        """Why the policy file as it is now is not in force; None while it is."""

    def runbooks(self) -> Mapping[str, str]:
        """The digests of the runbooks that may run, by their names."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the configuration names: the targets of each cluster."""

    clusters: Mapping[str, frozenset[str]]

    def expect(self, *, cluster: str | None, target: str | None) -> None:
        """Raises `NotPossible` where the configuration has no such cluster, or no such target in it."""
        if cluster is not None and cluster not in self.clusters:
            known = ", ".join(sorted(self.clusters))
            raise NotPossible(f"cluster {cluster!r} is not configured (configured: {known})")
        targets = frozenset[str]().union(*(of for name, of in self.clusters.items() if cluster in {None, name}))
        if target is not None and target not in targets:
            where = "" if cluster is None else f" in {cluster}"
            raise NotPossible(f"there is no target {target!r}{where} (configured: {', '.join(sorted(targets))})")

    def expect_runbook(self, name: str, approved: Mapping[str, str]) -> None:
        """Raises `NotPossible` where no runbook of that name may run."""
        if name not in approved:
            raise NotPossible(f"there is no approved runbook {name!r} (there are: {', '.join(sorted(approved))})")


@dataclass(frozen=True, slots=True)
class Services:
    """Made once for an application, shared by its threads."""

    store: Store
    engine: Engine
    tokens: Tokens
    metrics: Metrics
    known: Known
    config: Config
    pulse: Pulse
    shutting_down: Callable[[], bool]


def attach(app: Flask, services: Services) -> None:
    """Gives ``app`` what it works with."""
    app.extensions[_KEY] = services


def attached(app: Flask) -> Services:
    """What ``app`` works with."""
    return cast("Services", app.extensions[_KEY])


def services() -> Services:
    """What the present application works with."""
    return attached(current_app)


class Problem(BaseModel):
    """Why a request was not served."""

    error: str = Field(description="In words: what, why, and what to do.")


class Decision(BaseModel):
    """What a person decides; a field that nobody reads is a mistake."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _without_nul(self) -> Self:
        if _has_nul(self.model_dump()):
            raise ValueError("NUL is no character that the store keeps")
        return self


def _has_nul(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_nul, (*value, *value.values())))
    if isinstance(value, list | tuple):
        return any(map(_has_nul, value))
    return isinstance(value, str) and "\x00" in value


Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1000),
    Field(description="Why, in words. It goes into the audit."),
]
Seconds = Annotated[float, Field(gt=0, le=366 * 86400, allow_inf_nan=False)]


def answer(model: BaseModel, status: int = 200) -> Response:
    """``model`` as JSON."""
    return Response(model.model_dump_json(), status, content_type="application/json")


def operation_id(*, name: str, path: str, method: str) -> str:  # noqa: ARG001 - flask-openapi3 names them
    """What clients generated from the document call an operation: the view's own name."""
    return name


def documented(words: str) -> dict[str, Any]:
    """A refusal, for the API's document."""
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {"description": words, "content": {"application/json": {"schema": schema}}}


REFUSALS: ResponseDict = {
    401: documented("No token, or none that the tokens file knows."),
    403: documented("The token's role is not good for this."),
    503: documented("The store does not answer now. Send it again: twice is no fault."),
}
"""What every request that needs a token can be answered."""
