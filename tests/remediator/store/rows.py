"""Runs as the store's tests need them, and what the store holds of them."""

import secrets
import time
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from ballast_remediator.contract import FINAL, Alert, Answer, Mode, Plan, RunState, StepSpec, Target, Verdict
from ballast_remediator.store import inbox, reading, runs
from ballast_remediator.store.database import Store
from ballast_remediator.store.records import Run, StepRecord
from ballast_remediator.store.schema import audit, locks
from ballast_remediator.store.schema import runs as table
from tests.remediator.standing import NO_BRAKE

PLAN = Plan(
    "do it",
    ("because",),
    (StepSpec("a", "m1", "do a", {"revision": 3}), StepSpec("b", "m2", "do b")),
    {"members_at_once": 1},
)
RISKY = Plan("do it", (), PLAN.steps, {}, (Answer("disk", Verdict.ASK, "unknown"),))


def opened(store: Store, target: str | None = None) -> Run:
    """A run that was just received, on a target of its own unless one is given."""
    name = target or secrets.token_hex(4)
    finding = inbox.Finding(Alert("f", {"a": "b"}, {}, firing=True, starts_at=1.0), Target("here", "book", name))
    store.write(inbox.file, (), (finding,), brake=NO_BRAKE, reopen_after=0.0)
    return store.read(reading.recent_runs, limit=1)[0]


def put_into(store: Store, run: Run, state: RunState, **values: Any) -> None:
    """Sets the state as if the run had come there; the table is tested elsewhere."""
    finished = time.time() if state in FINAL else None

    def force(connection: Connection) -> None:
        changes = {"state": state, "finished_at": finished, **values}
        connection.execute(update(table).where(table.c.id == run.id).values(**changes))

    store.write(force)


def again(store: Store, run: Run) -> Run:
    found = store.read(reading.run, run.id)
    assert found is not None
    return found


def events(store: Store, run: Run) -> list[str]:
    return [entry.event for entry in store.read(reading.timeline, run.id)]


def entries(store: Store) -> int:
    return store.read(lambda c: c.execute(select(func.count()).select_from(audit)).scalar_one())


def hold(store: Store, run: Run, *names: str) -> None:
    store.write(lambda c: c.execute(insert(locks), [{"name": n, "run_id": run.id, "taken_at": 0.0} for n in names]))


def held(store: Store) -> dict[str, str]:
    return {row.name: row.run_id for row in store.read(lambda c: c.execute(select(locks)).all())}


def step_of(store: Store, run_id: str, ordinal: int = 1) -> StepRecord:
    return store.read(reading.steps_of, run_id)[ordinal - 1]


def planned(store: Store, run: Run, plan: Plan = PLAN, *, to: RunState = RunState.AWAITING_APPROVAL) -> Run:
    """The run with a plan of hash "h"."""
    store.write(runs.transition, run.id, RunState.PLANNING, words="looking")
    store.write(
        runs.keep_plan,
        run.id,
        to,
        plan=plan,
        plan_hash="h",
        mode=Mode.ASK,
        policy_digest="p",
        words="planned",
        expires_at=time.time() + 60,
    )
    return again(store, run)
