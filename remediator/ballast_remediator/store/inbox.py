"""From an accepted notification to runs: first durable as it came, then filed."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, and_, bindparam, insert, or_, select, update

from ballast_remediator.contract import Alert, RunState, Target
from ballast_remediator.store.audit import append
from ballast_remediator.store.records import Notification
from ballast_remediator.store.runs import transition
from ballast_remediator.store.schema import notifications, run_alerts, runs

INTAKE: Final = "intake"


# Statements of the hot path are made once: building one costs more than running it.
_ACCEPT: Final = insert(notifications)
_THIS_TARGET: Final = and_(
    runs.c.cluster == bindparam("cluster_"),
    runs.c.runbook == bindparam("runbook_"),
    runs.c.target == bindparam("target_"),
)
_OPEN_RUN: Final = select(runs.c.id, runs.c.state).where(_THIS_TARGET, runs.c.finished_at.is_(None))
_RESTING: Final = select(runs.c.id).where(
    _THIS_TARGET,
    or_(runs.c.state == RunState.FAILED, runs.c.rejected),
    runs.c.finished_at > bindparam("since"),
)
_MINE: Final = and_(run_alerts.c.run_id == bindparam("run_id_"), run_alerts.c.fingerprint == bindparam("fingerprint_"))
_KNOWN: Final = select(run_alerts.c.firing).where(_MINE)
_AGAIN: Final = update(run_alerts).where(_MINE).values(received=run_alerts.c.received + bindparam("times"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One alert, received ``times`` in a row: for ``target``, or ``ignored`` for that reason."""

    alert: Alert
    target: Target | None
    ignored: str = ""
    times: int = 1


def accept(connection: Connection, body: bytes, source: str) -> None:
    """Keeps a notification as it came. After this commit it is answered 202."""
    connection.execute(_ACCEPT, {"received_at": time.time(), "source": source, "body": body})


BATCH: Final = 128
"""Notifications that are filed together at most."""


def unfiled(connection: Connection) -> tuple[Notification, ...]:
    """Accepted notifications that nobody has filed yet, oldest first, `BATCH` at most."""
    rows = connection.execute(
        select(notifications.c.id, notifications.c.received_at, notifications.c.source, notifications.c.body)
        .where(notifications.c.filed_at.is_(None))
        .order_by(notifications.c.id)
        .limit(BATCH)
    )
    return tuple(Notification(*row) for row in rows)


def file(
    connection: Connection, batch: Sequence[Notification], findings: Sequence[Finding], *, cooldown: float
) -> None:
    """Opens a run for each new firing target, attaches the rest to the open ones, and marks ``batch`` filed.

    ``cooldown`` is how many seconds a target rests after a run on it failed or a person rejected it; repeats of its
    alert meanwhile open nothing.
    """
    now = time.time()
    for finding in findings:
        if finding.target is None:
            append(
                connection,
                event="alert_ignored",
                actor=INTAKE,
                words=finding.ignored,
                data={"labels": dict(finding.alert.labels), "times": finding.times},
            )
        else:
            _file_one(connection, finding, finding.target, now, cooldown)
    ids = [notification.id for notification in batch]
    connection.execute(update(notifications).where(notifications.c.id.in_(ids)).values(filed_at=now))


def _file_one(connection: Connection, finding: Finding, target: Target, now: float, cooldown: float) -> None:
    alert = finding.alert
    this_target = {"cluster_": target.cluster, "runbook_": target.runbook, "target_": target.name}
    open_run = connection.execute(_OPEN_RUN, this_target).one_or_none()
    if open_run is not None:
        resolved = _attach(connection, open_run.id, finding, now)
        if resolved and open_run.state == RunState.AWAITING_APPROVAL:
            transition(
                connection, open_run.id, RunState.PLANNING, actor=INTAKE, words="the alert resolved: looking again"
            )
        return
    if not alert.firing:
        return
    resting = connection.execute(_RESTING, {**this_target, "since": now - cooldown}).first()
    if resting is not None:
        append(
            connection,
            run_id=resting.id,
            event="repeat_ignored",
            actor=INTAKE,
            words=f"the alert came again; the target rests for {cooldown:g} s after this run failed or was rejected",
            data={"fingerprint": alert.fingerprint, "times": finding.times},
        )
        return
    _open(connection, finding, target, now)


def _open(connection: Connection, finding: Finding, target: Target, now: float) -> None:
    alert = finding.alert
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
    _attach(connection, run_id, finding, now)


def _attach(connection: Connection, run_id: str, finding: Finding, now: float) -> bool:
    """Counts what came of the run's alert. Returns whether it has just resolved."""
    alert = finding.alert
    mine = {"run_id_": run_id, "fingerprint_": alert.fingerprint}
    known = connection.execute(_KNOWN, mine).one_or_none()
    if known is None:
        connection.execute(
            insert(run_alerts).values(
                run_id=run_id,
                fingerprint=alert.fingerprint,
                firing=alert.firing,
                starts_at=alert.starts_at,
                first_seen=now,
                last_seen=now,
                received=finding.times,
            )
        )
    else:
        connection.execute(_AGAIN, {**mine, "firing": alert.firing, "last_seen": now, "times": finding.times})
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
