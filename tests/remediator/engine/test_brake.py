"""The brake from the notification to the release: too many targets at once, and a person has to look."""

from pathlib import Path

import pytest

from ballast_remediator.contract import Mode, RunState, Stop
from ballast_remediator.policy import BrakeRule, Policy
from ballast_remediator.store import inbox, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.runs import NotPossible
from tests.remediator.chain import payload
from tests.remediator.engine.clock import Clock
from tests.remediator.engine.desk import Desk, Recording, alert, say
from tests.remediator.incidents.incident import let_it_run
from tests.remediator.standing import policy

BELIEVABLE = 3
TARGETS = tuple(f"etcd-{number}" for number in range(BELIEVABLE + 1))
WINDOW = 600.0


def braked(mode: Mode = Mode.AUTO) -> Policy:
    wide = policy(mode)
    return Policy(wide.content.model_copy(update={"brake": BrakeRule(targets=BELIEVABLE, window=WINDOW)}))


def free(**parts: object) -> Recording:
    """A runbook of one step that takes no lock."""
    return Recording(kinds=("a",), locks=(), **parts)


@pytest.fixture
def auto(store: Store) -> Desk:
    return Desk(store, free(), rules=braked())


@pytest.fixture
def asked(store: Store) -> Desk:
    return Desk(store, free(), rules=braked(Mode.ASK))


def brakes(desk: Desk) -> tuple[Stop, ...]:
    return desk.store.read(stops.in_force)


def lift(desk: Desk, brake: Stop) -> None:
    desk.store.write(stops.lift, brake.id, person="anna", reason="it was the network")


def acted(desk: Desk) -> set[str]:
    names = {run.id: run.target.name for run in desk.runs()}
    return {names[run_id] for _, run_id in desk.runbook.effects}


def states(desk: Desk) -> dict[str, RunState]:
    """Of the newest run of each target."""
    return {run.target.name: run.state for run in reversed(desk.runs())}


def send(desk: Desk, *targets: str, **labels: str) -> None:
    for target in targets:
        desk.receive(say(target, **labels))


def test_as_many_targets_as_are_believable_are_answered(auto: Desk) -> None:
    send(auto, *TARGETS[:BELIEVABLE])
    let_it_run(auto)
    assert acted(auto) == set(TARGETS[:BELIEVABLE])
    assert brakes(auto) == ()


def test_one_more_sets_it_and_what_comes_after_goes_no_further(auto: Desk) -> None:
    send(auto, *TARGETS[:BELIEVABLE])
    let_it_run(auto)
    send(auto, TARGETS[BELIEVABLE])
    let_it_run(auto)
    (brake,) = brakes(auto)
    assert brake.reason == "alerts for 4 targets came within 10 min, and the policy takes 3 for believable"
    assert auto.run().state is RunState.SUPPRESSED
    assert auto.run().reason == f"brake_is_off: {brake.reason}. A person has to look, then: ballastctl lift {brake.id}"
    assert auto.events(auto.run()) == ["received", "suppressed"]

    send(auto, TARGETS[0], "yet another")
    let_it_run(auto)
    assert states(auto)[TARGETS[0]] is states(auto)["yet another"] is RunState.SUPPRESSED
    assert acted(auto) == set(TARGETS[:BELIEVABLE])
    assert brakes(auto) == (brake,)


@pytest.mark.parametrize(
    "notifications",
    [[payload(alerts=[alert(name, name) for name in TARGETS])], [say(name) for name in TARGETS]],
    ids=["one notification", "many"],
)
def test_all_at_once_nothing_is_done_at_all(auto: Desk, notifications: list[bytes]) -> None:
    for body in notifications:
        auto.receive(body)
    let_it_run(auto)
    assert set(states(auto).values()) == {RunState.SUPPRESSED}
    assert acted(auto) == set()


def test_what_waited_expires_when_a_person_lifts_it(asked: Desk) -> None:
    send(asked, *TARGETS[:BELIEVABLE])
    asked.turn()
    waiting, approved, received = asked.runs()
    asked.approve(approved)
    send(asked, TARGETS[BELIEVABLE])
    asked.file()
    (brake,) = brakes(asked)
    assert asked.runs()[1:] == (waiting, *asked.runs()[2:3], received)

    lift(asked, brake)
    assert brakes(asked) == ()
    let_it_run(asked)
    assert [states(asked)[name] for name in TARGETS] == [*[RunState.EXPIRED] * BELIEVABLE, RunState.SUPPRESSED]
    assert "it waited behind the brake, which anna released" in asked.story(approved)
    assert acted(asked) == set()
    with pytest.raises(NotPossible):
        asked.approve(waiting)


