"""etcd-defrag on real members: one member a run, an hour that the policy chose, and a crash at any point."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ballast_remediator.config import EtcdDefragSettings
from ballast_remediator.connections import Connections
from ballast_remediator.contract import NothingToDo, Plan, RunState, StepFailed, Stopped, Target, Verdict
from ballast_remediator.policy import Policy, PolicyFile
from ballast_remediator.runbooks.etcd_defrag import EtcdDefrag, World, in_turn
from ballast_remediator.store.records import Run
from drills.filling import client
from drills.stack import EtcdCluster, Stack
from kube_ballast.analysis.etcd import MIB, EtcdState, MemberState
from kube_ballast.clients.errors import Timeout
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import AlarmKind
from tests.mixin.generated import rules
from tests.remediator.chain import (
    SOON,
    Chain,
    alarms,
    arm,
    chain,
    defragmentations,
    leader,
    move_leadership,
    sizes,
    with_disk,
)
from tests.remediator.doubles import FakePrometheus
from tests.remediator.guards.states import cluster, member
from tests.remediator.runbooks.context import Lent
from tests.remediator.runbooks.interrupted import interrupt
from tests.waiting import eventually

VALUE = 64 * 1024
"""Small beside a file: each batch writes the last values anew, and members commit their batches at other times."""
WRITES = 192
FULL = 8 * MIB
"""A member's file is larger before it is defragmented, and smaller after it."""
OPEN = {"name": "now", "schedule": "* * * * *", "lasts": "1m"}


def fragment(etcd: EtcdCluster) -> None:
    """Writes two keys over and over and compacts to the present: most of each member's file is free pages."""
    value = os.urandom(VALUE)
    with client(etcd) as one:
        for turn in range(WRITES):
            latest = one.put(f"/registry/configmaps/{turn % 2}".encode(), value, timeout=SOON).revision
        one.compact(latest, timeout=SOON)

    def settled() -> bool:
        # Pages that the last batch freed count as in use until something is written.
        with client(etcd) as one:
            one.put(b"tick", b"", timeout=SOON)
        in_use = [size - free for size, free in measured(etcd)]
        # Whose pages are still to be freed gives back less than the others, and has its turn after them.
        return max(in_use) < FULL / 2 and max(in_use) - min(in_use) < MIB / 4

    eventually(settled)
    assert min(sizes(etcd)) > FULL


def measured(etcd: EtcdCluster) -> list[tuple[int, int]]:
    """Bytes of each member's file, and of it those that are free."""
    found = []
    for number in range(len(etcd.members)):
        with client(etcd, number) as one:
            status = one.status(timeout=SOON)
            found.append((status.db_size, status.db_size - status.db_size_in_use))
    return found


def defragment(etcd: EtcdCluster, number: int) -> None:
    with client(etcd, number) as one:
        one.defragment(timeout=30.0)


def defragmented(etcd: EtcdCluster) -> list[str]:
    """Members in the order in which they were defragmented, by their own logs."""
    return [each.member for each in defragmentations(etcd)]


def policy(**rule: Any) -> Policy:
    wide = {"match": {"cluster": "here"}, "mode": "auto", "budget": {"runs": 100}, "cooldown": "1ms"}
    return Policy(PolicyFile.model_validate({"rules": [{"runbook": "etcd-defrag", **wide, **rule}]}))


def shut() -> dict[str, str]:
    """A window that opened last half a year ago."""
    then = datetime.now(UTC) + timedelta(days=180)
    return {"name": "night", "schedule": f"0 1 {then.day} {then.month} *", "lasts": "1h"}


def answer(one: Chain) -> Run:
    """What becomes of one more notification."""
    before = len(one.runs())
    one.receive()
    eventually(lambda: len(one.runs()) > before)
    return one.until_final()


@pytest.fixture
def etcd(stack: Stack) -> EtcdCluster:
    etcd = stack.etcd(members=3)
    fragment(etcd)
    return etcd


@pytest.fixture
def one(etcd: EtcdCluster, tmp_path: Path, prometheus_url: str) -> Iterator[Chain]:
    with chain(tmp_path, with_disk(etcd), runbook="etcd-defrag", prometheus=prometheus_url) as one:
        yield one


