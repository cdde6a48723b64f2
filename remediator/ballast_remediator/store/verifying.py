"""Reads the audit as it is kept, for whoever checks its chain."""

import json
from typing import Any, Final

from sqlalchemy import Connection, Text, bindparam, cast, select

from ballast_remediator.chain import BEGINNING, Entry, Head, Page
from ballast_remediator.store.schema import audit, checkpoints

# The data as text: what was edited into something that is no JSON has to be named, too, and not to fail the reading.
_ENTRIES: Final = (
    select(
        audit.c.seq,
        audit.c.at,
        audit.c.run_id,
        audit.c.event,
        audit.c.actor,
        audit.c.words,
        cast(audit.c.data, Text).label("data"),
        audit.c.previous_hash,
        audit.c.hash,
    )
    .where(audit.c.seq > bindparam("after_"))
    .order_by(audit.c.seq)
    .limit(bindparam("limit_"))
)
_HEAD: Final = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)
_CHECKPOINT: Final = select(checkpoints.c.seq, checkpoints.c.hash).order_by(checkpoints.c.seq.desc()).limit(1)


def page(connection: Connection, *, after: int, limit: int) -> Page:
    """The entries behind ``after``, at most so many, and where the chain begins."""
    rows = connection.execute(_ENTRIES, {"after_": after, "limit_": limit}).mappings()
    return Page(checkpoint(connection), tuple(Entry(**{**row, "data": _parsed(row["data"])}) for row in rows))


def checkpoint(connection: Connection) -> Head | None:
    """The last entry that retention dropped; None where it never dropped one."""
    row = connection.execute(_CHECKPOINT).one_or_none()
    return None if row is None else Head(row.seq, row.hash)


def head(connection: Connection) -> Head:
    """The last entry, or what is before the first one."""
    row = connection.execute(_HEAD).one_or_none()
    return checkpoint(connection) or BEGINNING if row is None else Head(row.seq, row.hash)


def _parsed(text: str) -> Any:  # noqa: ANN401 - whatever was written there
    try:
        return json.loads(text)
    except ValueError:
        return text
