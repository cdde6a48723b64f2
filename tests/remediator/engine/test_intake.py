"""From notifications to runs: what opens one, what does not and why, and that nothing is lost or done twice."""

import json
import threading
import time

import pytest
from sqlalchemy import Connection, select

from ballast_remediator.contract import FINAL, Mode, RunState, StepFailed, Target
from ballast_remediator.engine import intake
from ballast_remediator.store import decisions, inbox
from ballast_remediator.store.database import Store
from ballast_remediator.store.schema import audit, notifications, run_alerts
from ballast_remediator.store.writer import StoreUnavailable
from tests.remediator.chain import payload
from tests.remediator.doubles import FakeAlertmanager, http_server
from tests.remediator.engine.desk import Desk, Recording, alert, say, settings
from tests.remediator.standing import policy


def ignored(store: Store) -> list[str]:
    rows = store.read(
        lambda c: c.execute(select(audit.c.words).where(audit.c.event == "alert_ignored")).scalars().all()
    )
    return list(rows)


def unfiled(store: Store) -> int:
    return len(store.read(lambda c: c.execute(select(notifications).where(notifications.c.filed_at.is_(None))).all()))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"ballast_runbook": None}, "the alert has no label ballast_runbook: it is for people"),
        ({"ballast_runbook": "reboot-everything"}, "there is no approved runbook 'reboot-everything'"),
        ({"cluster": "elsewhere"}, "cluster 'elsewhere' is not configured (configured: here)"),
        ({"etcd_cluster": None}, "the alert has no label etcd_cluster: its target is unknown"),
        ({"etcd_cluster": ""}, "the alert has no label etcd_cluster: its target is unknown"),
    ],
)
def test_alerts_that_are_nobodys_business_are_audited(desk: Desk, labels: dict[str, str | None], words: str) -> None:
    desk.receive(payload(labels={"ballast_runbook": "recording", **labels}))
    desk.turn()
    assert desk.runs() == ()
    assert ignored(desk.store) == [words]
    assert unfiled(desk.store) == 0


def test_without_a_cluster_label_the_only_cluster_is_meant(desk: Desk) -> None:
    assert desk.answer(say(cluster=None)).target.cluster == "here"


def test_with_two_clusters_the_label_is_needed(store: Store) -> None:
    desk = Desk(store, clusters={"here": "http://127.0.0.1:9", "there": "http://127.0.0.1:9"})
    desk.receive(say(cluster=None))
    desk.turn()
    assert ignored(store) == ["cluster None is not configured (configured: here, there)"]
    assert desk.answer(say(cluster="there")).target.cluster == "there"


def test_the_same_notification_twice_at_the_same_moment_is_one_run(desk: Desk) -> None:
    barrier = threading.Barrier(8)

    def send() -> None:
        barrier.wait()
        desk.receive()

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.turn()
    run = desk.until(*FINAL)
    assert desk.runs() == (run,)
    assert run.state is RunState.SUCCEEDED
    assert desk.runbook.done(run) == ["a", "b", "c"]
    (received,) = desk.store.read(lambda c: c.execute(select(run_alerts.c.received)).scalars().all())
    assert received == 8


def test_two_alerts_of_one_group_about_two_targets_are_two_runs(desk: Desk) -> None:
    desk.receive(payload(alerts=[alert("1", "main"), alert("2", "events"), alert("3", "main")]))
    desk.until(*FINAL)
    assert {run.target.name for run in desk.runs()} == {"main", "events"}
    assert len(desk.runs()) == 2


def test_only_the_alerts_own_status_counts(desk: Desk) -> None:
    desk.receive(payload(status="resolved", alerts=[alert("1", "main", firing=False), alert("2", "events")]))
    desk.turn()
    assert [run.target.name for run in desk.runs()] == ["events"]


def test_a_resolved_alert_opens_nothing(desk: Desk) -> None:
    desk.receive(say(firing=False))
    desk.turn()
    assert desk.runs() == ()
    assert unfiled(desk.store) == 0


def jammed(_: object) -> None:
    raise StepFailed("it is jammed")


