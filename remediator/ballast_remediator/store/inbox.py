"""From an accepted notification to runs: first durable as it came, then filed."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, and_, bindparam, distinct, func, insert, select, update

from ballast_remediator.contract import EXECUTING, FINAL, Alert, RunState, Stop, StopKind, Target
from ballast_remediator.store import clock, heartbeats, memory, replicas, shadow, stops
from ballast_remediator.store.audit import append
from ballast_remediator.store.records import Notification
from ballast_remediator.store.runs import Fenced, transition
from ballast_remediator.store.schema import notifications, run_alerts, runs
from ballast_remediator.store.schema import stops as stops_table
from kube_ballast.analysis.words import duration

INTAKE: Final = "intake"


# Statements of the hot path are made once: building one costs more than running it.
_ACCEPT: Final = insert(notifications)
_THIS_TARGET: Final = and_(
    runs.c.cluster == bindparam("cluster_"),
    runs.c.runbook == bindparam("runbook_"),
    runs.c.target == bindparam("target_"),
)
_OPEN_RUNS: Final = select(runs.c.id, runs.c.cluster, runs.c.runbook, runs.c.target, runs.c.state, runs.c.alert).where(
    runs.c.cluster.in_(bindparam("clusters_", expanding=True)),
    runs.c.runbook.in_(bindparam("runbooks_", expanding=True)),
    runs.c.target.in_(bindparam("targets_", expanding=True)),
    runs.c.finished_at.is_(None),
)
_LATEST: Final = select(runs.c.id, runs.c.finished_at).where(_THIS_TARGET).order_by(runs.c.finished_at.desc()).limit(1)
_ABOUT: Final = update(runs).where(runs.c.id == bindparam("run_id_")).values(alert=bindparam("alert"))
_NEW: Final = insert(runs)
_NEW_ALERT: Final = insert(run_alerts)
_TARGETS: Final = select(func.count(distinct(runs.c.cluster + "\n" + runs.c.target))).where(
    runs.c.created_at > bindparam("since")
)
_RELEASED: Final = select(func.max(stops_table.c.lifted_at)).where(stops_table.c.kind == StopKind.BRAKE)
_KNOWN: Final = select(run_alerts.c.run_id, run_alerts.c.fingerprint, run_alerts.c.firing).where(
    run_alerts.c.run_id.in_(bindparam("run_ids_", expanding=True)),
    run_alerts.c.fingerprint.in_(bindparam("fingerprints_", expanding=True)),
)
_AGAIN: Final = (
    update(run_alerts)
    .where(run_alerts.c.run_id == bindparam("run_id_"), run_alerts.c.fingerprint == bindparam("fingerprint_"))
    .values(received=run_alerts.c.received + bindparam("times"))
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One alert, received ``times`` in a row: for ``target``, or ``ignored`` for that reason.

    One that is the ``heartbeat`` of that cluster opens nothing.
    """

    alert: Alert
    target: Target | None
    ignored: str = ""
    times: int = 1
    heartbeat: str | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """One POST: its body as it came, and whose token it showed."""

    body: bytes
    source: str


def accept(connection: Connection, arrivals: Sequence[Arrival]) -> Sequence[None]:
    """Keeps notifications as they came. After this commit they are answered 202."""
    now = clock.now(connection)
    connection.execute(
        _ACCEPT, [{"received_at": now, "source": arrival.source, "body": arrival.body} for arrival in arrivals]
    )
    return [None] * len(arrivals)


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


@dataclass(frozen=True, slots=True)
class Brake:
    """It is set when runs on more than ``targets`` distinct targets were opened within ``window`` seconds."""

    targets: int
    window: float


