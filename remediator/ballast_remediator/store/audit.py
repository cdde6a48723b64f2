"""The audit: append-only, each entry's hash covers the one before it."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, insert

from ballast_remediator.chain import Head
from ballast_remediator.contract import canonical
from ballast_remediator.store import clock, memory, outbox
from ballast_remediator.store.schema import audit
from ballast_remediator.store.verifying import head

# Made once: every change of every run adds an entry, and building a statement costs more than running it. The entries
# of all who share a commit are one call, which costs a third of one call for each.
_ADD: Final = insert(audit)
_KEY: Final = "audit_head"


def append(
    connection: Connection,
    *,
    event: str,
    actor: str,
    words: str,
    run_id: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Adds one entry in the caller's transaction.

    Those that write take turns, so the chain cannot fork: nothing that is written aside (`Store.submit`) may add one.
    """
    remembered = memory.of(connection)  # one transaction adds many
    previous: Head = remembered.get(_KEY) or head(connection)
    content: dict[str, Any] = {
        "at": clock.now(connection),
        "run_id": run_id,
        "event": event,
        "actor": actor,
        "words": words,
        "data": dict(data or {}),
    }
    digest = hashlib.sha256(previous.hash.encode() + canonical(content)).hexdigest()
    seq = previous.seq + 1  # counted here and not by the database: what was rolled back leaves no gap
    memory.later(connection, _ADD, {"seq": seq, **content, "previous_hash": previous.hash, "hash": digest})
    remembered[_KEY] = Head(seq, digest)
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
