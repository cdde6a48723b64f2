"""The audit as it is kept, for whoever checks its chain themselves."""

import json
from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field

from ballast_remediator.chain import Entry, Head
from ballast_remediator.queries import View
from ballast_remediator.store import verifying
from ballast_remediator.web.services import REFUSALS, documented, operation_id, services

api = APIBlueprint(
    "audit",
    __name__,
    url_prefix="/api/v1/audit",
    abp_tags=[Tag(name="audit", description="What happened, and the chain of hashes that proves it.")],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
    abp_responses={**REFUSALS, 400: documented("The request does not say what it must.")},
)


class Part(BaseModel):
    """Which part of the audit to give."""

    after: int = Field(default=0, ge=0, le=2**53, description="Entries with a higher number than this.")
    limit: int = Field(default=1000, ge=1, le=1000, description="At most so many, the oldest first.")


class HeadView(View):
    """What names an entry."""

    seq: int
    hash: str


class AuditEntryView(HeadView):
    """One entry as it is kept."""

    at: float = Field(description="Seconds since the epoch, as the hash covers it.")
    run_id: str | None
    event: str
    actor: str
    words: str
    data: Any
    previous_hash: str = Field(description="Of the entry before it; zeros for the first one of all.")
    hash: str = Field(
        description=(
            "SHA-256, hex, of `previous_hash` and the entry's at, run_id, event, actor, words and data as one JSON "
            "object with sorted keys, no spaces and no escapes that JSON does not demand."
        )
    )


class AuditPage(View):
    """Some entries; an empty page is the end."""

    checkpoint: HeadView | None = Field(
        description="The last entry that retention dropped: the first one that is left follows from it."
    )
    entries: tuple[AuditEntryView, ...]


@api.get("", summary="Read the audit", responses={200: AuditPage})
def read_audit(query: Part) -> Response:
    page = services().store.read(verifying.page, after=query.after, limit=query.limit)
    content = {
        "checkpoint": None if page.checkpoint is None else _fields(page.checkpoint),
        "entries": [_fields(entry) for entry in page.entries],
    }
    # Not by the model: what was edited into something that no model takes has to arrive as it is kept.
    return Response(json.dumps(content), mimetype="application/json")


def _fields(kept: Entry | Head) -> dict[str, Any]:
    return {name: getattr(kept, name) for name in kept.__slots__}