def test_one_member_a_window_followers_first_and_the_leader_last(one: Chain, etcd: EtcdCluster) -> None:
    move_leadership(etcd, to=1)
    names = [each.name for each in etcd.members]
    turns: list[str] = []
    for number in range(3):
        one.policies.policy = policy(windows=[shut()])
        refused = answer(one)
        assert refused.state is RunState.SUPPRESSED
        assert refused.reason.startswith("window_is_open: none of the rule's windows is open; 'night' opens ")
        assert defragmented(etcd) == turns

        one.policies.policy = policy(windows=[OPEN])
        run = answer(one)
        assert run.state is RunState.SUCCEEDED, one.story(run)
        [(_, name)] = one.done(run)
        turns.append(name)
        assert run.reason.startswith(f"{name} is healthy and no alarm is armed; {name} has ")
        assert defragmented(etcd) == turns
        assert one.story(run).count("leadership moved") == (1 if number == 2 else 0)
    assert turns[2] == names[1]
    assert sorted(turns) == names
    assert max(sizes(etcd)) < FULL
    assert leader(etcd) != 1

    nothing = answer(one)
    assert nothing.state is RunState.CANCELLED
    assert nothing.reason.startswith(
        "nothing to do: no member of etcd main is worth a defragmentation (from 30 % and 2.0 MiB free on): etcd-"
    )


def test_the_plan_tells_whose_turn_it_is_and_what_it_costs(one: Chain, etcd: EtcdCluster) -> None:
    move_leadership(etcd, to=0)
    one.policies.policy = policy(mode="shadow")
    run = answer(one)
    assert run.state is RunState.SHADOWED
    assert run.plan is not None
    chosen = run.plan["steps"][0]["target"]
    leading, *followers = (each.name for each in etcd.members)
    [other] = {*followers} - {chosen}
    assert run.plan["summary"].startswith(f"defragment {chosen} of etcd main, which gives back 1")
    assert list(run.plan["disturbs"]) == [etcd.config.members[1].failure_domain or "127.0.0.1"]
    gives, stall, later = run.plan["because"]
    assert gives.startswith(f"{chosen} has 1")
    assert stall.startswith("it is blocked for about ")
    assert stall.endswith("the liveness probe allows 1 min 20 s")
    assert later == f"later runs: {other}, {leading}"
    assert run.plan["limits"] == {"members": 1, "liveness_budget_seconds": 80.0}
    assert defragmented(etcd) == []


def test_a_target_that_rests_keeps_the_next_member_for_the_next_window(one: Chain, etcd: EtcdCluster) -> None:
    one.policies.policy = policy(windows=[OPEN], cooldown="20h")
    assert answer(one).state is RunState.SUCCEEDED
    again = answer(one)
    assert again.state is RunState.SUPPRESSED
    assert again.reason.startswith("target_has_rested: ")
    assert len(defragmented(etcd)) == 1


def test_nospace_is_the_work_of_another_runbook(one: Chain, etcd: EtcdCluster) -> None:
    arm(etcd, AlarmKind.NOSPACE)
    run = answer(one)
    assert run.state is RunState.CANCELLED
    name = etcd.members[0].name
    assert run.reason == (
        f"nothing to do: NOSPACE is armed on {name}: that is the work of etcd-free-space, which compacts first "
        "and lifts the alarm"
    )
    assert defragmented(etcd) == []
    assert alarms(etcd) == {AlarmKind.NOSPACE}


def test_too_little_disk(one: Chain, etcd: EtcdCluster, prometheus: FakePrometheus) -> None:
    prometheus.values["node_filesystem_avail_bytes"] = 1024
    run = answer(one)
    assert run.state is RunState.SUPPRESSED
    assert run.reason.startswith("disk_suffices: too little free disk for the copy that a defragmentation writes")
    assert defragmented(etcd) == []


def test_a_stall_that_the_liveness_probe_would_not_survive(
    etcd: EtcdCluster, tmp_path: Path, prometheus_url: str
) -> None:
    knobs = {"liveness_budget": "1ms"}
    with chain(tmp_path, with_disk(etcd), runbook="etcd-defrag", prometheus=prometheus_url, settings=knobs) as one:
        run = answer(one)
    assert run.state is RunState.SUPPRESSED
    assert run.reason.startswith("stall_fits: defragmenting etcd-")
    assert "its liveness probe allows 1 ms. Plan B, by hand" in run.reason
    assert defragmented(etcd) == []


def test_a_member_goes_down_before_its_turn(one: Chain, etcd: EtcdCluster) -> None:
    move_leadership(etcd, to=0)
    one.before("defragment", etcd.members[2].kill)
    run = answer(one)
    assert run.state is RunState.FAILED
    second, third = (each.name for each in etcd.members[1:])
    assert run.reason.startswith(f"{second} was not defragmented, quorum_survives: not all voters are healthy: {third}")
    assert run.reason.endswith(". Its file is as it was")


def test_an_alarm_that_comes_up_meanwhile(one: Chain, etcd: EtcdCluster) -> None:
    move_leadership(etcd, to=1)

    def noisy(real: EtcdClient, timeout: float) -> None:
        real.defragment(timeout=timeout)
        arm(etcd, AlarmKind.NOSPACE, member=2)

    interrupt(one, 0, noisy)
    run = answer(one)
    assert run.state is RunState.FAILED
    assert run.reason == f"{etcd.members[0].name} is defragmented, and NOSPACE is armed now: look at that first"


