"""Asks Prometheus whether an alert fires now, and Alertmanager whether somebody silenced it."""

import math
from collections.abc import Mapping
from typing import Final, Protocol

from ballast_remediator.connections import Monitoring, matchers
from ballast_remediator.contract import Alert, AlertEvidence, Target
from kube_ballast.clients.errors import ClientError

TIMEOUT: Final = 5.0
NAME_LABEL: Final = "alertname"
RUNBOOK_LABEL: Final = "ballast_runbook"
CLUSTER_LABEL: Final = "cluster"


class Witness(Protocol):
    """Who can tell whether an alert is true."""

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        """What is known now of ``alert``, whose ``target_label`` names the target."""


class Monitored:
    """The witness of a real installation.

    Prometheus writes ``ALERTS`` for every alert that it evaluates, without external labels and before alert
    relabelling; so the alert is asked for by its name, its runbook and its target, and the series that is found must
    not contradict what was delivered.
    """

    def __init__(self, clusters: Mapping[str, Monitoring]) -> None:
        self._clusters = clusters

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        """See `Witness`. Two questions of `TIMEOUT` seconds each at most for every Alertmanager and Prometheus."""
        monitoring = self._clusters[target.cluster]
        wanted = {
            NAME_LABEL: alert.labels.get(NAME_LABEL, ""),
            "alertstate": "firing",
            RUNBOOK_LABEL: target.runbook,
            target_label: target.name,
            **monitoring.labels,
        }
        # timestamp() tells when the rule was evaluated last; the instant query alone would serve it for five minutes.
        question = f"time() - timestamp(ALERTS{{{matchers(wanted)}}})"
        try:
            samples = monitoring.prometheus.query(question, timeout=TIMEOUT)
        except ClientError as error:
            return AlertEvidence(question, None, problem=f"whether the alert is true is unknown: {error}")
        known = {CLUSTER_LABEL: target.cluster, **wanted}
        alike = [sample for sample in samples if _agree(sample.labels, {**known, **alert.labels})]
        if not alike and samples.warnings:
            said = f"{question} gives nothing, and a warning: {'; '.join(samples.warnings)}"
            return AlertEvidence(question, None, problem=f"whether the alert is true is unknown: {said}")
        if not alike:
            elsewhere = f" (it fires with other labels: {dict(samples[0].labels)})" if samples else ""
            return AlertEvidence(question + elsewhere, None)
        youngest = min(alike, key=lambda one: one.value)
        if not math.isfinite(youngest.value) or youngest.value < 0:
            problem = f"whether the alert is true is unknown: {question} gives {youngest.value}, which is no age"
            return AlertEvidence(question, None, problem=problem)
        silenced, unknown = _silenced(monitoring, known, target_label)
        others = tuple(one.labels for one in alike if one is not youngest)
        return AlertEvidence(question, youngest.labels, others, youngest.value, silenced, unknown)


def _silenced(
    monitoring: Monitoring, known: Mapping[str, str], target_label: str
) -> tuple[tuple[str, ...], str | None]:
    """The silences of any such alert of that target, from every Alertmanager; or why nobody can tell.

    By what is known of the target, not by what was delivered: whoever invents a notification invents its fingerprint
    too. And not by every label, which relabelling changes on the way. One that was just started, or is cut off, holds
    nothing: only an Alertmanager that has the alert can say that nobody silenced it.
    """
    asked = {name: known[name] for name in (NAME_LABEL, RUNBOOK_LABEL, target_label)}
    reasons = []
    held = []
    for alertmanager in monitoring.alertmanagers:
        try:
            found = alertmanager.alerts(timeout=TIMEOUT, labels=asked)
        except ClientError as error:
            reasons.append(str(error))
            continue
        same = [one for one in found if _agree(one.labels, known)]
        if not same:
            reasons.append(f"{alertmanager.url} does not have the alert")
        held += same
    if not held:
        return (), f"whether somebody silenced the alert is unknown: {'; '.join(reasons)}"
    return tuple({silence: None for one in held for silence in one.silenced_by}), None


def _agree(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    """Whether no label that both have differs."""
    return all(others.get(name, value) == value for name, value in some.items())
