"""What goes wrong in the middle of a run, on real members, and what is left alone then."""

from pathlib import Path

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.store import runs
from drills.filling import client, fill
from drills.stack import EtcdCluster, Stack
from kube_ballast.clients.errors import Timeout
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import AlarmKind
from kube_ballast.config import BasicAuth, EtcdConfig
from tests.remediator.chain import (
    ORDER,
    QUOTA,
    SOON,
    alarms,
    arm,
    chain,
    defragmentations,
    etcdctl,
    full,
    leader,
    move_leadership,
    never_two_at_once,
    pause,
    revision,
    seed_compact_rev,
    sizes,
    with_disk,
)
from tests.remediator.doubles import FakePrometheus
from tests.remediator.runbooks.interrupted import interrupt
from tests.waiting import eventually

LEASES = {
    "manager": b"/registry/leases/kube-system/kube-controller-manager",
    "scheduler": b"/registry/leases/kube-system/kube-scheduler",
    "node": b"/registry/leases/kube-node-lease/node-1",
}


def put(etcd: EtcdCluster, *keys: bytes) -> None:
    with client(etcd) as one:
        for key in keys:
            one.put(key, b"renewed", timeout=SOON)


@pytest.fixture
def etcd(stack: Stack, prometheus: FakePrometheus) -> EtcdCluster:
    """Full, and its present revision counts as old enough."""
    etcd = full(stack)
    prometheus.values["ballast_etcd_quota_revision"] = revision(etcd)
    return etcd


def test_risks_that_a_person_accepted(stack: Stack, tmp_path: Path) -> None:
    etcd = full(stack)
    with chain(tmp_path, etcd) as one:
        one.receive()
        one.approve(one.until(RunState.AWAITING_APPROVAL), "disk_suffices", "watchers_keep_up")
        run = one.until_final()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert run.acknowledged == {"disk_suffices", "watchers_keep_up"}
        assert "approved by somebody: test" in one.story(run)
        # Without a revision that is known to be old there is one compaction alone, to the present.
        assert [kind for kind, _ in one.done(run)] == [kind for kind in ORDER if kind != "compact"]
        assert f"compacted to revision {revision(etcd) - 2};" in one.words(run, "compact-further")
        assert run.reason == "etcd is restored. No Leases under /registry/leases/, so nothing is said about the cluster"


def test_the_second_compaction_where_the_garbage_is_young_and_leases_that_advance(
    stack: Stack, tmp_path: Path, prometheus: FakePrometheus, prometheus_url: str
) -> None:
    etcd = stack.etcd(members=3, quota_bytes=QUOTA)
    put(etcd, *LEASES.values())
    noted = seed_compact_rev(etcd)
    fill(etcd)
    latest = revision(etcd)
    del prometheus.values["ballast_etcd_quota_revision"]
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        one.before("watch-alarm", lambda: put(etcd, *LEASES.values()))
        run = one.answer()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert [kind for kind, _ in one.done(run)] == ORDER
        assert one.words(run, "compact").startswith(f"compacted to revision {noted};")
        assert one.words(run, "compact-further").startswith(f"compacted to revision {latest};")
        assert run.reason.startswith(
            "the cluster is restored: 1 of 1 node Leases and 2 of 2 leader Leases were renewed"
        )
        assert run.plan is not None
        answers = {answer["guard"]: answer["reason"] for answer in run.plan["answers"]}
        assert answers["watchers_keep_up"] == (
            f"Prometheus has no sample that old; the apiserver's last compaction round noted revision {noted}"
        )
        further = next(step["words"] for step in run.plan["steps"] if step["kind"] == "compact-further")
        assert "its price: every watch that lags lists anew" in further


def test_live_data_over_the_quota(
    stack: Stack, tmp_path: Path, prometheus: FakePrometheus, prometheus_url: str
) -> None:
    etcd = stack.etcd(members=3, quota_bytes=QUOTA)
    # Small values: with large ones bbolt leaves so many pages free that a defragmentation might yet help.
    fill(etcd, keys=100_000, value_bytes=16 * 1024)
    prometheus.values["ballast_etcd_quota_revision"] = revision(etcd)
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        run = one.answer()
        assert run.state is RunState.FAILED
        assert "of the quota, so neither compaction nor defragmentation can help (" in run.reason
        assert "What a person can do: delete what is not needed (deletes still pass" in run.reason
        assert "or raise --quota-backend-bytes" in run.reason
        assert [kind for kind, _ in one.done(run)] == ["snapshot", "compact", "compact-further"]
    assert defragmentations(etcd) == []
    assert alarms(etcd) == {AlarmKind.NOSPACE}


