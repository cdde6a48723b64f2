"""Where Alertmanager delivers: kept first, understood later."""

import time
from http import HTTPStatus
from typing import Final

import structlog
from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import BadRequest, InternalServerError

from ballast_remediator import notification
from ballast_remediator.store import inbox
from ballast_remediator.store.writer import StoreUnavailable
from ballast_remediator.web import errors
from ballast_remediator.web.access import INGEST_PATH, person
from ballast_remediator.web.services import REFUSALS, Services, answer, documented, operation_id, services
from kube_ballast.later import answer_after
from kube_ballast.wsgi import Answer

QUICK: Final = frozenset({INGEST_PATH})
"""Paths that never wait for anything before they have an answer, for `kube_ballast.wsgi.Service.quick`."""

api = APIBlueprint(
    "ingest",
    __name__,
    abp_tags=[Tag(name="ingest", description="For Alertmanager.")],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
)
log = structlog.get_logger()
_PAYLOAD = {
    "type": "object",
    "description": "As Alertmanager's documentation of `webhook_config` says; fields that are not known are ignored.",
    "required": ["version", "receiver", "groupKey", "alerts"],
    "properties": {"version": {"const": notification.VERSION}, "alerts": {"type": "array"}},
}


class Accepted(BaseModel):
    """The notification is on disk."""

    alerts: int = Field(description="How many alerts it holds.")
    truncated: int = Field(description="How many more Alertmanager left out; they are asked for later.")


@api.after_request
def _count(response: Response) -> Response:
    if response.status_code != HTTPStatus.ACCEPTED:  # which counts when it is on disk
        services().metrics.refused(response.status_code)
    return response


@api.post(
    INGEST_PATH,
    summary="Deliver a notification",
    description=(
        "Alertmanager's webhook, payload version 4. The whole payload is on disk before it is answered 202; it is "
        "carried out later. The same payload twice is no fault: a run is opened once for each target. "
        "The token needs the role `ingest`."
    ),
    responses={
        202: Accepted,
        400: documented("It can never be understood. Alertmanager drops it: see the words."),
        413: documented("The body is larger than `limits.body_bytes` of the configuration."),
        **REFUSALS,
        503: documented(
            "The body did not arrive in time, or the store does not answer now. Send it again: twice is no fault."
        ),
    },
    openapi_extensions={
        "requestBody": {"required": True, "content": {"application/json": {"schema": _PAYLOAD}}},
    },
)
def deliver() -> Response:
    parts, began = services(), time.perf_counter()
    body = request.get_data(cache=False)
    try:
        extent = notification.extent(body)
    except notification.Malformed as error:
        raise BadRequest(str(error)) from error

    def end(error: Exception | None) -> Answer | None:
        parts.metrics.ingest_seconds.observe(time.perf_counter() - began)
        if error is not None:
            return _refused(parts, error)
        parts.metrics.accepted.inc()
        parts.engine.wake()
        return None

    kept = parts.store.submit(inbox.accept, inbox.Arrival(body, person()), aside=True)
    answer_after(request.environ, kept, end)
    return answer(Accepted(alerts=extent.alerts, truncated=extent.truncated), HTTPStatus.ACCEPTED)


def _refused(parts: Services, error: Exception) -> Answer:
    if isinstance(error, StoreUnavailable):
        response = errors.unavailable(error)
    else:
        log.error("notification_not_kept", exc_info=error)
        response = errors.http(InternalServerError())
    parts.metrics.refused(response.status_code)
    return errors.sent(response)
