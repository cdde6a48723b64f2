"""What is kept for how long: never less than anybody may ask for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from sqlalchemy import Connection, func, select, update

from ballast_remediator.config import RetentionSettings
from ballast_remediator.contract import RunState
from ballast_remediator.engine import retaining
from ballast_remediator.engine.retaining import Retention
from ballast_remediator.policy import BudgetRule, Policy
from ballast_remediator.store import retention
from ballast_remediator.store.audit import append
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit, runs
from tests.remediator.engine.clock import Clock
from tests.remediator.standing import Given, policy
from tests.remediator.store.rows import opened, put_into

DAY = 86400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock, tmp_path: Path) -> Iterator[Store]:
    with clock.store(tmp_path) as opened_:
        yield opened_


def ended(store: Store, *, days: float, many: int = 1) -> None:
    """So many runs ended so many days ago."""
    for _ in range(many):
        run = opened(store)
        put_into(store, run, RunState.SUCCEEDED)
        store.write(aged, run.id, store.now() - days * DAY)


def aged(connection: Connection, run_id: str, ended_at: float) -> None:
    connection.execute(update(runs).where(runs.c.id == run_id).values(finished_at=ended_at))


def kept(store: Store) -> int:
    return int(store.read(lambda c: c.execute(select(func.count()).select_from(runs)).scalar_one()))


def entries(store: Store) -> int:
    return int(store.read(lambda c: c.execute(select(func.count()).select_from(audit)).scalar_one()))


def worked(work: Retention) -> int:
    """How many turns it took until nothing more was to do."""
    turns = 1
    while work.turn():
        turns += 1
    return turns


@pytest.fixture
def chore(store: Store, clock: Clock) -> Callable[..., Retention]:
    def made(rules: Policy | None = None) -> Retention:
        return Retention(store, RetentionSettings(), Given(rules or policy()), monotonic=clock.monotonic)

    return made


def test_what_is_old_is_dropped_in_portions_and_looked_for_again_an_hour_later(
    store: Store, chore: Callable[..., Retention], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS", 3)
    ended(store, days=91, many=10)
    ended(store, days=89)
    work = chore()
    assert worked(work) == 4 + 6, "ten runs in portions of three, and each kind once with nothing left"
    assert kept(store) == 1
    ended(store, days=91)
    assert not work.turn()
    assert kept(store) == 2
    clock.passed += retaining.EVERY
    worked(work)
    assert kept(store) == 1


def test_it_goes_on_where_it_was_killed(
    store: Store, chore: Callable[..., Retention], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RUNS", 3)
    ended(store, days=91, many=10)
    assert chore().turn()
    assert kept(store) == 7
    worked(chore())
    assert kept(store) == 0


@pytest.mark.parametrize(
    "rules",
    [policy(budget=BudgetRule(runs=1, window=120 * DAY)), policy(cooldown=120 * DAY)],
    ids=["budget", "cooldown"],
)
def test_a_policy_that_looks_back_further_keeps_more(
    store: Store, chore: Callable[..., Retention], rules: Policy
) -> None:
    ended(store, days=119)
    ended(store, days=121)
    worked(chore(rules))
    assert kept(store) == 1


def test_the_audit_has_a_time_of_its_own(store: Store, chore: Callable[..., Retention], clock: Clock) -> None:
    def write(connection: Connection) -> None:
        for _ in range(10):
            append(connection, event="note", actor="test", words="")

    store.write(write)
    work = chore()
    clock.passed += 399 * DAY
    worked(work)
    assert entries(store) == 10
    clock.passed += 10 * DAY
    worked(work)
    assert entries(store) == 1


def test_a_clock_that_was_set_forward_drops_nothing_for_a_day(
    store: Store, chore: Callable[..., Retention], clock: Clock
) -> None:
    ended(store, days=1)
    work = chore()
    worked(work)
    clock.ahead += 365 * DAY
    clock.passed += retaining.EVERY
    worked(work)
    assert kept(store) == 1
    clock.ahead -= 365 * DAY
    clock.passed += retaining.REST
    worked(work)
    assert kept(store) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"runs": "30d"}, "greater than or equal to 2678400"),
        ({"audit": "1d"}, "greater than or equal to 2678400"),
        ({"audit": "60d"}, "a run that is kept would lose its timeline"),
    ],
)
def test_less_than_is_asked_for_cannot_be_configured(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RetentionSettings.model_validate(settings)