def test_a_stall_that_the_liveness_probe_would_not_survive(
    etcd: EtcdCluster, tmp_path: Path, prometheus_url: str
) -> None:
    before = sizes(etcd)
    settings = {"liveness_budget": "10ms"}
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url, settings=settings) as one:
        run = one.answer()
        assert run.state is RunState.FAILED
        first = min(member.name for number, member in enumerate(etcd.members) if number != leader(etcd))
        assert run.reason.startswith(f"{first} was not defragmented, stall_fits: defragmenting {first} rewrites ")
        assert "its liveness probe allows 10 ms. Plan B, by hand, one member at a time: (1)" in run.reason
        assert run.reason.endswith("NOSPACE stays armed; members before it in the plan are done and stay as they are")
    assert defragmentations(etcd) == []
    assert all(after >= then for after, then in zip(sizes(etcd), before, strict=True))
    assert alarms(etcd) == {AlarmKind.NOSPACE}


def test_corrupt_armed_between_two_steps(etcd: EtcdCluster, tmp_path: Path, prometheus_url: str) -> None:
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        one.before("disarm", lambda: arm(etcd, AlarmKind.CORRUPT))
        run = one.answer()
        assert run.state is RunState.FAILED
        assert run.reason.startswith("CORRUPT is armed now. No alarm is lifted any more")
        assert len(defragmentations(etcd)) == 3
    assert alarms(etcd) == {AlarmKind.NOSPACE, AlarmKind.CORRUPT}


def test_corrupt_armed_before_a_member_is_defragmented(etcd: EtcdCluster, tmp_path: Path, prometheus_url: str) -> None:
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        one.before("defragment", lambda: arm(etcd, AlarmKind.CORRUPT, member=2))
        run = one.answer()
        assert run.state is RunState.FAILED
        assert "was not defragmented, no_corruption: the alarm CORRUPT is armed on" in run.reason
    assert defragmentations(etcd) == []
    assert alarms(etcd) == {AlarmKind.NOSPACE, AlarmKind.CORRUPT}


def test_the_alarm_comes_back(etcd: EtcdCluster, tmp_path: Path, prometheus_url: str) -> None:
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        one.before("watch-alarm", lambda: arm(etcd, AlarmKind.NOSPACE))
        run = one.answer()
        assert run.state is RunState.FAILED
        assert run.reason.startswith("NOSPACE is armed again: something writes faster than there is room. Find the")
    assert alarms(etcd) == {AlarmKind.NOSPACE}


def test_the_leader_changes_in_the_middle(etcd: EtcdCluster, tmp_path: Path, prometheus_url: str) -> None:
    move_leadership(etcd, to=2)
    first, second, third = (member.name for member in etcd.members)
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        one.before("defragment", lambda: move_leadership(etcd, to=0))
        run = one.answer()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert [target for kind, target in one.done(run) if kind == "defragment"] == [first, second, third]
        # The plan holds its first target for a follower; it hands the leadership on before its turn all the same.
        assert f"note: leadership moved from {first} to" in one.story(run)
    assert never_two_at_once(etcd)
    assert [each.member for each in defragmentations(etcd)] == [first, second, third]


def test_a_member_goes_down_before_its_turn(etcd: EtcdCluster, tmp_path: Path, prometheus_url: str) -> None:
    move_leadership(etcd, to=1)
    settings = {"patience": "1s"}
    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url, settings=settings) as one:
        one.before("defragment", etcd.members[2].kill)
        run = one.answer()
        assert run.state is RunState.FAILED
        first, third = etcd.members[0].name, etcd.members[2].name
        wanted = f"{first} was not defragmented, quorum_survives: not all voters are healthy: {third} does not answer"
        assert run.reason.startswith(wanted)
    assert alarms(etcd) == {AlarmKind.NOSPACE}