def file(
    connection: Connection,
    batch: Sequence[Notification],
    findings: Sequence[Finding],
    *,
    brake: Brake,
    reopen_after: float,
    filer: str | None = None,
) -> None:
    """Opens a run for each new firing target, attaches the rest to the open ones, and marks ``batch`` filed.

    ``filer`` is the replica that does it, None where nobody shares the store. Raises `Fenced` when it is not its duty
    any more: another one files the same.

    A run that follows another one of its target within ``reopen_after`` seconds is opened, and looked at only then:
    an alert that flaps costs one run each time, and none is lost.
    """
    _expect_duty(connection, filer)
    filing = _Filing(connection, findings, brake, reopen_after)
    for finding in findings:
        if finding.heartbeat is not None:
            heartbeats.beat(connection, finding.heartbeat)
        elif finding.target is None:
            append(
                connection,
                event="alert_ignored",
                actor=INTAKE,
                words=finding.ignored,
                data={"labels": dict(finding.alert.labels), "times": finding.times},
            )
        else:
            filing.file(finding, finding.target)
    ids = [notification.id for notification in batch]
    connection.execute(update(notifications).where(notifications.c.id.in_(ids)).values(filed_at=filing.now))


def set_aside(connection: Connection, notification: Notification, *, words: str, filer: str | None = None) -> None:
    """Files a notification that nothing can be made of, so that later ones go on; its body stays as long as theirs.

    ``filer`` as for `file`, and raises `Fenced` as that does.
    """
    _expect_duty(connection, filer)
    mine = update(notifications).where(notifications.c.id == notification.id)
    connection.execute(mine.values(filed_at=clock.now(connection)))
    append(
        connection,
        event="notification_set_aside",
        actor=INTAKE,
        words=words,
        data={"notification": notification.id, "source": notification.source},
    )


def _expect_duty(connection: Connection, filer: str | None) -> None:
    if filer is not None and replicas.on_duty(connection, replicas.INTAKE) != filer:
        raise Fenced(f"replica {filer} does not file any more")


@dataclass(slots=True)
class _Open:
    """An open run, as it is at this point of the filing."""

    id: str
    state: str
    alert: Mapping[str, Any]