def test_an_answer_that_was_lost_is_looked_for(one: Chain, etcd: EtcdCluster) -> None:
    def lost(real: EtcdClient, timeout: float) -> None:
        real.defragment(timeout=timeout)
        raise Timeout(real.endpoint, "Defragment: no answer within the deadline")

    move_leadership(etcd, to=1)
    interrupt(one, 0, lost)
    run = answer(one)
    assert run.state is RunState.SUCCEEDED, one.story(run)
    assert "nothing to gain" in one.words(run, "defragment")
    assert defragmented(etcd) == [etcd.members[0].name]


def ended(one: Chain) -> NoReturn:
    """The process ends here: nothing more is done or written down."""
    one.engine._stopping.set()
    raise Stopped("the process ended")


def before_it_acts(one: Chain) -> None:
    one.before("defragment", lambda: ended(one))


def after_the_leadership_moved(one: Chain) -> None:
    interrupt(one, 1, lambda _real, _timeout: ended(one))


def before_it_is_written_down(one: Chain) -> None:
    def done(real: EtcdClient, timeout: float) -> None:
        real.defragment(timeout=timeout)
        ended(one)

    interrupt(one, 1, done)


def before_it_is_verified(one: Chain) -> None:
    vars(one.runbook)["verify"] = lambda _context: ended(one)


@pytest.mark.parametrize(
    "dies", [before_it_acts, after_the_leadership_moved, before_it_is_written_down, before_it_is_verified]
)
def test_a_crash_at_any_point(
    etcd: EtcdCluster, tmp_path: Path, prometheus_url: str, dies: Callable[[Chain], None]
) -> None:
    """The leader is the one left, which has the most points to die at."""
    move_leadership(etcd, to=1)
    for follower in (0, 2):
        defragment(etcd, follower)
    first, second, third = (each.name for each in etcd.members)
    options: Any = {"runbook": "etcd-defrag", "prometheus": prometheus_url}
    with chain(tmp_path, with_disk(etcd), **options) as one:
        dies(one)
        one.receive()
        eventually(one.engine._stopping.is_set)
        assert one.run().state in {RunState.PLANNING, RunState.RUNNING, RunState.VERIFYING}
    with chain(tmp_path, with_disk(etcd), **options) as one:
        run = one.until_final()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert one.done(run) == [("defragment", second)]
        assert one.story(run).count("leadership moved") == 1
    assert defragmented(etcd) == [first, third, second]
    assert max(sizes(etcd)) < FULL


# --- Whose turn it is, and what is worth it, without any etcd ---


def holding(number: int, file: int, **changes: Any) -> MemberState:
    """A member whose file has so many MiB, 100 of them in use; member 1 leads."""
    return member(number, status={"db_size": file * MIB, "db_size_in_use": 100 * MIB}, **changes)


def seen(*members: MemberState, **changes: Any) -> World:
    return World(cluster(*members, **{"alarms": (), **changes}), 0.0, 1)


def book(**settings: Any) -> EtcdDefrag:
    return EtcdDefrag(Connections({}), EtcdDefragSettings.model_validate(settings), evidence_valid=1.0)


def turns(*members: MemberState, **settings: Any) -> list[str]:
    wanted = EtcdDefragSettings.model_validate(settings)
    return [each.name for each in in_turn(cluster(*members, alarms=()), wanted)]


def test_who_gives_back_most_comes_first_and_the_leader_last() -> None:
    assert turns(holding(1, 900), holding(2, 300), holding(3, 600)) == ["m3", "m2", "m1"]


def test_who_gives_back_about_as_much_comes_by_name() -> None:
    assert turns(holding(1, 900), holding(2, 600), holding(3, 610)) == ["m2", "m3", "m1"]


def test_from_how_many_bytes_on_it_is_worth_it() -> None:
    assert turns(holding(1, 100), holding(2, 199), holding(3, 100)) == []
    assert turns(holding(1, 100), holding(2, 200), holding(3, 100)) == ["m2"]
    assert turns(holding(1, 100), holding(2, 199), holding(3, 100), least_free_bytes="99MiB") == ["m2"]


def test_from_which_share_on_it_is_worth_it() -> None:
    large = [member(number, status={"db_size": 1000 * MIB, "db_size_in_use": 701 * MIB}) for number in (1, 2, 3)]
    assert turns(*large) == []
    assert turns(*large, least_free_share=0.299) == ["m2", "m3", "m1"]


def test_a_member_that_does_not_answer_has_no_turn_and_is_named() -> None:
    plan = book().plan(seen(holding(1, 100), holding(2, 100), replace(holding(3, 900), status=None)))
    assert isinstance(plan, NothingToDo)
    assert plan.reason.endswith("m2 has 0 B free of 100.0 MiB (0 %); m3 does not answer")


