"""What is refused before anything is done: with which words, and that etcd is left as it was."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from ballast_remediator.contract import RunState
from ballast_remediator.store import reading, runs
from ballast_remediator.store.schema import audit
from drills.stack import Authority, EtcdCluster, Stack
from kube_ballast.clients.etcd.types import AlarmKind
from kube_ballast.config import EtcdConfig
from tests.remediator.chain import (
    UNREACHABLE,
    alarms,
    arm,
    chain,
    defragmentations,
    disarm,
    full,
    log_lines,
    move_leadership,
    payload,
    revision,
    sizes,
    somebody_reads_a_snapshot,
    with_disk,
)
from tests.remediator.doubles import FakePrometheus
from tests.waiting import eventually


@pytest.fixture
def untouched(full_etcd: EtcdCluster, tmp_path: Path) -> Iterator[EtcdCluster]:
    """The full cluster; afterwards it has to be as it was, and no snapshot may have been kept."""
    before = revision(full_etcd), sizes(full_etcd)
    yield full_etcd
    assert revision(full_etcd) == before[0]
    # What the fill wrote last may still be on its way into a file; nothing may shrink one.
    assert all(after >= then for after, then in zip(sizes(full_etcd), before[1], strict=True))
    assert alarms(full_etcd) == {AlarmKind.NOSPACE}
    assert defragmentations(full_etcd) == []
    assert not any("compaction" in line["msg"] for n in range(3) for line in log_lines(full_etcd, n))
    assert not list((tmp_path / "snapshots").glob("*"))


def test_shadow_shows_what_would_be_done_and_does_nothing(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, untouched, mode="shadow") as one:
        run = one.answer()
        assert run.state is RunState.SHADOWED
        assert run.reason == "shadow: this is what would have been done"
        assert run.plan is not None
        assert [step["kind"] for step in run.plan["steps"]].count("defragment") == 3
        assert "NOSPACE is armed on etcd" in run.plan["because"][0]


def test_corrupt_beside_nospace(untouched: EtcdCluster, tmp_path: Path) -> None:
    arm(untouched, AlarmKind.CORRUPT, member=1)
    try:
        with chain(tmp_path, with_disk(untouched)) as one:
            run = one.answer()
            assert run.state is RunState.SUPPRESSED
            name = untouched.members[1].name
            assert f"no_corruption: the alarm CORRUPT is armed on {name}. Leave everything as it is" in run.reason
    finally:
        disarm(untouched, AlarmKind.CORRUPT)


def test_somebody_elses_snapshot_is_waited_for(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, untouched, mode="shadow", engine={"planning_patience": "60s"}) as one:
        with somebody_reads_a_snapshot(untouched, member=2):
            one.receive()
            run = eventually(lambda: next((run for run in one.runs() if "nobody_disturbs" in run.reason), None))
            assert run.state is RunState.PLANNING
            name = untouched.members[2].name
            assert f"nobody_disturbs: 1 snapshot(s) of {name} are being read" in run.reason
            assert "Is a backup running?" in run.reason
        assert one.until_final().state is RunState.SHADOWED


def test_somebody_elses_snapshot_that_does_not_end(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, untouched) as one, somebody_reads_a_snapshot(untouched):
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        assert run.reason.startswith("nobody_disturbs: 1 snapshot(s) of ")
        assert "waiting: nobody_disturbs" in one.story(run)


def test_too_little_disk(
    untouched: EtcdCluster, tmp_path: Path, prometheus: FakePrometheus, prometheus_url: str
) -> None:
    prometheus.values["node_filesystem_avail_bytes"] = 1024
    with chain(tmp_path, with_disk(untouched), prometheus=prometheus_url) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        assert "disk_suffices: too little free disk for the copy that a defragmentation writes" in run.reason
        # How far a fill goes past the quota before every member refuses differs from one to the next.
        assert re.search(rf"{re.escape(untouched.members[0].name)} has 1.0 KiB free and needs \d+\.\d MiB", run.reason)
    asked = 'node_filesystem_avail_bytes{instance="control-plane",mountpoint="/"}'
    assert asked in prometheus.asked


def test_unknown_risks_turn_auto_into_a_question(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, untouched) as one:
        one.receive()
        run = one.until(RunState.AWAITING_APPROVAL)
        assert run.mode == "auto"
        assert run.reason.endswith("has to be accepted by name: disk_suffices, watchers_keep_up")
        assert run.plan is not None
        reasons = {answer["guard"]: answer["reason"] for answer in run.plan["answers"] if answer["verdict"] == "ask"}
        assert "no disk is configured for it" in reasons["disk_suffices"]
        assert "Look with df, then accept disk_suffices by name" in reasons["disk_suffices"]
        assert "Prometheus does not answer" in reasons["watchers_keep_up"]
        assert "etcd holds no compact_rev_key" in reasons["watchers_keep_up"]
        with pytest.raises(runs.NotPossible, match=r"accepted by name: watchers_keep_up$"):
            one.approve(run, "disk_suffices")
        with pytest.raises(runs.NotPossible, match=r"accepted by name: disk_suffices, watchers_keep_up$"):
            one.approve(run, "something_else")
        assert one.run().state is RunState.AWAITING_APPROVAL


def test_a_disk_that_prometheus_does_not_know(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, with_disk(untouched)) as one:
        one.receive()
        run = one.until(RunState.AWAITING_APPROVAL)
        assert run.plan is not None
        reasons = {answer["guard"]: answer["reason"] for answer in run.plan["answers"]}
        assert f"Prometheus was asked in vain: {UNREACHABLE}" in reasons["disk_suffices"]


def test_members_that_nobody_configured(untouched: EtcdCluster, tmp_path: Path) -> None:
    config = untouched.config
    two_of_three = config.model_copy(update={"members": config.members[:2]})
    with chain(tmp_path, two_of_three) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        stranger = untouched.members[2].name
        assert f"etcd lists members that the configuration does not know: {stranger}. Add them" in run.reason


def test_the_snapshot_has_no_room(
    untouched: EtcdCluster, tmp_path: Path, prometheus_url: str, small_files: None
) -> None:
    del small_files
    with chain(tmp_path, with_disk(untouched), prometheus=prometheus_url) as one:
        run = one.answer()
        assert run.state is RunState.FAILED
        assert "the snapshot cannot be kept: " in run.reason
        assert "File too large. Nothing has been changed on etcd. Make room in " in run.reason
        assert one.done(run) == []


def test_the_snapshot_has_no_folder(untouched: EtcdCluster, tmp_path: Path, prometheus_url: str) -> None:
    (tmp_path / "snapshots").write_text("a file")
    with chain(tmp_path, with_disk(untouched), prometheus=prometheus_url) as one:
        run = one.answer()
        assert run.state is RunState.FAILED
        assert "the snapshot cannot be kept: " in run.reason
        assert "or configure snapshots.directory elsewhere" in run.reason
    (tmp_path / "snapshots").unlink()


def test_an_etcd_that_is_not_configured(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, untouched) as one:
        one.receive(payload(labels={"etcd_cluster": "events"}))
        eventually(lambda: one.engine.ignored_alerts() == 1)
        assert one.store.read(reading.recent_runs, limit=1) == ()
        told = select(audit.c.words).where(audit.c.event == "alert_ignored")
        words = one.store.read(lambda c: c.execute(told).scalars().all())
        assert words == ["the configuration has no etcd_cluster 'events' in here"]


def test_a_member_that_is_down_is_waited_for_only_so_long(stack: Stack, tmp_path: Path) -> None:
    etcd = full(stack)
    before = revision(etcd)
    third = etcd.members[2]
    move_leadership(etcd, to=0)
    third.kill()
    with chain(tmp_path, etcd) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        assert f"quorum_survives: not all voters are healthy: {third.name} does not answer (" in run.reason
        assert f"waiting: quorum_survives: not all voters are healthy: {third.name}" in one.story(run)
    assert revision(etcd) == before

    (tmp_path / "second").mkdir()
    with chain(tmp_path / "second", etcd, mode="shadow", engine={"planning_patience": "60s"}) as one:
        one.receive()
        eventually(lambda: any("quorum_survives" in run.reason for run in one.runs()))
        third.restart()
        assert one.until_final().state is RunState.SHADOWED


@pytest.mark.parametrize(("members", "left"), [(1, 0), (2, 1)])
def test_clusters_that_cannot_spare_a_member(stack: Stack, tmp_path: Path, members: int, left: int) -> None:
    etcd = full(stack, members=members)
    with chain(tmp_path, etcd) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        wanted = f"{members} voter(s): while one is blocked, {left} stay(s) and {members // 2 + 1} are needed"
        assert wanted in run.reason
        assert "an outage to be declared by people, not a repair" in run.reason
    assert alarms(etcd) == {AlarmKind.NOSPACE}


def test_a_quota_that_is_switched_off(stack: Stack, tmp_path: Path) -> None:
    etcd = stack.etcd(members=3, quota_bytes=-1)
    arm(etcd, AlarmKind.NOSPACE)
    with chain(tmp_path, etcd) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        names = ", ".join(member.name for member in etcd.members)
        assert f"quota_is_known: the quota of {names} is unknown or switched off" in run.reason


def test_an_etcd_without_the_fault(stack: Stack, tmp_path: Path) -> None:
    with chain(tmp_path, stack.etcd()) as one:
        run = one.answer()
        assert run.state is RunState.CANCELLED
        assert run.reason.startswith("nothing to do: etcd main has no NOSPACE alarm: etcd-1 holds ")


def test_wrong_certificates(stack: Stack, tmp_path: Path) -> None:
    etcd = stack.etcd(tls=True)
    foreign = Authority(stack.data("foreign")).issue("stranger")
    assert etcd.tls is not None
    wrong_authority = etcd.config.model_copy(update={"tls": foreign})
    wrong_certificate = etcd.config.model_copy(update={"tls": foreign.model_copy(update={"ca": etcd.tls.ca})})
    words = {"ca": "check tls.ca", "cert": "does not accept this client's certificate"}
    for name, config in (("ca", wrong_authority), ("cert", wrong_certificate)):
        (tmp_path / name).mkdir()
        with chain(tmp_path / name, config) as one:
            run = one.answer()
            assert run.state is RunState.SUPPRESSED
            assert run.reason.startswith(f"the world cannot be seen: {etcd.endpoints[0]}")
            assert words[name] in run.reason


def nobody() -> EtcdConfig:
    return EtcdConfig.model_validate({"members": [{"endpoint": UNREACHABLE}]})


def test_an_etcd_that_nobody_reaches(tmp_path: Path) -> None:
    with chain(tmp_path, nobody()) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED
        assert run.reason.startswith(f"the world cannot be seen: {UNREACHABLE}")
