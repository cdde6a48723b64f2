"""What came of shadowed runs: when they are looked at again, what is kept of it, and that nobody waits for it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ballast_remediator.contract import Mode, RunState, StopKind
from ballast_remediator.engine import followup
from ballast_remediator.store import shadow, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.places import SqliteFile
from ballast_remediator.store.records import Run
from ballast_remediator.store.shadow import Later, Shadow
from tests.remediator.chain import payload
from tests.remediator.engine.desk import FAR, Desk, SeenWorld, alert, say, settings
from tests.remediator.standing import policy
from tests.waiting import eventually

BEGINNING = 1_700_000_000.0
MINUTE = 60.0


@dataclass
class Clock:
    """Seconds since the epoch, moved by the test."""

    now: float = BEGINNING

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with Store(SqliteFile(tmp_path / "remediator.db", clock)) as opened:
        yield opened


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store, rules=policy(Mode.SHADOW))


def followed(store: Store, run: Run) -> Shadow:
    return next(one for one in store.read(shadow.followed, since=0.0) if one.run_id == run.id)


def looks(desk: Desk) -> int:
    """Makes every look that is due now; how many there were."""
    made = 0
    while (run_id := desk.store.read(shadow.due)) is not None:
        desk.engine._follow_up.look(run_id)
        made += 1
    return made


def test_a_shadowed_run_is_looked_at_again_four_times_in_an_hour(desk: Desk, clock: Clock) -> None:
    run = desk.answer()
    assert run.state is RunState.SHADOWED
    assert looks(desk) == 0
    for minutes in range(1, 200):
        clock.now = BEGINNING + minutes * MINUTE
        looks(desk)
    kept = followed(desk.store, run)
    assert [look.at - BEGINNING for look in kept.looks] == [1 * MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE]
    assert {look.found for look in kept.looks} == {Later.SAME_PLAN}
    assert (kept.next_look_at, kept.resolved_at) == (None, None)
    assert desk.runbook.effects == []


def test_an_alert_that_resolves_ends_it(desk: Desk, clock: Clock) -> None:
    run = desk.answer()
    clock.now += 2 * MINUTE
    assert looks(desk) == 1
    desk.receive(say(firing=False))
    desk.file()
    kept = followed(desk.store, run)
    assert (kept.resolved_at, kept.next_look_at) == (clock.now, None)
    clock.now += 60 * MINUTE
    assert looks(desk) == 0
    desk.receive(say(firing=False))
    desk.file()
    assert followed(desk.store, run).resolved_at == kept.resolved_at


def elsewhere() -> bytes:
    """The end of an alert with the same fingerprint, as senders without a label for the cluster make them."""
    (main,) = json.loads(say())["alerts"]
    return payload(alerts=[alert(main["fingerprint"], "events", firing=False)])


@pytest.mark.parametrize("other", [say("events", firing=False), say(severity="page", firing=False), elsewhere()])
def test_another_alert_that_resolves_does_not(desk: Desk, other: bytes) -> None:
    run = desk.answer()
    desk.receive(other)
    desk.file()
    assert followed(desk.store, run).resolved_at is None


def test_a_later_run_of_the_same_alert_is_followed_beside_the_first(desk: Desk, clock: Clock) -> None:
    first = desk.answer()
    clock.now += 10 * MINUTE
    second = desk.answer()
    assert second.id != first.id
    clock.now += MINUTE
    assert looks(desk) == 2
    desk.receive(say(firing=False))
    desk.file()
    assert followed(desk.store, first).resolved_at == followed(desk.store, second).resolved_at == clock.now


def found(desk: Desk, clock: Clock, run: Run) -> tuple[Later, str | None, str]:
    """The next look of ``run``."""
    clock.now = followed(desk.store, run).next_look_at or 0.0
    assert looks(desk) == 1
    last = followed(desk.store, run).looks[-1]
    return last.found, last.guard, last.words


def test_each_look_says_what_the_run_would_have_done_then(desk: Desk, clock: Clock) -> None:
    run = desk.answer()
    desk.runbook.kinds = ("a", "b")
    assert found(desk, clock, run) == (Later.OTHER_PLAN, None, "do it all")
    held = desk.store.write(stops.put, StopKind.HOLD, person="anna", reason="by hand", cluster="here", target="main")
    later, guard, words = found(desk, clock, run)
    assert (later, guard) == (Later.REFUSED, "nobody_is_at_work")
    assert words.startswith("nobody_is_at_work: anna is at work")
    desk.store.write(stops.lift, held.id, person="anna", reason="done")
    desk.runbook.nothing_to_do = "the alarm is gone"
    assert found(desk, clock, run) == (Later.NOTHING_TO_DO, None, "nothing to do: the alarm is gone")


def test_a_policy_that_lets_it_run_by_now_changes_nothing_about_the_plan(desk: Desk, clock: Clock) -> None:
    run = desk.answer()
    desk.engine._follow_up._policies.policy = policy(Mode.AUTO)
    assert found(desk, clock, run)[0] is Later.SAME_PLAN
    assert desk.runbook.effects == []


def test_what_raises_saw_nothing_and_is_tried_again_at_its_time(desk: Desk, clock: Clock) -> None:
    run = desk.answer()
    desk.runbook.seeing = lambda: 1 / 0
    later, _, words = found(desk, clock, run)
    assert (later, "ZeroDivisionError" in words) == (Later.UNSEEN, True)
    desk.runbook.seeing = lambda: SeenWorld(FAR)
    assert found(desk, clock, run)[0] is Later.SAME_PLAN


@pytest.mark.parametrize("by_file", [True, False])
def test_a_kill_switch_keeps_even_a_look_from_being_made(
    store: Store, clock: Clock, tmp_path: Path, *, by_file: bool
) -> None:
    file = tmp_path / "stop"
    desk = Desk(store, rules=policy(Mode.SHADOW), knobs=settings(kill_switch_file=str(file)))
    run = desk.answer()
    before = (desk.runbook.seen, len(desk.witness.asked))
    if by_file:
        file.write_text("")
    else:
        store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="audit", cluster="here")
    later, _, words = found(desk, clock, run)
    assert (later, words.startswith("nobody looked: ")) == (Later.UNSEEN, True)
    assert (desk.runbook.seen, len(desk.witness.asked)) == before


def test_what_was_missed_while_it_was_down_is_looked_at_once(desk: Desk, store: Store, clock: Clock) -> None:
    run = desk.answer()
    clock.now += 20 * MINUTE
    again = Desk(store, rules=policy(Mode.SHADOW))
    assert looks(again) == 1
    assert followed(store, run).next_look_at == BEGINNING + 60 * MINUTE


def test_a_look_that_hangs_holds_up_no_run_and_no_other_one_begins(
    desk: Desk, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followup, "EVERY", 0.0)
    shadowed = desk.answer()
    hangs, goes_on = threading.Event(), threading.Event()

    def hang() -> SeenWorld:
        hangs.set()
        goes_on.wait(60)
        return SeenWorld(FAR)

    desk.runbook.seeing = hang
    clock.now += MINUTE
    desk.engine._follow_up.begin()
    assert hangs.wait(10)
    desk.runbook.seeing = lambda: SeenWorld(FAR)
    desk.engine._follow_up.begin()
    desk.engine._planner._policies.policy = policy(Mode.AUTO)
    assert desk.answer(say("events")).state is RunState.SUCCEEDED
    assert followed(desk.store, shadowed).looks == ()
    goes_on.set()
    eventually(lambda: len(followed(desk.store, shadowed).looks) == 1)


def test_the_engine_looks_by_itself(desk: Desk, clock: Clock) -> None:
    run = desk.answer()
    clock.now += MINUTE
    desk.engine.start()
    try:
        eventually(lambda: len(followed(desk.store, run).looks) == 1)
    finally:
        desk.engine.stop(10.0)
