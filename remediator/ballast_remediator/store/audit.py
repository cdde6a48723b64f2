"""The audit: append-only, each entry's hash covers the one before it."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, insert, select

from ballast_remediator.contract import canonical
from ballast_remediator.store import clock, outbox
from ballast_remediator.store.schema import audit

GENESIS: Final = "0" * 64

# Made once: every change of every run adds an entry, and building a statement costs more than running it.
_LAST: Final = select(audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_ADD: Final = insert(audit)


def append(
    connection: Connection,
    *,
    event: str,
    actor: str,
    words: str,
    run_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Adds one entry in the caller's transaction. The store has one writer, so the chain cannot fork."""
    previous = connection.execute(_LAST).scalar() or GENESIS
    content: dict[str, Any] = {
        "at": clock.now(connection),
        "run_id": run_id,
        "event": event,
        "actor": actor,
        "words": words,
        "data": dict(data or {}),
    }
    digest = hashlib.sha256(previous.encode() + canonical(content)).hexdigest()
    added = connection.execute(_ADD, {**content, "previous_hash": previous, "hash": digest})
    (seq,) = added.inserted_primary_key or (0,)
    outbox.put(
        connection,
        event=event,
        at=content["at"],
        words=words,
        run_id=run_id,
        data=content["data"],
        seq=seq,
        digest=digest,
    )
