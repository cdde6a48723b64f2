"""What keeps runs from beginning: look, set, lift."""

import time
from typing import Annotated, Literal

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field, StringConstraints, field_validator
from werkzeug.exceptions import NotFound

from ballast_remediator import queries
from ballast_remediator.contract import StopKind
from ballast_remediator.store import stops
from ballast_remediator.web.access import person
from ballast_remediator.web.services import (
    REFUSALS,
    Decision,
    Reason,
    Seconds,
    answer,
    documented,
    operation_id,
    services,
)

api = APIBlueprint(
    "stops",
    __name__,
    url_prefix="/api/v1/stops",
    abp_tags=[
        Tag(
            name="stops",
            description=(
                "What keeps runs from beginning until somebody lifts it. Kill switches, freezes and holds are set by "
                "people; the brake is set by the remediator, when alerts for more targets come at once than the "
                "policy takes for believable."
            ),
        )
    ],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
    abp_responses={**REFUSALS, 400: documented("The request does not say what it must.")},
)
_GONE = documented("There is no such stop in force.")
_CONFLICT = documented("It would stop nothing: the words say why.")
_Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
_BRAKE = "the brake is set by the remediator alone. To stop everything yourself: kill_switch"


class StopPath(BaseModel):
    """Which stop is meant."""

    stop_id: str = Field(description="As `GET /api/v1/stops` lists it.", max_length=64)


class NewStop(Decision):
    """What it does not name, it covers whatever that is."""

    kind: Literal[StopKind.KILL_SWITCH, StopKind.FREEZE, StopKind.HOLD] = Field(
        description=(
            "`kill_switch`: nothing begins, and what is under way ends before its next step. `freeze`: somebody works "
            "on a cluster; nothing begins in it. `hold`: somebody works on one target; nothing begins on it."
        )
    )
    reason: Reason
    cluster: _Name | None = Field(default=None, description="Needed by a freeze and a hold.")
    runbook: _Name | None = Field(default=None, description="Only this runbook.")
    target: _Name | None = Field(default=None, description="Needed by a hold, such as an etcd's name.")
    seconds: Seconds | None = Field(default=None, description="It ends by itself after so long.")

    @field_validator("kind", mode="before")
    @classmethod
    def _is_for_people(cls, value: object) -> object:
        if value == StopKind.BRAKE:
            raise ValueError(_BRAKE)
        return value


class Lifting(Decision):
    """Says why it may go on."""

    reason: Reason


@api.get("", summary="List the stops that are in force", responses={200: queries.Stops})
def list_stops() -> Response:
    found = services().store.read(stops.in_force)
    return answer(
        queries.Stops(
            stops=tuple(map(queries.stop, found)),
            kill_switch_file=services().engine.kill_switch_file(),
        )
    )


@api.post(
    "",
    summary="Set a stop",
    description="The token needs the role `approver` or `admin`. Two of the same scope are two: each is lifted itself.",
    responses={200: queries.StopView, 409: _CONFLICT},
)
def set_stop(body: NewStop) -> Response:
    parts = services()
    # A name that is spelt wrong would stop nothing, and look as if it did.
    parts.known.expect(cluster=body.cluster, target=body.target)
    if body.runbook is not None:
        parts.known.expect_runbook(body.runbook, parts.engine.runbooks())
    placed = parts.store.write(
        stops.put,
        body.kind,
        person=person(),
        reason=body.reason,
        cluster=body.cluster,
        runbook=body.runbook,
        target=body.target,
        until=None if body.seconds is None else time.time() + body.seconds,
    )
    parts.engine.wake()
    return answer(queries.stop(placed))


@api.post(
    "/<stop_id>/lift",
    summary="Lift a stop",
    description=(
        "The token needs the role `approver` or `admin`. With a brake, whatever waits expires and is not let loose: an "
        "alert that still fires opens a new run. The answer is the stop that was lifted."
    ),
    responses={200: queries.StopView, 404: _GONE},
)
def lift_stop(path: StopPath, body: Lifting) -> Response:
    parts = services()
    found = next((stop for stop in parts.store.read(stops.in_force) if stop.id == path.stop_id), None)
    if found is None:
        raise NotFound(f"there is no stop {path.stop_id} in force")
    parts.store.write(stops.lift, path.stop_id, person=person(), reason=body.reason)
    parts.engine.wake()
    return answer(queries.stop(found))