def test_what_a_person_approves_meanwhile_does_not_begin(asked: Desk) -> None:
    send(asked, *TARGETS[:BELIEVABLE])
    asked.turn()
    run = asked.run()
    send(asked, TARGETS[BELIEVABLE])
    asked.file()
    asked.approve(run)
    for _ in range(3):
        asked.turn()
    assert states(asked)[run.target.name] is RunState.SUPPRESSED
    assert acted(asked) == set()


def test_a_run_under_way_is_carried_to_its_end(store: Store) -> None:
    desk = Desk(store, Recording(locks=()), rules=braked())

    def too_many(_: object) -> None:
        send(desk, *TARGETS)
        desk.file()
        (brake,) = brakes(desk)
        lift(desk, brake)

    desk.runbook.steps["a"].after = too_many
    desk.receive()
    let_it_run(desk)
    first = desk.runs()[-1]
    assert first.state is RunState.SUCCEEDED
    assert desk.runbook.done(first) == ["a", "b", "c"]
    assert len(desk.runbook.effects) == 3


def test_after_the_release_counting_begins_anew(auto: Desk) -> None:
    send(auto, *TARGETS)
    auto.file()
    lift(auto, brakes(auto)[0])

    send(auto, *TARGETS[:BELIEVABLE])
    let_it_run(auto)
    assert acted(auto) == set(TARGETS[:BELIEVABLE])
    assert brakes(auto) == ()

    send(auto, TARGETS[BELIEVABLE])
    let_it_run(auto)
    assert len(brakes(auto)) == 1
    assert TARGETS[BELIEVABLE] not in acted(auto)


def test_what_both_alertmanagers_of_a_pair_send_counts_once(auto: Desk) -> None:
    for sender in ("alertmanager-1", "alertmanager-2"):
        for target in TARGETS[:BELIEVABLE]:
            auto.store.write_together(inbox.accept, inbox.Arrival(say(target), sender))
    # A replica label that nobody dropped gives the same alert another fingerprint.
    send(auto, *TARGETS[:BELIEVABLE], replica="b")
    let_it_run(auto)
    assert len(auto.runs()) == BELIEVABLE
    assert brakes(auto) == ()


def test_an_alert_that_flaps_or_is_repeated_counts_once(asked: Desk) -> None:
    for _ in range(10):
        send(asked, "main")
        asked.turn()
        asked.receive(say("main", firing=False))
        asked.turn()
    assert brakes(asked) == ()


def test_a_target_that_is_answered_again_and_again_counts_once(auto: Desk) -> None:
    for _ in TARGETS:
        auto.answer()
    assert len(auto.runs()) == len(TARGETS)
    assert brakes(auto) == ()


def test_what_nobody_answers_does_not_count(auto: Desk) -> None:
    send(auto, *TARGETS, ballast_runbook="none")
    send(auto, *TARGETS, cluster="elsewhere")
    for target in TARGETS:
        auto.receive(say(target, firing=False))
    auto.file()
    assert auto.runs() == ()
    assert brakes(auto) == ()


def test_the_targets_of_all_clusters_count_together(store: Store) -> None:
    nowhere = "http://127.0.0.1:9"
    desk = Desk(store, free(), rules=braked(), clusters={"here": nowhere, "there": nowhere})
    send(desk, "main", "events", cluster="here")
    send(desk, "main", cluster="there")
    desk.file()
    assert brakes(desk) == ()
    send(desk, "events", cluster="there")
    desk.file()
    assert len(brakes(desk)) == 1


def test_what_came_before_the_window_does_not_count(tmp_path: Path) -> None:
    clock = Clock()
    with clock.store(tmp_path) as store:
        desk = Desk(store, free(), rules=braked())
        send(desk, *TARGETS[:BELIEVABLE])
        desk.file()
        clock.passed += WINDOW
        send(desk, TARGETS[BELIEVABLE])
        desk.file()
        assert brakes(desk) == ()


def test_a_restart_does_not_release_it(tmp_path: Path) -> None:
    path = tmp_path / "remediator.db"
    with Store(path) as store:
        desk = Desk(store, free(), rules=braked())
        send(desk, *TARGETS)
        desk.file()
    with Store(path) as store:
        desk = Desk(store, free(), rules=braked())
        send(desk, "yet another")
        let_it_run(desk)
        assert set(states(desk).values()) == {RunState.SUPPRESSED}
        assert acted(desk) == set()