class _Filing:
    """One transaction's filing. What it has to know of runs and alerts is asked once, for all findings."""

    def __init__(self, connection: Connection, findings: Sequence[Finding], brake: Brake, reopen_after: float) -> None:
        self.now = clock.now(connection)
        self._connection = connection
        self._brake = brake
        self._reopen_after = reopen_after
        self._braked = next((one for one in stops.in_force(connection) if one.kind is StopKind.BRAKE), None)
        self._fingerprints = sorted({finding.alert.fingerprint for finding in findings})
        self._known: dict[tuple[str, str], bool] = {}
        self._open_runs = self._asked_for({one.target for one in findings if one.target is not None})
        self._learn([run.id for run in self._open_runs.values()])

    def _asked_for(self, targets: Collection[Target]) -> dict[Target, _Open]:
        if not targets:
            return {}
        which = {
            "clusters_": sorted({target.cluster for target in targets}),
            "runbooks_": sorted({target.runbook for target in targets}),
            "targets_": sorted({target.name for target in targets}),
        }
        return {
            Target(row.cluster, row.runbook, row.target): _Open(row.id, row.state, row.alert)
            for row in self._connection.execute(_OPEN_RUNS, which)
        }

    def _learn(self, run_ids: Sequence[str]) -> None:
        """Which of the findings' alerts these runs have already, and whether they fire."""
        if run_ids:
            which = {"run_ids_": run_ids, "fingerprints_": self._fingerprints}
            for row in self._connection.execute(_KNOWN, which):
                self._known.setdefault((row.run_id, row.fingerprint), row.firing)

    def file(self, finding: Finding, target: Target) -> None:
        alert = finding.alert
        if not alert.firing:
            shadow.resolved(self._connection, target, alert.fingerprint)
        run = self._open_runs.get(target)
        if run is not None:
            resolved = self._attach(run.id, finding)
            if alert.firing and run.state not in EXECUTING:
                # The run is about whatever fires on its target: what opened it may resolve while another goes on.
                self._about(run, asdict(alert))
            if resolved and run.state == RunState.AWAITING_APPROVAL:
                words = "the alert resolved: looking again"
                transition(self._connection, run.id, RunState.PLANNING, actor=INTAKE, words=words)
                run.state = RunState.PLANNING
        elif alert.firing:
            self._open(finding, target)

    def _about(self, run: _Open, alert: Mapping[str, Any]) -> None:
        if run.alert != alert:
            self._connection.execute(_ABOUT, {"run_id_": run.id, "alert": alert})
            run.alert = alert

    def _open(self, finding: Finding, target: Target) -> None:
        this_target = {"cluster_": target.cluster, "runbook_": target.runbook, "target_": target.name}
        latest = self._connection.execute(_LATEST, this_target).first()
        if self._braked is not None and latest is not None and latest.finished_at > self._braked.set_at:
            self._learn([latest.id])
            self._attach(latest.id, finding)  # the brake has told of this target already
            return
        if self._braked is not None:
            self._insert(finding, target, RunState.SUPPRESSED, _held_back(self._braked))
            return
        rested = 0.0 if latest is None else latest.finished_at + self._reopen_after
        # A clock that was set back must not put it off for longer than that.
        due_at = min(max(self.now, rested), self.now + self._reopen_after)
        about = f"{target.runbook} for {target.name} in {target.cluster}"
        run_id = self._insert(finding, target, RunState.RECEIVED, about, due_at=due_at)
        self._open_runs[target] = _Open(run_id, RunState.RECEIVED, asdict(finding.alert))
        self._brake_if_too_many(run_id, target)

    def _insert(
        self, finding: Finding, target: Target, state: RunState, words: str, *, due_at: float | None = None
    ) -> str:
        """A new run; in a final state where it goes no further, which in a flood has to cost little."""
        alert = finding.alert
        run_id = secrets.token_hex(4)
        final = state in FINAL
        self._connection.execute(
            _NEW,
            {
                "id": run_id,
                "cluster": target.cluster,
                "runbook": target.runbook,
                "target": target.name,
                "state": state,
                "reason": words if final else "",
                "alert": asdict(alert),
                "created_at": self.now,
                "updated_at": self.now,
                "due_at": due_at or self.now,
                "finished_at": self.now if final else None,
            },
        )
        append(
            self._connection,
            run_id=run_id,
            event=state,
            actor=INTAKE,
            words=words,
            data={"labels": dict(alert.labels), "starts_at": alert.starts_at},
        )
        self._attach(run_id, finding)
        return run_id

    def _brake_if_too_many(self, run_id: str, target: Target) -> None:
        """Sets the brake when this run was one target too many; then it goes no further itself."""
        found = self._connection.execute(_TARGETS, {"since": self._counted_from()}).scalar_one()
        if found <= self._brake.targets:
            return
        reason = (
            f"alerts for {found} targets came within {duration(self._brake.window)}, and the policy takes "
            f"{self._brake.targets} for believable"
        )
        self._braked = stops.put(self._connection, StopKind.BRAKE, person=INTAKE, reason=reason)
        transition(self._connection, run_id, RunState.SUPPRESSED, actor=INTAKE, words=_held_back(self._braked))
        del self._open_runs[target]

    def _counted_from(self) -> float:
        """What came before a person released the brake does not set it again."""
        released = self._connection.execute(_RELEASED).scalar()
        return max(self.now - self._brake.window, min(released or 0.0, self.now))

    def _attach(self, run_id: str, finding: Finding) -> bool:
        """Counts what came of the run's alert. Returns whether it has just resolved."""
        alert = finding.alert
        this = (run_id, alert.fingerprint)
        was_firing = self._known.get(this)
        if was_firing is None:
            self._connection.execute(
                _NEW_ALERT,
                {
                    "run_id": run_id,
                    "fingerprint": alert.fingerprint,
                    "firing": alert.firing,
                    "starts_at": alert.starts_at,
                    "first_seen": self.now,
                    "last_seen": self.now,
                    "received": finding.times,
                },
            )
        else:
            again = {"firing": alert.firing, "last_seen": self.now, "times": finding.times}
            mine = {"run_id_": run_id, "fingerprint_": alert.fingerprint}
            memory.later(self._connection, _AGAIN, {**mine, **again})
        self._known[this] = alert.firing
        resolved = bool(was_firing) and not alert.firing
        if resolved:
            append(
                self._connection,
                run_id=run_id,
                event="alert_resolved",
                actor=INTAKE,
                words="Alertmanager says resolved, which is no proof; the world is asked",
            )
        return resolved


def _held_back(brake: Stop) -> str:
    return f"brake_is_off: {brake.reason}. A person has to look, then: ballastctl lift {brake.id}"
