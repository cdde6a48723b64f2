"""What only the passing of time brings: in one write, which mostly changes nothing."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from ballast_remediator.store import heartbeats, notices


@dataclass(frozen=True, slots=True)
class Expected:
    """What has to arrive or to happen in time; all in seconds.

    The alert ``alertname`` of each of ``clusters``, at least every ``absent_after``; and a person's answer, which is
    asked for once more when a plan expires ``remind_within``. The audit's head is told every ``head_every``.
    """

    clusters: Collection[str]
    alertname: str
    absent_after: float
    remind_within: float
    head_every: float


def look(connection: Connection, expected: Expected, *, since: float, broken: str | None) -> None:
    """Tells what did not come. ``since`` is the start, seconds since the epoch; ``broken`` news of the audit."""
    heartbeats.look(
        connection,
        expected.clusters,
        alertname=expected.alertname,
        since=since,
        absent_after=expected.absent_after,
    )
    notices.remind(connection, within=expected.remind_within)
    notices.tell_head(connection, every=expected.head_every)
    if broken is not None:
        notices.tell_broken(connection, broken)
