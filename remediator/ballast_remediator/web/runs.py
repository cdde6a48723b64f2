"""Runs, for people: look, approve, reject, resolve."""

from typing import Annotated

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, StringConstraints
from werkzeug.exceptions import NotFound

from ballast_remediator import queries
from ballast_remediator.contract import RunState
from ballast_remediator.store import decisions
from ballast_remediator.web.access import person
from ballast_remediator.web.services import REFUSALS, Decision, Reason, answer, documented, operation_id, services

api = APIBlueprint(
    "runs",
    __name__,
    url_prefix="/api/v1/runs",
    abp_tags=[Tag(name="runs", description="For people; `ballastctl` speaks this.")],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
    abp_responses={**REFUSALS, 400: documented("The request does not say what it must.")},
)
_GONE = documented("There is no such run.")
_CONFLICT = documented("The run is not in a state that allows this; the words say what it is in.")


class Filter(BaseModel):
    """Which runs to list."""

    limit: int = Field(default=50, ge=1, le=500, description="At most so many, the newest first.")
    state: RunState | None = Field(default=None, description="Only those in this state.")


class RunPath(BaseModel):
    """Which run is meant."""

    run_id: str = Field(description="As `GET /api/v1/runs` lists it.", max_length=64)


class Approval(Decision):
    """Lets exactly one plan run."""

    plan_hash: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="Of the plan that was read. Another plan by now is refused with 409."
    )
    reason: Reason
    acknowledge: tuple[Annotated[str, StringConstraints(max_length=100)], ...] = Field(
        default=(), max_length=100, description="The guards whose risk is accepted by name; see `to_acknowledge`."
    )


class Rejection(Decision):
    """Cancels a run that has not begun."""

    reason: Reason


class Resolution(Decision):
    """Says that a person has looked at what a run of unknown outcome did."""

    reason: Reason


@api.get("", summary="List runs", responses={200: queries.Runs})
def list_runs(query: Filter) -> Response:
    return answer(queries.runs(services().store, limit=query.limit, state=query.state))


@api.get("/<run_id>", summary="Show a run", responses={200: queries.RunDetail, 404: _GONE})
def show_run(path: RunPath) -> Response:
    return answer(_existing(path.run_id))


@api.post(
    "/<run_id>/approve",
    summary="Approve a plan",
    description="The token needs the role `approver` or `admin`.",
    responses={200: queries.RunDetail, 404: _GONE, 409: _CONFLICT},
)
def approve_run(path: RunPath, body: Approval) -> Response:
    _existing(path.run_id)
    services().store.write(
        decisions.approve,
        path.run_id,
        plan_hash=body.plan_hash,
        person=person(),
        reason=body.reason,
        acknowledged=body.acknowledge,
    )
    return _changed(path.run_id)


@api.post(
    "/<run_id>/reject",
    summary="Reject a plan, or cancel a run before it begins",
    description="The token needs the role `approver` or `admin`.",
    responses={200: queries.RunDetail, 404: _GONE, 409: _CONFLICT},
)
def reject_run(path: RunPath, body: Rejection) -> Response:
    _existing(path.run_id)
    services().store.write(decisions.reject, path.run_id, person=person(), reason=body.reason)
    return _changed(path.run_id)


@api.post(
    "/<run_id>/resolve",
    summary="Free the target of a run whose outcome is unknown",
    description="Look at the cluster first. The token needs the role `approver` or `admin`.",
    responses={200: queries.RunDetail, 404: _GONE, 409: _CONFLICT},
)
def resolve_run(path: RunPath, body: Resolution) -> Response:
    _existing(path.run_id)
    services().store.write(decisions.resolve, path.run_id, person=person(), reason=body.reason)
    return _changed(path.run_id)


def _existing(run_id: str) -> queries.RunDetail:
    run = queries.run(services().store, run_id)
    if run is None:
        raise NotFound(f"there is no run {run_id}")
    return run


def _changed(run_id: str) -> Response:
    services().engine.wake()
    return answer(_existing(run_id))
