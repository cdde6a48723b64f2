"""From an accepted notification to runs: first durable as it came, then filed."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, and_, insert, select, update

from ballast_remediator.contract import Alert, RunState, Target
from ballast_remediator.store.audit import append
from ballast_remediator.store.records import Notification
from ballast_remediator.store.runs import transition
from ballast_remediator.store.schema import notifications, run_alerts, runs

INTAKE: Final = "intake"


@dataclass(frozen=True, slots=True)
class Finding:
    """One alert of a notification: for ``target``, or ``ignored`` for that reason."""

    alert: Alert
    target: Target | None
    ignored: str = ""


def accept(connection: Connection, body: bytes, source: str) -> None:
    """Keeps a notification as it came. After this commit it is answered 202."""
    connection.execute(insert(notifications).values(received_at=time.time(), source=source, body=body))


def unfiled(connection: Connection, limit: int = 100) -> tuple[Notification, ...]:
    """Accepted notifications that nobody has filed yet, oldest first."""
    rows = connection.execute(
        select(notifications.c.id, notifications.c.received_at, notifications.c.source, notifications.c.body)
        .where(notifications.c.filed_at.is_(None))
        .order_by(notifications.c.id)
        .limit(limit)
    )
    return tuple(Notification(*row) for row in rows)


def file(connection: Connection, notification: Notification, findings: Sequence[Finding], *, cooldown: float) -> None:
    """Opens a run for each new firing target, attaches the rest to the open ones, and marks it filed.

    ``cooldown`` is how many seconds a target rests after a run on it failed; repeats of its alert meanwhile
    open nothing.
    """
    now = time.time()
    for finding in findings:
        if finding.target is None:
            append(
                connection,
                event="alert_ignored",
                actor=INTAKE,
                words=finding.ignored,
                data={"notification": notification.id, "labels": dict(finding.alert.labels)},
            )
        else:
            _file_one(connection, finding.alert, finding.target, now, cooldown)
    connection.execute(update(notifications).where(notifications.c.id == notification.id).values(filed_at=now))


def _file_one(connection: Connection, alert: Alert, target: Target, now: float, cooldown: float) -> None:
    this_target = and_(runs.c.cluster == target.cluster, runs.c.runbook == target.runbook, runs.c.target == target.name)
    open_run = connection.execute(
        select(runs.c.id, runs.c.state).where(this_target, runs.c.finished_at.is_(None))
    ).one_or_none()
    if open_run is not None:
        resolved = _attach(connection, open_run.id, alert, now)
        if resolved and open_run.state == RunState.AWAITING_APPROVAL:
            transition(
                connection, open_run.id, RunState.PLANNING, actor=INTAKE, words="the alert resolved: looking again"
            )
        return
    if not alert.firing:
        return
    resting = connection.execute(
        select(runs.c.id).where(this_target, runs.c.state == RunState.FAILED, runs.c.finished_at > now - cooldown)
    ).first()
    if resting is not None:
        append(
            connection,
            run_id=resting.id,
            event="repeat_ignored",
            actor=INTAKE,
            words=f"the alert came again; this run failed less than {cooldown:g} s ago and the target rests",
        )
        return
    _open(connection, alert, target, now)


def _open(connection: Connection, alert: Alert, target: Target, now: float) -> None:
    run_id = secrets.token_hex(4)
    connection.execute(
        insert(runs).values(
            id=run_id,
            cluster=target.cluster,
            runbook=target.runbook,
            target=target.name,
            state=RunState.RECEIVED,
            alert=asdict(alert),
            created_at=now,
            updated_at=now,
            due_at=now,
        )
    )
    append(
        connection,
        run_id=run_id,
        event=RunState.RECEIVED,
        actor=INTAKE,
        words=f"{target.runbook} for {target.name} in {target.cluster}",
        data={"labels": dict(alert.labels), "starts_at": alert.starts_at},
    )
    _attach(connection, run_id, alert, now)


def _attach(connection: Connection, run_id: str, alert: Alert, now: float) -> bool:
    """Counts a repeat of the run's alert. Returns whether it has just resolved."""
    mine = and_(run_alerts.c.run_id == run_id, run_alerts.c.fingerprint == alert.fingerprint)
    known = connection.execute(select(run_alerts.c.firing).where(mine)).one_or_none()
    if known is None:
        connection.execute(
            insert(run_alerts).values(
                run_id=run_id,
                fingerprint=alert.fingerprint,
                firing=alert.firing,
                starts_at=alert.starts_at,
                first_seen=now,
                last_seen=now,
                received=1,
            )
        )
    else:
        connection.execute(
            update(run_alerts)
            .where(mine)
            .values(firing=alert.firing, last_seen=now, received=run_alerts.c.received + 1)
        )
    resolved = known is not None and known.firing and not alert.firing
    if resolved:
        append(
            connection,
            run_id=run_id,
            event="alert_resolved",
            actor=INTAKE,
            words="Alertmanager says resolved, which is no proof; the world is asked",
        )
    return resolved
