"""Stops as people and the brake set them."""

from typing import Any

from ballast_remediator.contract import Stop, StopKind
from tests.remediator.guards.book import NOW

SCOPES: list[tuple[dict[str, str], str]] = [
    ({}, "everything"),
    ({"cluster": "here"}, "cluster here"),
    ({"runbook": "etcd-free-space"}, "runbook etcd-free-space"),
    ({"cluster": "here", "runbook": "etcd-free-space"}, "runbook etcd-free-space of cluster here"),
    ({"cluster": "here", "target": "main"}, "target main of cluster here"),
]
"""What covers `book.TARGET`, with the words for it."""

ELSEWHERE: list[dict[str, str]] = [
    {"cluster": "there"},
    {"runbook": "another"},
    {"cluster": "here", "target": "events"},
    {"cluster": "there", "target": "main"},
    {"cluster": "here", "runbook": "another", "target": "main"},
]
"""What does not."""


def stop(kind: StopKind, **changes: Any) -> Stop:
    """One that anna set five minutes ago because of a rack move."""
    content = {
        "id": "5e1f",
        "kind": kind,
        "cluster": None,
        "runbook": None,
        "target": None,
        "person": "anna",
        "reason": "rack move",
        "set_at": NOW - 300.0,
    }
    return Stop(**{**content, **changes})
