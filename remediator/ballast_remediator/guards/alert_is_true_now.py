"""Prometheus says now that the alert fires, and nobody has silenced it."""

import math

from ballast_remediator.contract import AlertEvidence, Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.words import duration

NAME = "alert_is_true_now"


def alert_is_true_now(evidence: AlertEvidence, *, fresh_within: float) -> Answer:
    """A notification may be late, repeated or invented; a silence is a person's no, an inhibition is not.

    ``fresh_within`` is how old, in seconds, the rule's last evaluation may be.
    """
    if evidence.problem is not None:
        return refuse(NAME, evidence.problem, passing=True)
    if evidence.series is None:
        words = f"the alert does not fire any more, or never did: {evidence.question} gives nothing"
        # Prometheus notifies before it writes the series down, and what is written remotely arrives later still.
        return refuse(NAME, words, passing=True)
    if not 0 <= evidence.age < math.inf:
        return refuse(NAME, f"Prometheus evaluated the alert {evidence.age} s ago, which is no age", passing=True)
    if evidence.age > fresh_within:
        return refuse(
            NAME,
            f"Prometheus evaluated the alert last {duration(evidence.age)} ago, and {duration(fresh_within)} is the "
            "most: is its rule still evaluated?",
            passing=True,
        )
    if evidence.silenced_by:
        return refuse(NAME, f"the alert is silenced ({', '.join(evidence.silenced_by)}), which is a person's no")
    return allow(NAME, f"Prometheus evaluated it {duration(evidence.age)} ago, it fires, and nobody silenced it")
