"""ballastctl stop, freeze, hold, lift, stops: what a person types in a hurry, and what it says."""

import json
import re
import time
from collections.abc import Callable

import pytest
from click.testing import Result

from ballast_remediator.contract import Stop, StopKind
from ballast_remediator.guards import kill_switch_is_off, nobody_is_at_work
from ballast_remediator.store import stops
from ballast_remediator.store.database import Store
from tests.remediator.guards.book import Book, request

Ctl = Callable[..., Result]


def standing(store: Store) -> Stop:
    (stop,) = store.read(stops.in_force)
    return stop


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        (("stop",), "everything"),
        (("stop", "--cluster", "production"), "cluster production"),
        (("stop", "--runbook", "etcd-free-space"), "runbook etcd-free-space"),
        (("freeze", "production"), "cluster production"),
        (("hold", "production", "main"), "target main of cluster production"),
    ],
)
def test_one_line_stops_and_one_line_lifts(ctl: Ctl, store: Store, arguments: tuple[str, ...], scope: str) -> None:
    said = ctl(*arguments, "--reason", "a drill")
    stop = standing(store)
    assert (said.exit_code, stop.scope, stop.person, stop.reason) == (0, scope, "approver", "a drill")
    assert f"when it may go on: ballastctl lift {stop.id} --reason" in said.output

    lifted = ctl("lift", stop.id, "--reason", "over")

    assert (lifted.exit_code, scope in lifted.output, store.read(stops.in_force)) == (0, True, ())


@pytest.mark.parametrize("kind", [StopKind.KILL_SWITCH, StopKind.FREEZE, StopKind.HOLD])
def test_the_words_of_the_guards_can_be_typed(ctl: Ctl, store: Store, kind: StopKind) -> None:
    placed = store.write(stops.put, kind, person="anna", reason="x", cluster="here", target="main")
    book = Book(standing=[placed])
    guard = nobody_is_at_work.nobody_is_at_work
    if kind is StopKind.KILL_SWITCH:
        guard = kill_switch_is_off.kill_switch_is_off
    reason = guard(request(), book).reason
    command = reason.rpartition("ballastctl ")[2].split()
    assert ctl(*command, "--reason", "over").exit_code == 0
    assert store.read(stops.in_force) == ()


def test_a_freeze_for_two_hours_says_when_it_ends(ctl: Ctl, store: Store) -> None:
    said = ctl("freeze", "production", "--for", "2h", "--reason", "a kernel update")
    assert standing(store).until == pytest.approx(time.time() + 7200, abs=60)
    for shown in (said.output, ctl("stops", role="viewer").output):
        assert re.search(r"until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \((2 h|1 h 59 min) more\)", shown)


@pytest.mark.parametrize("length", ["2 hours", "0s", "-5m", "soon"])
def test_a_length_that_is_none_stops_nothing(ctl: Ctl, store: Store, length: str) -> None:
    said = ctl("freeze", "production", "--for", length, "--reason", "x")
    assert (said.exit_code, "write for example" in said.output, store.read(stops.in_force)) == (2, True, ())


def test_a_reason_is_needed(ctl: Ctl, store: Store) -> None:
    for arguments in (("stop",), ("freeze", "production"), ("hold", "production", "main"), ("lift", "x")):
        assert ctl(*arguments).exit_code == 2
    assert store.read(stops.in_force) == ()


def test_a_cluster_that_is_spelt_wrong_is_said_to_be(ctl: Ctl, store: Store) -> None:
    said = ctl("freeze", "prodction", "--reason", "x")
    assert said.exit_code == 1
    assert said.output == "ballastctl: cluster 'prodction' is not configured (configured: production)\n"
    assert store.read(stops.in_force) == ()


def test_stops_are_listed_with_who_when_why_and_how_they_are_lifted(ctl: Ctl, store: Store) -> None:
    assert ctl("stops", role="viewer").output == "no stop is in force\n"
    brake = store.write(stops.put, StopKind.BRAKE, person="intake", reason="alerts for 6 targets came within 10 min")
    shown = ctl("stops", role="viewer").output.splitlines()
    assert shown[0] == f"{brake.id}  brake on everything"
    assert shown[1].endswith("ago: alerts for 6 targets came within 10 min")
    assert shown[-1] == f"  when it may go on: ballastctl lift {brake.id} --reason …"
    (listed,) = json.loads(ctl("stops", "-o", "json").output)["stops"]
    assert (listed["id"], listed["kind"]) == (brake.id, "brake")


def test_runs_begin_with_what_keeps_them(ctl: Ctl, store: Store, run_id: str) -> None:
    assert ctl("runs").output.startswith("RUN ")
    for number in range(5):
        store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason=f"drill {number}")
    lines = ctl("runs").output.splitlines()
    assert lines[0].startswith("STOPPED: everything, kill switch by anna ")
    assert lines[0].endswith(" ago (drill 0)")
    assert lines[3] == "… and 2 more: ballastctl stops"
    assert lines[5].startswith(run_id)
    assert isinstance(json.loads(ctl("runs", "-o", "json").output), list)


def test_lifting_one_of_two_says_that_the_other_stays(ctl: Ctl, store: Store) -> None:
    first, second = (
        store.write(stops.put, StopKind.KILL_SWITCH, person="anna", reason=reason) for reason in ("one", "two")
    )
    said = ctl("lift", first.id, "--reason", "over").output
    assert "STOPPED: everything, kill switch by anna" in said
    assert "(two)" in said
    assert standing(store).id == second.id


def test_lifting_the_brake_says_what_becomes_of_what_waited(ctl: Ctl, store: Store, run_id: str) -> None:
    brake = store.write(stops.put, StopKind.BRAKE, person="intake", reason="too many")
    assert "What waited behind it has expired" in ctl("lift", brake.id, "--reason", "a release").output
    assert "expired" in ctl("show", run_id).output.splitlines()[0]


def test_a_stop_that_is_not_there(ctl: Ctl) -> None:
    said = ctl("lift", "nothing", "--reason", "x")
    assert (said.exit_code, said.output) == (1, "ballastctl: there is no stop nothing in force\n")


@pytest.mark.parametrize("role", ["viewer", "ingest"])
def test_who_may_not_decide_is_told(ctl: Ctl, store: Store, role: str) -> None:
    said = ctl("stop", "--reason", "x", role=role)
    assert (said.exit_code, "the token's role" in said.output, store.read(stops.in_force)) == (1, True, ())


def test_words_from_outside_do_not_drive_the_terminal(ctl: Ctl, store: Store) -> None:
    store.write(stops.put, StopKind.HOLD, person="anna", reason="\x1b[2J\ngone", cluster="a\rb", target="\x07c")
    for command in ("stops", "runs"):
        assert not {"\x1b", "\r", "\x07"} & set(ctl(command).output)
