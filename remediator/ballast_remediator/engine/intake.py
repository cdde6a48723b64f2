"""Files accepted notifications: which alert is about which target."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from ballast_remediator.contract import Alert, Runbook, Target
from ballast_remediator.engine.planning import Policies
from ballast_remediator.engine.witness import CLUSTER_LABEL, RUNBOOK_LABEL
from ballast_remediator.notification import Malformed, Payload, parse
from ballast_remediator.store import inbox
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Notification
from ballast_remediator.store.runs import Fenced
from ballast_remediator.store.writer import StoreUnavailable, Undecided
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.errors import ClientError

ASK_TIMEOUT = 5.0
SHOWN: Final = 100
"""Characters of a label's value that are told of an alert that nobody answers."""
SHOWN_OF_FAULT: Final = 200
TRIES: Final = 3
"""How often a notification that is alone is filed before it is set aside, a look of the engine apart."""
HEARTBEAT: Final = "Watchdog"
"""kube-prometheus' alert that always fires."""
MANY: Final = 32
"""Notifications in one look from which on there is a flood of them."""
PORTION: Final = 16
"""Findings per commit at most: while one is written, on SQLite every notification that arrives waits for its 202."""

log = structlog.get_logger()


class Intake:
    """Turns notifications into findings, and findings into runs."""

    def __init__(
        self,
        store: Store,
        runbooks: Mapping[str, Runbook[Any]],
        alertmanagers: Mapping[str, tuple[Alertmanager, ...]],
        policies: Policies,
        *,
        reopen_after: float,
        heartbeat: str = HEARTBEAT,
    ) -> None:
        """``heartbeat`` is the name of the alert that always fires."""
        self._store = store
        self._runbooks = runbooks
        self._alertmanagers = alertmanagers
        self._policies = policies
        self._reopen_after = reopen_after
        self._heartbeat = heartbeat
        self._portions: deque[_Portion] = deque()
        self._undecided: Callable[[], object] | None = None
        self._batch: Sequence[Notification] = ()
        self._alone = 0
        self._failures = 0
        self.set_aside = 0
        """Notifications since the start that could not be filed for a fault of the program."""
        self.ignored = 0
        """Alerts received since the start that no run answers."""

    def forget(self) -> None:
        """What was read to be filed is another replica's to file."""
        self._batch = ()
        self._portions.clear()
        self._undecided = None  # decided when the duty comes back: it is taken by a write, which waits for this one

    def file(self, filer: str | None = None) -> bool:
        """Files what was accepted, oldest first, as much as one commit takes; whether there may be more.

        ``filer`` is the replica that does it, None where nobody shares the store. Raises `Fenced` when it is not its
        duty any more.
        A process that dies between two portions of one notification files it again from its beginning.
        One that cannot be filed is found by filing one at a time, and set aside after `TRIES` in words.
        """
        try:
            return self._file(filer)
        except (StoreUnavailable, Fenced):
            raise
        except Exception as error:
            log.exception("filing_fault", notifications=[notification.id for notification in self._batch])
            return self._stumbled(filer, error)

    def flooded(self) -> bool:
        """Whether many came at once, and all of them are filed: more of them are cheaper together."""
        return MANY <= len(self._batch) < inbox.BATCH and not self._portions

    def _file(self, filer: str | None) -> bool:
        if not self._portions:
            self._batch = self._store.look(inbox.unfiled)[: 1 if self._alone else None]
            if not self._batch:
                return False
            self._portions.extend(self._portioned(self._batch))
        portion = self._portions[0]
        self._write(portion, filer)
        self._portions.popleft()
        if portion.filed:
            self._failures, self._alone = 0, max(0, self._alone - 1)
        for finding in portion.findings:
            if finding.target is None and finding.heartbeat is None:
                self.ignored += finding.times
                log.warning("alert_ignored", reason=finding.ignored, labels=dict(finding.alert.labels))
        return bool(self._portions or self._alone) or len(portion.filed) == inbox.BATCH

    def _stumbled(self, filer: str | None, error: Exception) -> bool:
        """After a fault of the program: whether there is more to file at once."""
        self._portions.clear()
        if len(self._batch) > 1:
            self._alone = len(self._batch)
            return True
        self._failures += 1
        if self._failures < TRIES:
            return False
        (notification,) = self._batch
        words = (
            f"notification {notification.id} could not be filed ({_named(error)}): its alerts open no run, unless "
            "Alertmanager sends them again in another one. Please report it"
        )
        self._store.write(inbox.set_aside, notification, words=words, filer=filer)
        log.error("notification_set_aside", notification=notification.id, reason=_named(error))
        self.set_aside += 1
        self._failures, self._alone = 0, max(0, self._alone - 1)
        return True

    def _portioned(self, batch: Sequence[Notification]) -> Iterable["_Portion"]:
        findings = [replace(self.finding(alert), times=times) for alert, times in _in_a_row(self._alerts(batch))]
        *earlier, last = [findings[start : start + PORTION] for start in range(0, len(findings), PORTION)] or [[]]
        yield from (_Portion((), portion) for portion in earlier)
        yield _Portion(batch, last)

    def _write(self, portion: "_Portion", filer: str | None) -> None:
        """Files a portion. One that may still be committed is waited for: filed again, it would count twice."""
        undecided, self._undecided = self._undecided, None
        try:
            if undecided is not None:
                undecided()
            else:
                rule = self._policies.current().brake
                self._store.write(
                    inbox.file,
                    portion.filed,
                    portion.findings,
                    brake=inbox.Brake(rule.targets, rule.window),
                    reopen_after=self._reopen_after,
                    filer=filer,
                )
        except Fenced:
            self.forget()
            raise
        except Undecided as error:
            self._undecided = error.outcome
            raise

    def _alerts(self, batch: Sequence[Notification]) -> tuple[Alert, ...]:
        # An Alertmanager that repeats itself, or tries again, says the same to the letter: it is read once.
        read = {body: _payload(one) for body, one in {one.body: one for one in batch}.items()}
        payloads = [payload for notification in batch if (payload := read[notification.body]) is not None]
        alerts = tuple(alert for payload in payloads for alert in payload.alerts)
        truncated = sum(payload.truncated for payload in payloads)
        return alerts + (self._cut_off(alerts, truncated) if truncated else ())

    def _cut_off(self, alerts: Iterable[Alert], truncated: int) -> tuple[Alert, ...]:
        """What ``max_alerts`` cut off, asked of Alertmanager; it always cuts off the same ones."""
        firing = {alert.fingerprint: alert.firing for alert in alerts}
        found: dict[str, Alert] = {}
        for alertmanager in {am for cluster in self._alertmanagers.values() for am in cluster}:
            try:
                statuses = alertmanager.alerts(timeout=ASK_TIMEOUT)
            except ClientError as error:
                log.warning("cut_off_alerts_unknown", reason=str(error), truncated=truncated)
                continue
            for status in statuses:
                # Alertmanager sends nobody a silenced alert, and what a person silenced is not acted on.
                wanted = RUNBOOK_LABEL in status.labels and not status.silenced_by
                if wanted and not firing.get(status.fingerprint):
                    found[status.fingerprint] = Alert(
                        status.fingerprint,
                        status.labels,
                        status.annotations,
                        firing=True,
                        starts_at=status.starts_at.timestamp(),
                    )
        return tuple(found.values())

    def finding(self, alert: Alert) -> inbox.Finding:
        """What a run would be about, or why none answers the alert."""
        name = alert.labels.get(RUNBOOK_LABEL)
        if name is None:
            return self._for_people(alert)
        runbook = self._runbooks.get(name)
        if runbook is None:
            return inbox.Finding(alert, None, f"there is no approved runbook {name!r}")
        cluster = self._cluster(alert)
        if cluster is None or cluster not in self._alertmanagers:
            return inbox.Finding(alert, None, self._unknown(cluster))
        target = alert.labels.get(runbook.target_label)
        if not target:
            return inbox.Finding(alert, None, f"the alert has no label {runbook.target_label}: its target is unknown")
        meant = Target(cluster, name, target)
        if not runbook.knows(meant):
            words = f"the configuration has no {runbook.target_label} {target[:SHOWN]!r} in {cluster}"
            return inbox.Finding(alert, None, words)
        return inbox.Finding(alert, meant)

    def _for_people(self, alert: Alert) -> inbox.Finding:
        if not alert.firing or alert.labels.get("alertname") != self._heartbeat:
            return inbox.Finding(alert, None, f"the alert has no label {RUNBOOK_LABEL}: it is for people")
        cluster = self._cluster(alert)
        if cluster is None or cluster not in self._alertmanagers:
            return inbox.Finding(alert, None, self._unknown(cluster))
        return inbox.Finding(alert, None, f"it is the heartbeat of cluster {cluster}", heartbeat=cluster)

    def _cluster(self, alert: Alert) -> str | None:
        """The one that its label names; without a label, the only one there is."""
        only = next(iter(self._alertmanagers)) if len(self._alertmanagers) == 1 else None
        return alert.labels.get(CLUSTER_LABEL, only)

    def _unknown(self, cluster: str | None) -> str:
        known = ", ".join(sorted(self._alertmanagers))
        return f"cluster {cluster!r} is not configured (configured: {known})"


@dataclass(frozen=True, slots=True)
class _Portion:
    """What one commit files, and the notifications of which it is the last part."""

    filed: Sequence[Notification]
    findings: Sequence[inbox.Finding]


def _named(error: Exception) -> str:
    """On one short line that any store takes: what a database says repeats whole statements, and what is in them."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())}".replace("\x00", "\\x00")[:SHOWN_OF_FAULT]


def _payload(notification: Notification) -> Payload | None:
    try:
        return parse(notification.body)
    except Malformed:
        # It was understood when it was accepted, so this is a fault of ours; the body stays in the store.
        log.exception("notification_unreadable", notification=notification.id)
        return None


def _in_a_row(alerts: Iterable[Alert]) -> Iterable[tuple[Alert, int]]:
    """Each alert once for as long as it does not change between firing and resolved, with how often it came."""
    rows: list[list[Alert]] = []
    latest: dict[tuple[object, ...], list[Alert]] = {}
    for alert in alerts:
        same = (alert.fingerprint, *sorted(alert.labels.items()))
        row = latest.get(same)
        if row is None or row[0].firing != alert.firing:
            row = latest[same] = []
            rows.append(row)
        row.append(alert)
    return ((row[0], len(row)) for row in rows)
