"""Whether it lives, whether it is of use, and what it measures of itself. No credentials: nothing here is secret."""

from http import HTTPStatus
from typing import Final

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel, Field

from ballast_remediator.web.services import answer, operation_id, services

PROBES: Final = frozenset({"/healthz", "/readyz"})
"""What has to be answered while every other request waits for the store."""
ANSWER_WITHIN: Final = 1.0
"""Seconds: a kubelet's probe waits for one by default."""

api = APIBlueprint(
    "health",
    __name__,
    abp_tags=[Tag(name="health", description="For probes and Prometheus.")],
    operation_id_callback=operation_id,
)


class Health(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """Whether notifications are taken and runs carried out."""

    ready: bool
    reasons: tuple[str, ...] = Field(description="Why not, in words; empty when ready.")


@api.get("/healthz", summary="Is the process alive?", responses={200: Health})
def healthz() -> Response:
    return answer(Health(status="ok"))


@api.get("/readyz", summary="Does it do its work?", responses={200: Readiness, 503: Readiness})
def readyz() -> Response:
    """Takes `ANSWER_WITHIN` seconds at most, whatever the store does."""
    reasons = ("shutting down",) if services().shutting_down() else _problems()
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return answer(Readiness(ready=not reasons, reasons=reasons), status)


def _problems() -> tuple[str, ...]:
    """Each once: the engine runs into what the store's trouble is, too."""
    found = (
        services().store.problem(),
        services().pulse.problem(within=ANSWER_WITHIN),
        services().engine.problem(),
    )
    return tuple(dict.fromkeys(problem for problem in found if problem is not None))


@api.get(
    "/metrics",
    summary="Metrics for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics() -> Response:
    encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
    return Response(encoder(services().metrics.registry), content_type=content_type)
