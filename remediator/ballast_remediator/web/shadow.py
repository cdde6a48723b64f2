"""What came of shadowed runs, for people: look, and say who ended a fault."""

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import AwareDatetime, BaseModel, Field
from werkzeug.exceptions import NotFound

from ballast_remediator import queries, queries_shadow
from ballast_remediator.store import shadow
from ballast_remediator.store.runs import NotPossible
from ballast_remediator.store.shadow import Mark
from ballast_remediator.web.access import person
from ballast_remediator.web.runs import RunPath
from ballast_remediator.web.services import REFUSALS, Decision, Reason, answer, documented, operation_id, services

api = APIBlueprint(
    "shadow",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="shadow", description="What would have been done, and what came of it.")],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
    abp_responses={**REFUSALS, 400: documented("The request does not say what it must.")},
)


class Period(BaseModel):
    """Which runs to report on."""

    since: AwareDatetime | None = Field(default=None, description="Shadowed since then; 30 days ago by default.")
    limit: int = Field(default=500, ge=1, le=5000, description="At most so many runs, the newest first.")


class Marking(Decision):
    """Says who ended the fault of a shadowed run."""

    mark: Mark
    reason: Reason


@api.get("/shadow", summary="Report on shadowed runs", responses={200: queries_shadow.ShadowReport})
def report_shadow(query: Period) -> Response:
    return answer(queries_shadow.report(services().store, since=query.since, limit=query.limit))


@api.post(
    "/runs/<run_id>/mark",
    summary="Say who ended the fault of a shadowed run",
    description="It decides the run's score; the last word counts. The token needs the role `approver` or `admin`.",
    responses={
        200: queries.RunDetail,
        404: documented("There is no such run."),
        409: documented("The run is none that was shadowed."),
    },
)
def mark_run(path: RunPath, body: Marking) -> Response:
    store = services().store
    run = queries.run(store, path.run_id)
    if run is None:
        raise NotFound(f"there is no run {path.run_id}")
    if not store.write(shadow.mark, run.id, body.mark, person=person(), reason=body.reason):
        raise NotPossible(f"run {run.id} is {run.state}; only a run that was shadowed can be marked")
    return answer(queries.run(store, run.id) or run)
