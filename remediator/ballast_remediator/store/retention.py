"""Drops what is older than is kept, in portions: each is one short write, and nobody waits for more than one."""

from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, func, insert, or_, select

from ballast_remediator.chain import TRIMMED
from ballast_remediator.contract import RunState
from ballast_remediator.store import clock
from ballast_remediator.store.audit import append
from ballast_remediator.store.schema import (
    approvals,
    audit,
    checkpoints,
    notices,
    notifications,
    preapprovals,
    run_alerts,
    runs,
    shadows,
    steps,
    stops,
)

RETENTION: Final = "retention"
"""Who did it, in the audit."""
RUNS: Final = 25
ROWS: Final = 200
ENTRIES: Final = 500
"""Of the audit: each portion adds an entry of its own, so a portion is worth it only when it is whole."""
TRIM_AFTER: Final = 7 * 86400.0
"""Seconds after which less than a whole portion of the audit is dropped as well."""

Portion = Callable[[Connection, float], int]
"""Drops a portion of what is older than that time, in seconds since the epoch. Returns how much it was."""


def drop_runs(connection: Connection, before: float) -> int:
    """Final runs with what hangs on them; never one whose unknown outcome nobody has resolved."""
    unresolved = and_(runs.c.state == RunState.OUTCOME_UNKNOWN, runs.c.resolved_at.is_(None))
    ended = func.coalesce(runs.c.resolved_at, runs.c.finished_at)
    old = and_(runs.c.finished_at < before, ended < before, ~unresolved)
    ids = connection.execute(select(runs.c.id).where(old).order_by(runs.c.finished_at).limit(RUNS)).scalars().all()
    for table in (run_alerts, steps, approvals, shadows):
        connection.execute(delete(table).where(table.c.run_id.in_(ids)))
    return _drop(connection, runs, runs.c.id, ids)


def drop_notifications(connection: Connection, before: float) -> int:
    """Filed ones. Only the oldest are looked at, so that it costs the same however many there are."""
    oldest = select(notifications.c.id, notifications.c.filed_at).order_by(notifications.c.id).limit(ROWS).subquery()
    ids = connection.execute(select(oldest.c.id).where(oldest.c.filed_at < before)).scalars().all()
    return _drop(connection, notifications, notifications.c.id, ids)


def drop_notices(connection: Connection, before: float) -> int:
    """Those that were sent, or given up."""
    old = and_(notices.c.at < before, notices.c.due_at.is_(None))
    ids = connection.execute(select(notices.c.id).where(old).limit(ROWS)).scalars().all()
    return _drop(connection, notices, notices.c.id, ids)


def drop_stops(connection: Connection, before: float) -> int:
    """Those that were lifted, or are over."""
    old = or_(stops.c.lifted_at < before, stops.c.until < before)
    ids = connection.execute(select(stops.c.id).where(old).limit(ROWS)).scalars().all()
    return _drop(connection, stops, stops.c.id, ids)


def drop_preapprovals(connection: Connection, before: float) -> int:
    """Those that were revoked, or are over, and let no run pass that is still kept."""
    ended = func.coalesce(preapprovals.c.revoked_at, preapprovals.c.until)
    old = connection.execute(
        select(preapprovals.c.id, ended.label("ended")).where(ended < before).order_by(ended).limit(ROWS)
    ).all()
    if not old:
        return 0
    kept = connection.execute(
        select(runs.c.preapproved_by).where(
            runs.c.created_at <= max(row.ended for row in old), runs.c.preapproved_by.is_not(None)
        )
    ).scalars()
    referred = {one for several in kept for one in several or ()}
    return _drop(connection, preapprovals, preapprovals.c.id, [row.id for row in old if row.id not in referred])


def trim_audit(connection: Connection, before: float) -> int:
    """The oldest entries. The last of them stays as the checkpoint that the chain begins at, and an entry says so."""
    rows = connection.execute(select(audit.c.seq, audit.c.hash, audit.c.at).order_by(audit.c.seq).limit(ENTRIES)).all()
    old = []
    for row in rows:
        if row.at >= before:
            break
        old.append(row)
    if not old or (len(old) < ENTRIES and old[0].at >= before - TRIM_AFTER):
        return 0
    last = old[-1]
    append(
        connection,
        event=TRIMMED,
        actor=RETENTION,
        words=f"entries {old[0].seq} to {last.seq} are older than is kept and were dropped",
        data={"seq": last.seq, "hash": last.hash, "entries": len(old)},
    )
    connection.execute(delete(audit).where(audit.c.seq <= last.seq))
    connection.execute(delete(checkpoints))
    connection.execute(
        insert(checkpoints).values(seq=last.seq, hash=last.hash, at=clock.now(connection), entries=len(old))
    )
    return len(old)


def _drop(connection: Connection, table: Table, key: ColumnElement[str], ids: Sequence[str]) -> int:
    if ids:
        connection.execute(delete(table).where(key.in_(ids)))
    return len(ids)
