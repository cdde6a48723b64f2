"""An empty selector that means everything: Google's disk erase.

The decommissioning of a rack failed after its disks had been erased, and was started again from the beginning. The set
of machines that still had to be erased was now empty, as it should be, and the empty set was a special value that meant
all: within minutes the disks of nearly every machine of the CDN were wiped. Rate limits and sanity checks came later.

Here a script writes the labels that a policy rule in auto is meant for, and its list comes out empty.

Source: https://sre.google/sre-book/automation-at-google/, "Automation: Enabling Failure at Scale"
"""

from pathlib import Path
from typing import Self

import pytest
from pydantic import model_validator

from ballast_remediator import policy
from ballast_remediator.policy import PolicyFile, PolicyOfFile, Rule
from ballast_remediator.store.database import Store
from tests.remediator.chain import payload
from tests.remediator.engine.desk import Desk, Recording
from tests.remediator.incidents.incident import Outcome, Protection, let_it_run

RUNBOOK = "etcd-free-space"


class _Loose(Rule):
    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        return self


class _LooseFile(PolicyFile):
    rules: tuple[_Loose, ...]


def _take_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "PolicyFile", _LooseFile)


STOPPED_BY = (Protection("a rule in auto says what it means", "a rule without match means every alert", _take_out),)


def happens(folder: Path) -> Outcome:
    file = folder / "policy.yaml"
    file.write_text(_written(["etcd_cluster: decommissioned"]))
    policies = PolicyOfFile(file)
    file.write_text(_written([]))
    with Store(folder / "remediator.db") as store:
        desk = Desk(store, Recording(name=RUNBOOK))
        desk.engine._planner._policies = policies
        for target in ("main", "events"):
            desk.receive(payload(labels={"etcd_cluster": target}))
        outcome = let_it_run(desk)
    return Outcome(outcome.harm, f"{policies.problem}\n{outcome.words}")


def _written(wanted: list[str]) -> str:
    return f"rules:\n  - runbook: {RUNBOOK}\n    mode: auto\n    match: {{{', '.join(wanted)}}}\n"
