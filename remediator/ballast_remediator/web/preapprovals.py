"""Approvals given beforehand: look, give, take back."""

import time
from typing import Annotated, Self

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, model_validator
from werkzeug.exceptions import NotFound

from ballast_remediator import queries
from ballast_remediator.store import decisions
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
    "preapprovals",
    __name__,
    url_prefix="/api/v1/preapprovals",
    abp_tags=[
        Tag(
            name="preapprovals",
            description=(
                "For what has to be fast: one person approves, before an alert fires, what a runbook may do on some "
                "targets within some limits until some time. The guards are asked all the same, and the policy says "
                "how many people it takes and who may. A plan that too few people approved beforehand waits for as "
                "many as it takes."
            ),
        )
    ],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
    abp_responses={**REFUSALS, 400: documented("The request does not say what it must.")},
)
_GONE = documented("There is no such pre-approval in force.")
_CONFLICT = documented("It would approve nothing: the words say why.")
_Name = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


class PreapprovalPath(BaseModel):
    """Which pre-approval is meant."""

    preapproval_id: str = Field(description="As `GET /api/v1/preapprovals` lists it.", max_length=64)


class NewPreapproval(Decision):
    """It holds for the runbook as it is reviewed now: when its source changes, it approves nothing any more."""

    cluster: _Name
    runbook: _Name
    targets: tuple[_Name, ...] = Field(min_length=1, max_length=1000, description="Each by its name; none is not all.")
    limits: dict[_Name, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default={}, max_length=100, description="The most that the plan's limits of these names may be."
    )
    acknowledge: tuple[_Name, ...] = Field(
        default=(), max_length=100, description="The guards whose risk is accepted by name, should they ask."
    )
    until: AwareDatetime | None = None
    seconds: Seconds | None = Field(default=None, description="Instead of `until`: for so long.")
    reason: Reason

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if (self.until is None) == (self.seconds is None):
            raise ValueError("say when it ends, by `until` or by `seconds`")
        return self

    def ends_at(self, now: float) -> float:
        """Seconds since the epoch."""
        return now + (self.seconds or 0.0) if self.until is None else self.until.timestamp()


class Revocation(Decision):
    """Says why it is taken back."""

    reason: Reason


@api.get("", summary="List the pre-approvals that are in force", responses={200: queries.Preapprovals})
def list_preapprovals() -> Response:
    found = services().store.read(decisions.preapprovals_in_force)
    reviewed = services().engine.runbooks()
    return answer(queries.Preapprovals(preapprovals=tuple(queries.preapproval(one, reviewed) for one in found)))


@api.post(
    "",
    summary="Approve beforehand",
    description="The token needs the role `approver` or `admin`.",
    responses={200: queries.PreapprovalView, 409: _CONFLICT},
)
def give_preapproval(body: NewPreapproval) -> Response:
    parts = services()
    reviewed = parts.engine.runbooks()
    parts.known.expect_runbook(body.runbook, reviewed)
    for target in body.targets:
        parts.known.expect(cluster=body.cluster, target=target)
    given = parts.store.write(
        decisions.preapprove,
        cluster=body.cluster,
        runbook=body.runbook,
        runbook_digest=reviewed[body.runbook],
        targets=body.targets,
        limits=body.limits,
        acknowledged=body.acknowledge,
        person=person(),
        reason=body.reason,
        until=body.ends_at(time.time()),
    )
    return answer(queries.preapproval(given, reviewed))


@api.post(
    "/<preapproval_id>/revoke",
    summary="Take a pre-approval back",
    description=(
        "The token needs the role `approver` or `admin`. A run that it let pass and that has not begun waits for a "
        "person again. The answer is the pre-approval that was taken back."
    ),
    responses={200: queries.PreapprovalView, 404: _GONE},
)
def revoke_preapproval(path: PreapprovalPath, body: Revocation) -> Response:
    parts = services()
    in_force = parts.store.read(decisions.preapprovals_in_force)
    found = next((one for one in in_force if one.id == path.preapproval_id), None)
    if found is None:
        raise NotFound(f"there is no pre-approval {path.preapproval_id} in force")
    parts.store.write(decisions.revoke, path.preapproval_id, person=person(), reason=body.reason)
    parts.engine.wake()
    return answer(queries.preapproval(found, parts.engine.runbooks()))
