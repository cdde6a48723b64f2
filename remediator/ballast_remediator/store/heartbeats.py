"""The dead man's switch: an alert that always fires has to keep arriving, or nobody would be told of anything.

Of each cluster the last arrival is kept. What was missing and came back is told, and what is missing is told once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from ballast_remediator.notice_kinds import NoticeKind
from ballast_remediator.store import clock
from ballast_remediator.store.audit import append
from ballast_remediator.store.notices import CLOCKWORK
from ballast_remediator.store.schema import heartbeats
from kube_ballast.analysis.words import duration


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Of one cluster: seconds since the last arrival, None where there was none yet; and whether that was told."""

    cluster: str
    age: float | None
    missing: bool


def beat(connection: Connection, cluster: str) -> None:
    """It came."""
    now = clock.now(connection)
    row = connection.execute(select(heartbeats).where(heartbeats.c.cluster == cluster)).one_or_none()
    if row is None:
        connection.execute(insert(heartbeats).values(cluster=cluster, received_at=now))
        return
    this = heartbeats.c.cluster == cluster
    connection.execute(update(heartbeats).where(this).values(received_at=now, missed_at=None))
    if row.missed_at is not None:
        append(
            connection,
            event=NoticeKind.HEARTBEAT_BACK,
            actor=CLOCKWORK,
            words=f"the heartbeat of cluster {cluster} arrives again, {duration(max(0.0, now - row.missed_at))} after "
            "it was missed",
            data={"cluster": cluster},
        )


def look(
    connection: Connection, clusters: Collection[str], *, alertname: str, since: float, absent_after: float
) -> None:
    """Tells once of each cluster whose heartbeat has not come for ``absent_after`` seconds.

    ``since`` is when somebody was first there to receive it, in seconds since the epoch: before that, nothing could
    arrive.
    """
    now = clock.now(connection)
    known = _known(connection)
    for cluster in clusters:
        row = known.get(cluster)
        if row is not None and row.missed_at is not None:
            continue
        last = None if row is None else row.received_at
        if now - max(since, last or 0.0) <= absent_after:
            continue
        if row is None:
            connection.execute(insert(heartbeats).values(cluster=cluster, missed_at=now))
        else:
            connection.execute(update(heartbeats).where(heartbeats.c.cluster == cluster).values(missed_at=now))
        came = "has never come" if last is None else f"came last {duration(now - last)} ago"
        append(
            connection,
            event=NoticeKind.HEARTBEAT_MISSING,
            actor=CLOCKWORK,
            words=f"the heartbeat of cluster {cluster} (alert {alertname}) {came}: its Prometheus, its Alertmanager or "
            "the way from there is down, and no alert of it can be relied upon",
            data={"cluster": cluster},
        )


def _known(connection: Connection) -> Mapping[str, Row[Any]]:
    return {row.cluster: row for row in connection.execute(select(heartbeats))}


def told(connection: Connection, clusters: Collection[str]) -> tuple[Heartbeat, ...]:
    """Of each cluster."""
    now = clock.now(connection)
    known = _known(connection)
    return tuple(
        Heartbeat(
            cluster,
            None if row is None or row.received_at is None else max(0.0, now - row.received_at),
            row is not None and row.missed_at is not None,
        )
        for cluster in clusters
        for row in (known.get(cluster),)
    )
