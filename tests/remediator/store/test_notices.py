"""What people are told: written with what it tells, in order, and never again once it was taken."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from ballast_remediator.contract import RunState, StopKind
from ballast_remediator.notice_kinds import NoticeKind
from ballast_remediator.store import figures, heartbeats, notices, runs, stops
from ballast_remediator.store.database import Store
from ballast_remediator.store.notices import Notice
from ballast_remediator.store.outbox import Wanted
from ballast_remediator.store.places import Place, PostgresqlServer, SqliteFile
from ballast_remediator.store.schema import audit
from ballast_remediator.store.schema import notices as table
from drills.stack import Stack
from drills.stack.postgresql import Postgresql
from tests.remediator.store.rows import events, opened, planned, put_into

EVERYTHING = Wanted(frozenset(NoticeKind), "https://ballast.example")


@pytest.fixture(scope="module")
def server(session_stack: Stack) -> Postgresql:
    return session_stack.postgresql()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        place: Place = SqliteFile(tmp_path / "remediator.db")
    else:
        server: Postgresql = request.getfixturevalue("server")
        place = PostgresqlServer(server.fresh(), server.password_file)
    with Store(place) as opened:
        yield opened


@pytest.fixture(autouse=True)
def wanted(store: Store) -> None:
    store.tell(EVERYTHING)


def kept(store: Store) -> list[Any]:
    return list(store.read(lambda c: c.execute(select(table).order_by(table.c.seq)).all()))


def due(store: Store) -> Notice:
    found = store.read(notices.due)
    assert found is not None
    return found


def fail(store: Store, notice: Notice, again_in: float | None) -> None:
    store.write(notices.failed, notice.id, problem="the receiver answered 500", again_in=again_in)


def brake(store: Store) -> str:
    return store.write(stops.put, StopKind.BRAKE, person="intake", reason="7 targets").id


def test_a_run_that_waits_for_a_person_is_told_with_all_that_is_needed(store: Store) -> None:
    run = planned(store, opened(store))
    [row] = kept(store)
    entry = store.read(lambda c: c.execute(select(audit).where(audit.c.event == "awaiting_approval")).one())
    assert row.body == {
        "version": "1",
        "id": entry.hash[:32],
        "kind": "awaiting_approval",
        "at": row.body["at"],
        "cluster": "here",
        "runbook": "book",
        "target": run.target.name,
        "run": run.id,
        "state": "awaiting_approval",
        "words": "planned",
        "link": f"https://ballast.example/api/v1/runs/{run.id}",
        "audit": {"seq": entry.seq, "hash": entry.hash},
    }


def test_a_change_that_is_rolled_back_tells_nobody(store: Store) -> None:
    def torn(connection: Connection) -> None:
        stops.put(connection, StopKind.BRAKE, person="intake", reason="7 targets")
        raise LookupError

    with pytest.raises(LookupError):
        store.write(torn)
    assert kept(store) == []


def test_only_what_is_wanted_is_kept(store: Store) -> None:
    store.tell(Wanted(frozenset({NoticeKind.BRAKE_SET}), None))
    planned(store, opened(store))
    brake(store)
    [row] = kept(store)
    assert (row.kind, row.body["link"], row.body["run"]) == ("brake_set", None, None)


def test_a_stop_is_told_with_what_it_covers(store: Store) -> None:
    stop = store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason="looking", cluster="here")
    store.write(stops.lift, stop.id, person="anna", reason="seen")
    set_, lifted = kept(store)
    assert [set_.kind, lifted.kind] == ["kill_switch_set", "kill_switch_lifted"]
    assert set_.body["cluster"] == lifted.body["cluster"] == "here"


def test_what_was_taken_is_never_due_again(store: Store) -> None:
    brake(store)
    notice = due(store)
    store.write(notices.sent, notice.id)
    fail(store, notice, again_in=0.0)  # as a replica would say that tried at the same time
    assert store.read(notices.due) is None


def test_a_run_is_told_in_order_and_keeps_no_other_waiting(store: Store) -> None:
    run = planned(store, opened(store))
    put_into(store, run, RunState.RUNNING)
    store.write(runs.transition, run.id, RunState.FAILED, words="it did not work")
    first = due(store)
    assert first.kind == "awaiting_approval"
    fail(store, first, again_in=60.0)
    assert store.read(notices.due) is None
    brake(store)
    assert due(store).kind == "brake_set"
    store.write(notices.sent, due(store).id)
    fail(store, first, again_in=None)
    assert due(store).kind == "failed"


def test_what_was_given_up_stays_with_its_reason_and_is_counted(store: Store) -> None:
    brake(store)
    fail(store, due(store), again_in=None)
    [row] = kept(store)
    assert (row.problem, row.due_at, row.tries) == ("the receiver answered 500", None, 1)
    assert store.read(notices.outbox) == notices.Outbox(waiting=0, oldest=0.0, given_up=1)


def test_what_waits_is_counted(store: Store) -> None:
    brake(store)
    found = store.read(notices.outbox)
    assert (found.waiting, found.given_up) == (1, 0)
    assert 0 <= found.oldest < 60


def test_a_plan_that_nobody_looked_at_is_told_once_more_and_no_oftener(store: Store) -> None:
    run = planned(store, opened(store))
    store.write(notices.remind, within=1.0)
    assert "approval_unseen" not in events(store, run)
    for _ in range(3):
        store.write(notices.remind, within=3600.0)
    assert events(store, run).count("approval_unseen") == 1
    assert [row.kind for row in kept(store)] == ["awaiting_approval", "approval_unseen"]
    store.write(runs.transition, run.id, RunState.PLANNING, words="looking again")
    planned_again = {"words": "planned", "expires_at": kept(store)[0].at + 60}
    store.write(runs.transition, run.id, RunState.AWAITING_APPROVAL, **planned_again)
    store.write(notices.remind, within=3600.0)
    assert events(store, run).count("approval_unseen") == 2


def test_the_head_of_the_audit_is_told_once_a_day(store: Store) -> None:
    for _ in range(3):
        store.write(notices.tell_head, every=86400.0)
    [row] = kept(store)
    entry = store.read(lambda c: c.execute(select(audit).order_by(audit.c.seq.desc()).limit(1)).one())
    assert (row.kind, row.body["audit"]) == ("audit_head", {"seq": entry.seq, "hash": entry.hash})
    store.write(notices.tell_head, every=1e-9)
    assert len(kept(store)) == 2


def test_nobody_who_does_not_want_the_head_gets_entries_for_it(store: Store) -> None:
    store.tell(Wanted(frozenset({NoticeKind.FAILED}), None))
    store.write(notices.tell_head, every=1.0)
    assert store.read(lambda c: c.execute(select(audit)).all()) == []


# --- Heartbeats ---


def look(store: Store, *, since: float = 0.0, absent_after: float = -1.0) -> None:
    store.write(heartbeats.look, ("east", "west"), alertname="Watchdog", since=since, absent_after=absent_after)


def test_a_heartbeat_that_never_came_is_told_once_for_each_cluster(store: Store) -> None:
    look(store)
    look(store)
    told = kept(store)
    assert [(row.kind, row.body["cluster"]) for row in told] == [
        ("heartbeat_missing", "east"),
        ("heartbeat_missing", "west"),
    ]
    assert "(alert Watchdog) has never come" in told[0].body["words"]
    assert [(one.age, one.missing) for one in store.read(heartbeats.told, ("east",))] == [(None, True)]


def test_before_its_time_nothing_is_missing(store: Store) -> None:
    look(store, since=store.now(), absent_after=900.0)
    store.write(heartbeats.beat, "east")
    look(store, since=0.0, absent_after=900.0)
    assert [row.body["cluster"] for row in kept(store)] == ["west"]


def test_a_heartbeat_that_stays_away_is_told_and_so_is_its_return(store: Store) -> None:
    store.write(heartbeats.beat, "east")
    store.write(heartbeats.beat, "west")
    look(store)
    store.write(heartbeats.beat, "east")
    store.write(heartbeats.beat, "east")
    east = [row for row in kept(store) if row.body["cluster"] == "east"]
    assert [row.kind for row in east] == ["heartbeat_missing", "heartbeat_back"]
    assert "came last" in east[0].body["words"]
    missing = {one.cluster: one.missing for one in store.read(heartbeats.told, ("east", "west"))}
    assert missing == {"east": False, "west": True}


# --- What is measured at each scrape ---


def test_how_things_stand(store: Store) -> None:
    waits, unknown, over = (opened(store) for _ in range(3))
    planned(store, waits)
    put_into(store, unknown, RunState.OUTCOME_UNKNOWN)
    put_into(store, over, RunState.SUCCEEDED)
    found = store.read(figures.standing, expiring_within=600.0)
    assert found.runs == {("book", "awaiting_approval"): 1, ("book", "outcome_unknown"): 1}
    assert set(found.oldest) == {"awaiting_approval"}
    assert (found.expiring, found.replicas) == (1, 0)
    assert found.audit_entries == store.read(figures.head)
    assert found.oldest_ended is not None
    assert store.read(figures.standing, expiring_within=1.0).expiring == 0


def test_what_ended_is_found_once(store: Store) -> None:
    run = planned(store, opened(store))
    before = store.read(figures.head)
    store.write(runs.transition, run.id, RunState.CANCELLED, words="rejected")
    seen, ended = store.read(figures.ended, after=before)
    assert ended == (figures.Ended("book", "cancelled", None),)
    assert store.read(figures.ended, after=seen) == (seen, ())