def test_defragment_times_out_and_nobody_else_is_defragmented_meanwhile(
    etcd: EtcdCluster, tmp_path: Path, prometheus_url: str
) -> None:
    move_leadership(etcd, to=0)
    last, first, second = etcd.members
    settings = {"defrag_timeout": "500ms", "patience": "10s"}
    looks: list[object] = []

    def stopped(real: EtcdClient, timeout: float) -> None:
        pause(first)
        real.defragment(timeout=timeout)

    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url, settings=settings) as one:
        interrupt(one, 1, stopped)
        one.receive()
        run = one.until(RunState.RUNNING)
        story = eventually(lambda: one.story(run) if "was interrupted" in one.story(run) else "", within=30.0)
        assert "Defragment: no answer within the deadline" in story
        assert "it is unknown whether the request took effect" in story
        # Stopped for as long as the engine asks about it again and again, nobody else gets a turn.
        step = one.runbook.steps["defragment"]
        observe = step.observe

        def seen(*arguments: object) -> object:
            looks.append(arguments)
            return observe(*arguments)

        vars(step)["observe"] = seen
        eventually(lambda: len(looks) >= 2, within=30.0)
        assert not any(kind == "defragment" for kind, _ in one.done(run))
        assert one.run().state is RunState.RUNNING
        first.resume()
        run = one.until_final()
        assert run.state is RunState.SUCCEEDED, one.story(run)
    assert never_two_at_once(etcd)
    names = [each.member for each in defragmentations(etcd)]
    assert set(names[:-2]) == {first.name}
    assert names[-2:] == [second.name, last.name]


def test_defragment_was_done_and_only_its_answer_was_lost(
    etcd: EtcdCluster, tmp_path: Path, prometheus_url: str
) -> None:
    def lost(real: EtcdClient, timeout: float) -> None:
        real.defragment(timeout=timeout)
        raise Timeout(real.endpoint, "Defragment: no answer within the deadline")

    with chain(tmp_path, with_disk(etcd), prometheus=prometheus_url) as one:
        for member in range(3):
            interrupt(one, member, lost)
        run = one.answer()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert one.story(run).count("note: defragment was interrupted (") == 3
        assert one.words(run, "defragment").count("nothing to gain") == 3
    assert len(defragmentations(etcd)) == 3
    assert never_two_at_once(etcd)


def test_etcd_with_authentication_on(
    stack: Stack, tmp_path: Path, prometheus: FakePrometheus, prometheus_url: str
) -> None:
    etcd = full(stack)
    prometheus.values["ballast_etcd_quota_revision"] = revision(etcd)
    for command in (("user", "add", "root:secret"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
        etcdctl(etcd, *command)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "nobody").mkdir()
    with chain(tmp_path / "nobody", with_disk(etcd)) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        assert run.reason.startswith(f"the world cannot be seen: {etcd.endpoints[0]}: Range: ")
        assert "etcd asks for a user: configure auth" in run.reason

    auth = BasicAuth(username="root", password_file=tmp_path / "password")
    config = EtcdConfig.model_validate({**with_disk(etcd).model_dump(), "auth": auth})
    with chain(tmp_path, config, prometheus=prometheus_url) as one:
        run = one.answer()
        assert run.state is RunState.SUCCEEDED, one.story(run)
    assert len(defragmentations(etcd)) == 3


def test_the_alert_resolves_before_anybody_approves(stack: Stack, tmp_path: Path) -> None:
    """What Alertmanager says is no proof either way: the world decides."""
    etcd = stack.etcd(members=3, quota_bytes=QUOTA)
    arm(etcd, AlarmKind.NOSPACE)
    with chain(tmp_path, etcd, mode="ask") as one:
        one.receive()
        run = one.until(RunState.AWAITING_APPROVAL)
        deadline = run.expires_at
        assert deadline is not None

        one.receive(one.resolved())
        again = eventually(lambda: one.story(one.run()).count("awaiting_approval:") == 2 and one.run())
        assert again.state is RunState.AWAITING_APPROVAL
        assert again.expires_at == deadline
        assert "Alertmanager says resolved, which is no proof; the world is asked" in one.story(again)
        with pytest.raises(runs.NotPossible, match="accepted by name"):
            one.approve(again)

        one.receive()
        with client(etcd) as member:
            for alarm in member.alarms(timeout=SOON):
                member.disarm(alarm.member_id, alarm.kind, timeout=SOON)
        eventually(lambda: alarms(etcd) == set())
        one.receive(one.resolved())
        gone = one.until(RunState.CANCELLED)
        assert gone.reason.startswith("nothing to do: etcd main has no NOSPACE alarm")
