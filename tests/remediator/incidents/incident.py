"""What the incidents of others are made of here: what happened, what stops it, and how that is taken out.

Each incident is a module with its true cause in the docstring, ``STOPPED_BY`` and ``happens``. test_incidents.py runs
it with each protection alone, where no harm may come of it, and with none of them, where it has to.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from ballast_remediator.contract import Answer, Verdict
from ballast_remediator.engine import judging
from ballast_remediator.engine.witness import Witness
from ballast_remediator.policy import Policy
from ballast_remediator.store import ledger
from ballast_remediator.store.database import Store
from tests.remediator.engine.desk import Desk, Recording
from tests.waiting import eventually


@dataclass(frozen=True)
class Outcome:
    """``harm`` is what was done that must not be; ``words`` are what people read of it."""

    harm: tuple[str, ...]
    words: str


@dataclass(frozen=True)
class Protection:
    """Something of ours that stops an incident, and then says so in those words."""

    name: str
    says: str
    take_out: Callable[[pytest.MonkeyPatch], None]


def guard(check: Callable[..., Answer]) -> Protection:
    """A guard of any kind: taken out, it is asked and never refuses."""
    name = check.__name__

    def take_out(monkeypatch: pytest.MonkeyPatch) -> None:
        for module, ask in ((judging, "ask_guard"), (ledger, "_ask")):
            monkeypatch.setattr(module, ask, _allowing(name, getattr(module, ask)))

    return Protection(name, f"{name}: ", take_out)


def _allowing(name: str, ask: Callable[..., Answer]) -> Callable[..., Answer]:
    def asked(*arguments: object) -> Answer:
        answer = ask(*arguments)
        return replace(answer, verdict=Verdict.ALLOW) if answer.guard == name else answer

    return asked


def told(desk: Desk) -> str:
    """The timelines of all runs."""
    return "\n".join(desk.story(run) for run in desk.runs())


def harmed(desk: Desk) -> tuple[str, ...]:
    """What was done, and to what."""
    targets = {run.id: run.target.name for run in desk.runs()}
    return tuple(f"{kind} on {targets[run_id]}" for kind, run_id in desk.runbook.effects)


def let_it_run(desk: Desk) -> Outcome:
    """Turns until nothing is open any more; whatever was done to anything is harm."""

    def over() -> bool:
        desk.turn()
        return all(run.final for run in desk.runs())

    eventually(over, every=0.0)
    return Outcome(harmed(desk), told(desk))


def witnessed(store: Store, runbook: Recording, witness: Witness, rules: Policy | None = None) -> Desk:
    """A desk that asks ``witness`` whether an alert is true."""
    desk = Desk(store, runbook, rules=rules)
    desk.engine._planner._judge._witness = witness
    return desk
