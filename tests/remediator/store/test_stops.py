"""A stop is in force until its time is over or somebody lifts it, for what it covers and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.contract import StopKind
from ballast_remediator.engine.judging import LEDGER_GUARDS
from ballast_remediator.store import ledger, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.ledger import Host
from ballast_remediator.store.places import SqliteFile
from ballast_remediator.store.runs import NotPossible
from tests.remediator.guards import book
from tests.remediator.guards.stopped import ELSEWHERE, SCOPES

ANNA = {"person": "anna", "reason": "rack move"}
HERE = {"cluster": "here", "target": "main"}
FORBIDS = {
    StopKind.KILL_SWITCH: "kill_switch_is_off",
    StopKind.BRAKE: "brake_is_off",
    StopKind.FREEZE: "nobody_is_at_work",
    StopKind.HOLD: "nobody_is_at_work",
}


class Clock:
    """A clock that goes when a test says so."""

    now = book.NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store(SqliteFile(tmp_path / "remediator.db", clock)) as opened:
        yield opened


def forbidding(store: Store, **of: Any) -> list[str]:
    """The ledger guards that refuse a run on `book.TARGET`, or on what is given."""
    request = book.request(**of)
    said = store.read(ledger.judge, request, LEDGER_GUARDS, Host())
    return [answer.guard for answer in said if answer.verdict == "refuse"]


@pytest.mark.parametrize("kind", StopKind)
def test_it_ends_with_its_time(store: Store, clock: Clock, kind: StopKind) -> None:
    store.write(stops.put, kind, **ANNA, **HERE, until=clock.now + 600.0)
    assert forbidding(store) == [FORBIDS[kind]]
    clock.now += 599.9
    assert forbidding(store) == [FORBIDS[kind]]
    clock.now += 0.1
    assert forbidding(store) == []
    assert store.read(stops.in_force) == ()


@pytest.mark.parametrize("kind", StopKind)
def test_it_ends_when_somebody_lifts_it_and_another_one_stays(store: Store, kind: StopKind) -> None:
    first, second = (store.write(stops.put, kind, **ANNA, **HERE) for _ in range(2))
    store.write(stops.lift, first.id, person="ben", reason="done")
    assert forbidding(store) == [FORBIDS[kind]]
    store.write(stops.lift, second.id, person="ben", reason="done")
    assert forbidding(store) == []
    with pytest.raises(NotPossible, match=f"there is no stop {first.id} in force"):
        store.write(stops.lift, first.id, person="ben", reason="again")


@pytest.mark.parametrize(("scope", "words"), SCOPES)
def test_it_covers_what_its_words_say(store: Store, scope: dict[str, str], words: str) -> None:
    stop = store.write(stops.put, StopKind.KILL_SWITCH, **ANNA, **scope)
    assert stop.scope == words
    assert forbidding(store) == ["kill_switch_is_off"]


@pytest.mark.parametrize("scope", ELSEWHERE)
def test_it_covers_nothing_else(store: Store, scope: dict[str, str]) -> None:
    store.write(stops.put, StopKind.KILL_SWITCH, **ANNA, **scope)
    assert forbidding(store) == []


@pytest.mark.parametrize(
    ("kind", "scope", "words"),
    [
        (StopKind.FREEZE, {}, "a freeze needs the cluster that is worked on"),
        (StopKind.HOLD, {"cluster": "here"}, "a hold needs the cluster and the target that is worked on"),
        (StopKind.HOLD, {"target": "main"}, "a hold needs the cluster and the target that is worked on"),
        (StopKind.KILL_SWITCH, {"until": book.NOW}, "a stop that is over before it begins stops nothing"),
    ],
)
def test_what_cannot_be_meant(store: Store, kind: StopKind, scope: dict[str, Any], words: str) -> None:
    with pytest.raises(NotPossible, match=words):
        store.write(stops.put, kind, **ANNA, **scope)
    assert store.read(stops.in_force) == ()
