"""A ledger with what is given, and the request that is held against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ballast_remediator.contract import Action, Budget, ClaimRequest, Jump, Stop, Target, Terms

TARGET = Target("here", "etcd-free-space", "main")
TERMS = Terms(budget=Budget(runs=1000, percent=None, window=3600.0), cooldown=0.0)
NOW = 1_800_000_000.0


def request(**changes: Any) -> ClaimRequest:
    """One that nothing stands in the way of."""
    content = {
        "run_id": "me",
        "target": TARGET,
        "plan_hash": "hash",
        "locks": ("here/main", "here/control-plane"),
        "domains": ("here/domain/rack-1",),
        "limits": {"members_at_once": 1},
        "population": 10,
        "terms": TERMS,
        "valid_until": 1e18,
    }
    return ClaimRequest(**{**content, **changes})


@dataclass
class Book:
    """`contract.Ledger` on plain values."""

    held: Mapping[str, str] = field(default_factory=dict)
    quarantine: Mapping[str, str] = field(default_factory=dict)
    standing: Sequence[Stop] = ()
    began: Sequence[float] = ()
    last: Action | None = None
    actions: Mapping[Target, Action] = field(default_factory=dict)
    now: float = NOW
    monotonic: float = 0.0
    jump: Jump | None = None
    kill_switch_file: str | None = None
    worked_on: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def lock_holder(self, lock: str) -> str | None:
        return self.held.get(lock)

    def quarantined_by(self, target: Target) -> str | None:
        return self.quarantine.get(target.name)

    def stops(self, target: Target) -> Sequence[Stop]:
        return [stop for stop in self.standing if stop.covers(target)]

    def nodes_at_work(self, cluster: str) -> Mapping[str, str]:
        return self.worked_on.get(cluster, {})

    def begun(self, cluster: str, runbook: str, since: float) -> int:
        del cluster, runbook
        return sum(at > since for at in self.began)

    def last_action(self, target: Target) -> Action | None:
        return self.actions.get(target, self.last)