def test_the_same_world_gives_the_same_plan() -> None:
    world = seen(holding(1, 300), holding(2, 300), holding(3, 300))
    assert book().plan(world) == book().plan(replace(world, valid_until=1.0))


def test_a_leader_that_is_the_one_left_is_told_so() -> None:
    plan = book().plan(seen(holding(1, 300), holding(2, 100), holding(3, 100)))
    assert isinstance(plan, Plan)
    assert plan.because == (
        "m1 has 200.0 MiB free of 300.0 MiB (67 %)",
        "it is blocked for about 2.0 s while it rewrites 100.0 MiB; the liveness probe allows 1 min 20 s",
        "it leads, and no follower is worth it any more: its leadership is moved first",
        "later runs: no other member is worth it",
    )
    assert plan.disturbs == ("m1",)


REFUSED = {
    "no_corruption": seen(holding(1, 300), holding(2, 300), holding(3, 300), alarms=None),
    "quorum_survives": seen(holding(1, 300), holding(2, 300)),
    "every_member_votes": seen(holding(1, 300), holding(2, 300), holding(3, 300), holding(4, 300, voter=False)),
    "nobody_disturbs": seen(holding(1, 300), holding(2, 300), holding(3, 300, snapshots_in_flight=1)),
    "quota_is_known": seen(holding(1, 300), holding(2, 300), holding(3, 300, quota=None)),
    "disk_suffices": seen(holding(1, 300), holding(2, 300), holding(3, 300, disk_free=1.0)),
    "version_is_safe": seen(*(member(n, status={"db_size": 300 * MIB, "version": "3.5.9"}) for n in (1, 2, 3))),
}


@pytest.mark.parametrize("guard", REFUSED)
def test_what_keeps_it_from_beginning(guard: str) -> None:
    world = REFUSED[guard]
    runbook = book()
    assert isinstance(runbook.plan(world), Plan)
    answers = [asked(world) for asked in runbook.guards]
    assert [answer.guard for answer in answers if answer.verdict is Verdict.REFUSE] == [guard]


def test_the_stall_is_that_of_the_member_whose_turn_it_is() -> None:
    world = seen(holding(1, 300), holding(2, 300), holding(3, 300))
    answers = [asked(world) for asked in book(liveness_budget="1s").guards]
    refused = [answer for answer in answers if answer.verdict is Verdict.REFUSE]
    assert [answer.guard for answer in refused] == ["stall_fits"]
    assert refused[0].reason.startswith("defragmenting m2 rewrites 100.0 MiB and blocks it for about 2.0 s")


class Given:
    """Connections to an etcd of which one state was seen."""

    def __init__(self, world: World) -> None:
        self._world = world

    def etcd(self, _: Target) -> Any:
        return self

    def state(self) -> EtcdState:
        return self._world.state


def verified(*members: MemberState, **changes: Any) -> str:
    """What verifying says of member m2, in a world with those members."""
    given: Any = Given(seen(*members, **changes))
    settings = EtcdDefragSettings.model_validate({"patience": "10ms"})
    context = Lent(known={"defragment": {"member": "m2"}})
    return EtcdDefrag(given, settings, evidence_valid=1.0).verify(context).words


def test_what_is_verified() -> None:
    assert verified(holding(1, 300), holding(2, 104), holding(3, 300)) == (
        "m2 is healthy and no alarm is armed; m2 has 4.0 MiB free of 104.0 MiB (4 %)"
    )


@pytest.mark.parametrize(
    ("second", "changes", "words"),
    [
        (holding(2, 300), {}, "m2 did not shrink: m2 has 200.0 MiB free of 300.0 MiB (67 %). Look at its log"),
        (holding(2, 104, ready=False), {}, "m2 is defragmented, but not healthy again: m2 is not ready"),
        (holding(2, 104), {"alarms": None}, "the alarms cannot be listed, and was for 10 ms"),
        (holding(4, 104), {}, "etcd main has no member m2 any more"),
    ],
)
def test_what_is_not_as_it_should_be_afterwards(second: MemberState, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(StepFailed) as caught:
        verified(holding(1, 300), second, holding(3, 300), **changes)
    assert str(caught.value).startswith(words)


def test_whenever_the_alert_fires_there_is_something_to_do() -> None:
    """The alert counts what stays free at the peak, never more than the runbook sees; so the limits may be equal."""
    [rule] = [rule for rule in rules() if rule.get("alert") == "EtcdDefragNeeded"]
    settings = EtcdDefragSettings()
    assert f"> {settings.least_free_share:g}\n" in rule["expr"]
    assert f"> {settings.least_free_bytes:d}\n" in rule["expr"]
