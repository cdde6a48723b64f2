"""The kill switch in the middle of a remedy of a real, full etcd."""

from pathlib import Path

from ballast_remediator.contract import RunState
from drills.stack import Stack
from kube_ballast.clients.etcd.types import AlarmKind
from tests.remediator.chain import ORDER, alarms, chain, defragmentations, full, revision, with_disk
from tests.remediator.doubles import FakePrometheus
from tests.waiting import eventually


def test_a_remedy_that_is_stopped_leaves_etcd_as_it_was_and_the_next_one_does_it_all(
    stack: Stack, tmp_path: Path, prometheus: FakePrometheus, prometheus_url: str
) -> None:
    etcd = full(stack)
    prometheus.values["ballast_etcd_quota_revision"] = revision(etcd)
    file = tmp_path / "STOP"
    options = {"prometheus": prometheus_url, "engine": {"kill_switch_file": file}}
    with chain(tmp_path, with_disk(etcd), **options) as one:
        one.before("defragment", file.touch)
        stopped = one.answer()
        assert stopped.state is RunState.FAILED
        assert f"the kill switch's file {file} is there: ended before step" in stopped.reason
        assert [kind for kind, _ in one.done(stopped)] == ORDER[: ORDER.index("defragment")]
        assert defragmentations(etcd) == []
        assert alarms(etcd) == {AlarmKind.NOSPACE}

        file.unlink()
        one.receive()
        eventually(lambda: len(one.runs()) == 2)
        following = one.until_final()
        assert following.state is RunState.SUCCEEDED, one.story(following)
        assert len(defragmentations(etcd)) == 3
        assert alarms(etcd) == set()
        assert [run.state for run in one.runs()] == [RunState.SUCCEEDED, RunState.FAILED]
