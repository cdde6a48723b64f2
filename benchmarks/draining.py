"""A program whose runs do nothing, and queues for it: what is left is what the engine and its store cost.

The program: ``python -m benchmarks.draining SETTING``.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

from sqlalchemy import Connection, select

from ballast_remediator.cli import THREADS
from ballast_remediator.config import Config, StoreConfig
from ballast_remediator.contract import (
    Alert,
    AlertEvidence,
    Done,
    Mode,
    Observed,
    Permissions,
    Plan,
    Progress,
    Reversibility,
    RunState,
    Step,
    StepContext,
    StepSpec,
    Target,
    WorldGuard,
)
from ballast_remediator.policy import BrakeRule, BudgetRule, PolicyFile, Rule
from ballast_remediator.runbooks.lock import digest
from ballast_remediator.store import inbox, runs, schema
from ballast_remediator.store.database import Store
from benchmarks.ingest import TOKENS, free_port, process
from benchmarks.program import assembled
from kube_ballast import wsgi

CLUSTER: Final = "bench"
HELD: Final = "held-"
"""What the names of targets begin with whose run lasts for as long as the file of that name is there."""
STEPS: Final = 4
TOGETHER: Final = 250
"""Runs that are queued in one commit."""
MANY: Final = 10**9


@dataclass(frozen=True)
class Setting:
    """What the serving process has to know. ``store`` is the configuration's; ``lease`` in seconds."""

    folder: str
    store: Mapping[str, str]
    lease: float = 15.0


class _Pass(Step):
    """Does nothing, and does not tell."""

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec, context
        return Observed(Progress.NOT_DONE, "not done")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        del spec, context
        return Done("done")


class _Hold(_Pass):
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        while (self._folder / spec.target).exists():
            context.wait(0.02)
        return super().act(spec, context)


@dataclass(frozen=True)
class World:
    """Nothing but which target is meant."""

    target: Target
    valid_until: float
    population: int = MANY


class NoOp:
    """Four steps that do nothing; one that lasts, on targets that are `HELD`."""

    name = "bench"
    target_label = "etcd_cluster"
    sources: tuple[ModuleType, ...] = ()
    permissions = Permissions()
    reversibility = Reversibility.REVERSIBLE
    undo = "nothing to undo"
    locks = ()
    guards: tuple[WorldGuard[World], ...] = ()

    def __init__(self, folder: Path) -> None:
        self.steps: Mapping[str, Step] = {"pass": _Pass(), "hold": _Hold(folder)}

    def knows(self, target: Target) -> bool:
        del target
        return True

    def observe(self, alert: Alert, target: Target) -> World:
        del alert
        return World(target, time.monotonic() + 30)

    def plan(self, world: World) -> Plan:
        name = world.target.name
        kinds = ["hold"] if name.startswith(HELD) else ["pass"] * STEPS
        return Plan("do nothing", (), tuple(StepSpec(kind, name, f"{kind} on {name}") for kind in kinds), {})

    def verify(self, context: StepContext) -> Done:
        del context
        return Done("nothing was to be done")


class _Believing:
    """To ask a Prometheus is no part of what is measured."""

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        del target, target_label
        return AlertEvidence("a benchmark", alert.labels, age=1.0)


def _policy() -> PolicyFile:
    rule = Rule.model_construct(runbook=NoOp.name, match={}, mode=Mode.AUTO, budget=BudgetRule(runs=MANY), cooldown=1.0)
    return PolicyFile.model_construct(rules=(rule,), brake=BrakeRule(targets=MANY))


def queue(store: Store, names: list[str]) -> None:
    """Adds a queued run for each of these targets."""
    for start in range(0, len(names), TOGETHER):
        store.write(_queue, names[start : start + TOGETHER])


def _queue(connection: Connection, names: list[str]) -> None:
    runbook = NoOp(Path())
    runbook_digest = digest(runbook)
    (rule,) = (one.model_dump(mode="json") for one in _policy().rules)
    for name in names:
        target = Target(CLUSTER, runbook.name, name)
        labels = {"ballast_runbook": runbook.name, runbook.target_label: name, "alertname": "Bench"}
        alert = Alert(name, labels, {}, firing=True, starts_at=0.0)
        inbox.file(connection, (), [inbox.Finding(alert, target)], brake=inbox.Brake(MANY, 0.0), reopen_after=0.0)
        run_id = connection.execute(select(schema.runs.c.id).where(schema.runs.c.target == name)).scalar_one()
        plan = runbook.plan(runbook.observe(alert, target))
        plan_hash = plan.hash(target=target, runbook_digest=runbook_digest, policy_rule=rule)
        runs.transition(connection, run_id, RunState.PLANNING, words="looking at the world")
        runs.keep_plan(
            connection,
            run_id,
            RunState.QUEUED,
            plan=plan,
            plan_hash=plan_hash,
            mode=Mode.AUTO,
            policy_digest="bench",
            words="the policy lets it run by itself",
        )


def service(setting: Setting) -> wsgi.Service:
    """The whole program with this runbook."""
    folder = Path(setting.folder)
    nobody = f"http://127.0.0.1:{free_port()}"
    for file, text in (("tokens.yaml", TOKENS), ("policy.yaml", "rules: []\n")):
        (folder / file).write_text(text)
    config = Config.model_validate(
        {
            "store": setting.store,
            "tokens_file": folder / "tokens.yaml",
            "policy_file": folder / "policy.yaml",
            "snapshots": {"directory": folder / "snapshots"},
            "clusters": {
                CLUSTER: {
                    "etcd": [{"members": [{"endpoint": nobody}]}],
                    "prometheus": {"url": nobody},
                    "alertmanagers": [{"url": nobody}],
                }
            },
            "engine": {"lease": setting.lease},
        }
    )
    return assembled(config, NoOp(folder), _policy(), witness=_Believing())


def opened(setting: Setting) -> Store:
    """The store of that setting, for this process."""
    return Store(StoreConfig.model_validate(setting.store).place)


@contextmanager
def served(setting: Setting) -> Iterator[int]:
    """The program, serving; gives the pid of its first process."""
    port = free_port()
    content = json.dumps([setting.folder, setting.store, setting.lease])
    command = [sys.executable, "-m", "benchmarks.draining", content, str(port)]
    with process(command, port, "/healthz") as started:
        yield started.pid


if __name__ == "__main__":
    os.environ.setdefault("NO_COLOR", "1")
    given, at = sys.argv[1:]
    wsgi.serve(partial(service, Setting(*json.loads(given))), "127.0.0.1", int(at), blocking_threads=THREADS)
