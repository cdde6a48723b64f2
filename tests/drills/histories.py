"""Made-up histories of a round: one that is as it should be, and what becomes of it when a part is changed."""

import hashlib
from dataclasses import dataclass, field, replace
from typing import Any

from ballast_remediator.chain import GENESIS, Entry
from ballast_remediator.contract import RunState, canonical
from drills.faults.effects import Effect, What
from drills.faults.history import History, RunEnd, StepEnd

LOCK = "here/target/thing-1"
WAY = (
    RunState.RECEIVED,
    RunState.PLANNING,
    RunState.QUEUED,
    RunState.RUNNING,
    RunState.VERIFYING,
    RunState.SUCCEEDED,
)


@dataclass
class Teller:
    """Tells a history, line by line."""

    entries: list[Entry] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def says(self, run: str, event: str, **data: Any) -> None:
        """An entry of the audit."""
        previous = self.entries[-1].hash if self.entries else GENESIS
        seq = len(self.entries) + 1
        content = {"at": float(seq), "run_id": run, "event": event, "actor": "engine", "words": event, "data": data}
        digest = hashlib.sha256(previous.encode() + canonical(content)).hexdigest()
        self.entries.append(Entry(seq, float(seq), run, event, "engine", event, data, previous, digest))

    def does(self, run: str, what: What = What.BEGAN, **more: Any) -> None:
        """A line of the effects' log; one second after the other, looked at right before."""
        at = float(len(self.effects))
        plain: dict[str, Any] = {"step": 1, "token": 1, "looked": at - 0.001, "replica": "0", "locks": (LOCK,)}
        self.effects.append(Effect(what=what, run=run, kind="slow", at=at, wall=at, **{**plain, **more}))

    def step(self, run: str, ordinal: int = 1, token: int = 1) -> None:
        """A step, in the audit and in the world."""
        self.says(run, "step_started", ordinal=ordinal, token=token, kind="slow")
        self.does(run, step=ordinal, token=token)
        self.does(run, What.ENDED, step=ordinal, token=token)
        self.says(run, "step_done", ordinal=ordinal, token=token, kind="slow")

    def history(self, *ends: RunEnd, **more: Any) -> History:
        runs = ends or tuple(end(run) for run in dict.fromkeys(one.run for one in self.effects))
        steps = tuple(StepEnd(run.id, 1, "slow", done=True) for run in runs)
        plain: dict[str, Any] = {"steps": steps, "accepted": frozenset({"a"}), "known": frozenset({"a", "b"})}
        return History(runs=runs, audit=tuple(self.entries), effects=tuple(self.effects), **{**plain, **more})


def end(run: str, state: RunState = RunState.SUCCEEDED) -> RunEnd:
    return RunEnd(run, "drill-alone", "thing-1", state, "")


def good() -> Teller:
    """Two runs on one target, one after the other."""
    teller = Teller()
    for run in ("one", "two"):
        for state in WAY[:4]:
            teller.says(run, state)
        teller.step(run)
        for state in WAY[4:]:
            teller.says(run, state)
    return teller


def edited(history: History) -> History:
    """One word of its audit is another one."""
    first, *others = history.audit
    return replace(history, audit=(replace(first, words="something else"), *others))