@pytest.mark.parametrize("ends_as", [RunState.FAILED, RunState.SUCCEEDED])
def test_a_target_rests_after_an_action(store: Store, ends_as: RunState) -> None:
    desk = Desk(store, rules=policy(cooldown=3600.0))
    if ends_as is RunState.FAILED:
        desk.runbook.steps["b"].before = jammed
    acted = desk.answer()
    assert acted.state is ends_as
    again = desk.answer()
    assert again.state is RunState.SUPPRESSED
    assert again.reason.startswith(f"target_has_rested: run {acted.id} (recording) ended as {ends_as} ")
    assert desk.answer(say("events")).reason != again.reason

    rested = Desk(store)
    assert rested.answer().state is RunState.SUCCEEDED


def test_a_target_rests_after_a_person_said_no(store: Store) -> None:
    desk = Desk(store, rules=policy(Mode.ASK, cooldown=3600.0))
    desk.receive()
    run = desk.until(RunState.AWAITING_APPROVAL)
    store.write(decisions.reject, run.id, person="anna", reason="not now")
    again = desk.answer()
    assert again.state is RunState.SUPPRESSED
    assert f"target_has_rested: run {run.id} was rejected" in again.reason


def test_an_alert_that_flaps_costs_one_run_at_a_time_and_none_is_lost(store: Store) -> None:
    desk = Desk(store, knobs=settings(reopen_after="1m"))
    desk.runbook.nothing_to_do = "all is well"
    first = desk.answer()
    for firing in (False, True) * 100:
        desk.receive(say(firing=firing))
    desk.file()
    waiting, ended = desk.runs()
    assert (ended.id, waiting.state) == (first.id, RunState.RECEIVED)
    assert waiting.due_at > time.time() + 30


def test_what_alertmanager_cut_off_is_asked_for(store: Store) -> None:
    alertmanager = FakeAlertmanager()
    labels = {"ballast_runbook": "recording", "etcd_cluster": "events"}
    alertmanager.hold("cut", labels)
    alertmanager.hold("quiet", {**labels, "etcd_cluster": "silenced"}, silenced=True)
    alertmanager.hold("people", {"alertname": "Watchdog"})
    with http_server(alertmanager) as url:
        desk = Desk(store, clusters={"here": url})
        desk.receive(payload(truncatedAlerts=3, alerts=[alert("1", "main")]))
        desk.until(*FINAL)
        assert {run.target.name for run in desk.runs()} == {"main", "events"}
        assert alertmanager.asked == 1
        desk.receive()
        desk.turn()
        assert alertmanager.asked == 1


def test_alertmanager_cannot_be_asked_for_the_rest(desk: Desk) -> None:
    desk.receive(payload(truncatedAlerts=3, alerts=[alert("1", "main")]))
    assert desk.until(*FINAL).target.name == "main"
    assert unfiled(desk.store) == 0


def test_a_body_that_can_no_longer_be_read_holds_up_nobody(desk: Desk) -> None:
    desk.receive(b"{}")
    assert desk.answer().state is RunState.SUCCEEDED
    assert unfiled(desk.store) == 0


def test_a_run_shows_the_alert_that_opened_it(store: Store) -> None:
    desk = Desk(store, Recording())
    run = desk.answer(say(severity="none"))
    assert run.alert.labels["severity"] == "none"
    assert run.alert.fingerprint == json.loads(say(severity="none"))["alerts"][0]["fingerprint"]
    assert run.alert.starts_at == pytest.approx(1767225600.0)


