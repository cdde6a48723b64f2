"""What the views work with, and how they find it."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

from flask import Flask, Response, current_app
from flask_openapi3.types import ResponseDict
from pydantic import BaseModel, Field

from ballast_remediator.metrics import Metrics
from ballast_remediator.store.database import Store
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


@dataclass(frozen=True, slots=True)
class Services:
    """Made once for an application, shared by its threads."""

    store: Store
    engine: Engine
    tokens: Tokens
    metrics: Metrics


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


def answer(model: BaseModel, status: int = 200) -> Response:
    """``model`` as JSON."""
    return Response(model.model_dump_json(), status, mimetype="application/json")


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
