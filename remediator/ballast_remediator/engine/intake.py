"""Files accepted notifications: which alert is about which target."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from ballast_remediator.contract import Alert, Runbook, Target
from ballast_remediator.notification import Malformed, Payload, parse
from ballast_remediator.store import inbox
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Notification
from kube_ballast.clients.alertmanager import Alertmanager
from kube_ballast.clients.errors import ClientError

RUNBOOK_LABEL = "ballast_runbook"
CLUSTER_LABEL = "cluster"
ASK_TIMEOUT = 5.0

log = structlog.get_logger()


class Intake:
    """Turns notifications into findings, and findings into runs."""

    def __init__(
        self,
        store: Store,
        runbooks: Mapping[str, Runbook[Any]],
        alertmanagers: Mapping[str, tuple[Alertmanager, ...]],
        *,
        cooldown: float,
    ) -> None:
        self._store = store
        self._runbooks = runbooks
        self._alertmanagers = alertmanagers
        self._cooldown = cooldown
        self.ignored = 0
        """Alerts received since the start that no run answers."""

    def file(self) -> bool:
        """Files what was accepted, oldest first, as much as one commit takes; whether there may be more."""
        batch = self._store.read(inbox.unfiled)
        if not batch:
            return False
        alerts = (alert for notification in batch for alert in self._alerts(notification))
        findings = tuple(replace(self._finding(alert), times=times) for alert, times in _in_a_row(alerts))
        self._store.write(inbox.file, batch, findings, cooldown=self._cooldown)
        for finding in findings:
            if finding.target is None:
                self.ignored += finding.times
                log.warning("alert_ignored", reason=finding.ignored, labels=dict(finding.alert.labels))
        return len(batch) == inbox.BATCH

    def _alerts(self, notification: Notification) -> tuple[Alert, ...]:
        try:
            payload = parse(notification.body)
        except Malformed:
            # It was understood when it was accepted, so this is a fault of ours; the body stays in the store.
            log.exception("notification_unreadable", notification=notification.id)
            return ()
        return payload.alerts + (self._cut_off(payload) if payload.truncated else ())

    def _cut_off(self, payload: Payload) -> tuple[Alert, ...]:
        """What ``max_alerts`` cut off, asked of Alertmanager; it always cuts off the same ones."""
        known = {alert.fingerprint for alert in payload.alerts}
        found: dict[str, Alert] = {}
        for alertmanager in {am for cluster in self._alertmanagers.values() for am in cluster}:
            try:
                statuses = alertmanager.alerts(timeout=ASK_TIMEOUT)
            except ClientError as error:
                log.warning("cut_off_alerts_unknown", reason=str(error), truncated=payload.truncated)
                continue
            for status in statuses:
                # Alertmanager sends nobody a silenced alert, and what a person silenced is not acted on.
                wanted = RUNBOOK_LABEL in status.labels and not status.silenced_by
                if wanted and status.fingerprint not in known:
                    found[status.fingerprint] = Alert(
                        status.fingerprint,
                        status.labels,
                        status.annotations,
                        firing=True,
                        starts_at=status.starts_at.timestamp(),
                    )
        return tuple(found.values())

    def _finding(self, alert: Alert) -> inbox.Finding:
        name = alert.labels.get(RUNBOOK_LABEL)
        if name is None:
            return inbox.Finding(alert, None, f"the alert has no label {RUNBOOK_LABEL}: it is for people")
        runbook = self._runbooks.get(name)
        if runbook is None:
            return inbox.Finding(alert, None, f"there is no approved runbook {name!r}")
        cluster = alert.labels.get(CLUSTER_LABEL)
        if cluster is None and len(self._alertmanagers) == 1:
            cluster = next(iter(self._alertmanagers))
        if cluster is None or cluster not in self._alertmanagers:
            known = ", ".join(sorted(self._alertmanagers))
            return inbox.Finding(alert, None, f"cluster {cluster!r} is not configured (configured: {known})")
        target = alert.labels.get(runbook.target_label)
        if not target:
            return inbox.Finding(alert, None, f"the alert has no label {runbook.target_label}: its target is unknown")
        return inbox.Finding(alert, Target(cluster, name, target))


def _in_a_row(alerts: Iterable[Alert]) -> Iterable[tuple[Alert, int]]:
    """Each alert once for as long as it does not change between firing and resolved, with how often it came."""
    rows: list[list[Alert]] = []
    latest: dict[str, list[Alert]] = {}
    for alert in alerts:
        row = latest.get(alert.fingerprint)
        if row is None or row[0].firing != alert.firing:
            row = latest[alert.fingerprint] = []
            rows.append(row)
        row.append(alert)
    return ((row[0], len(row)) for row in rows)