def test_a_notification_of_many_alerts_is_filed_in_portions(
    desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PORTION", 4)
    desk.receive(payload(alerts=[alert(str(number), f"target-{number}") for number in range(10)]))
    opened = []
    for more in (True, True, False):
        assert unfiled(store) == 1
        assert desk.engine._intake.file() is more
        opened.append(len(desk.runs()))
    assert opened == [4, 8, 10]
    assert unfiled(store) == 0


def test_a_restart_between_two_portions_loses_nothing(
    desk: Desk, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PORTION", 4)
    desk.receive(payload(alerts=[alert(str(number), f"target-{number}") for number in range(10)]))
    desk.engine._intake.file()
    again = Desk(store)
    again.file()
    assert sorted(run.target.name for run in again.runs()) == [f"target-{number}" for number in range(10)]
    assert unfiled(store) == 0


def test_alertmanager_is_asked_once_for_all_that_it_cut_off(store: Store) -> None:
    alertmanager = FakeAlertmanager()
    for fingerprint, target in (("known", "main"), ("back", "events"), ("cut", "other")):
        alertmanager.hold(fingerprint, {"ballast_runbook": "recording", "etcd_cluster": target})
    with http_server(alertmanager) as url:
        desk = Desk(store, clusters={"here": url})
        for _ in range(3):
            desk.receive(payload(truncatedAlerts=3, alerts=[alert("known", "main")]))
        desk.receive(payload(truncatedAlerts=3, alerts=[alert("back", "events", firing=False)]))
        desk.file()
    assert alertmanager.asked == 1
    assert sorted(run.target.name for run in desk.runs()) == ["events", "main", "other"]
    assert store.read(lambda c: c.execute(select(run_alerts.c.received)).scalars().all()).count(3) == 1


def set_aside(store: Store) -> list[str]:
    words = select(audit.c.words).where(audit.c.event == "notification_set_aside")
    return list(store.read(lambda c: c.execute(words).scalars().all()))


@pytest.mark.parametrize("fault", ["finding", "writing"])
def test_a_notification_that_cannot_be_filed_is_set_aside_and_the_others_go_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    if fault == "finding":
        # A fault of a runbook: it cannot say whether it knows the target.
        def knows(target: Target) -> bool:
            return {"good": True, "better": True}[target.name]

        monkeypatch.setattr(desk.runbook, "knows", knows)
    else:
        # What the database itself refuses, whoever sends it.
        def refuse(connection: Connection) -> None:
            connection.exec_driver_sql(
                "CREATE TRIGGER refuse BEFORE INSERT ON runs WHEN NEW.target = 'poison' "
                "BEGIN SELECT RAISE(ABORT, 'this is poison'); END"
            )

        desk.store.write(refuse)
    for target in ("good", "poison", "better"):
        desk.receive(say(target))
    for _ in range(intake.TRIES):
        assert desk.engine.notifications_set_aside() == 0
        desk.file()
    assert {run.target.name for run in desk.runs()} == {"good", "better"}
    assert unfiled(desk.store) == 0
    (words,) = set_aside(desk.store)
    reason = "KeyError: 'poison'" if fault == "finding" else "IntegrityError: this is poison"
    assert words.startswith(f"notification 2 could not be filed ({reason}): its alerts open no run")
    assert desk.engine.notifications_set_aside() == 1
    desk.receive(say("good"))
    desk.file()
    assert desk.engine.notifications_set_aside() == 1


def test_a_fault_that_passes_sets_nothing_aside(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = iter([ZeroDivisionError("once")])

    def knows(_: Target) -> bool:
        for fault in faults:
            raise fault
        return True

    monkeypatch.setattr(desk.runbook, "knows", knows)
    for target in ("one", "other"):
        desk.receive(say(target))
    desk.file()
    assert {run.target.name for run in desk.runs()} == {"one", "other"}
    assert set_aside(desk.store) == []


def test_an_outage_of_the_store_sets_nothing_aside(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(store)
    desk.receive()
    write = store.write

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(store, "write", down)
    for _ in range(intake.TRIES + 1):
        with pytest.raises(StoreUnavailable):
            desk.file()
    monkeypatch.setattr(store, "write", write)
    desk.file()
    assert (len(desk.runs()), set_aside(store)) == (1, [])


def test_a_flood_is_one_that_was_filed_whole_and_left_nothing_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MANY", 3)
    monkeypatch.setattr(intake, "PORTION", 1)
    filing = desk.engine._intake

    def look(*targets: str) -> list[bool]:
        """Whether it is one after each portion of what came."""
        for target in targets:
            desk.receive(say(target))
        seen = []
        while filing.file():
            seen.append(filing.flooded())
        return [*seen, filing.flooded()]

    assert look("a", "b") == [False, False]
    assert look("c", "d", "e") == [False, False, True]
    assert look() == [False]
    monkeypatch.setattr(inbox, "BATCH", 3)
    assert look("f", "g", "h") == [False, False, False, False], "more than one look takes may wait already"
