"""Single steps, where no whole run is needed to see what they do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.contract import Alert, NothingToDo, Plan, Progress, StepFailed, Target, Verdict
from ballast_remediator.runbooks.etcd_compact import CheckLiveData, fullest, old_revision
from ballast_remediator.runbooks.etcd_defragment import Defragment
from ballast_remediator.runbooks.etcd_free_space import EtcdFreeSpace, World
from ballast_remediator.runbooks.etcd_leases import renewals
from drills.filling import client
from drills.stack import EtcdCluster, Stack
from kube_ballast.analysis.etcd import MIB, EtcdState
from kube_ballast.analysis.live_data import Filling
from kube_ballast.clients.etcd.types import AlarmKind, KeyValue
from tests.remediator.chain import SOON, Chain, alarms, chain
from tests.remediator.doubles import FakePrometheus
from tests.remediator.guards.states import cluster, member
from tests.remediator.runbooks.context import SPEC, Lent

ALERT = Alert("f", {"etcd_cluster": "main"}, {}, firing=True, starts_at=0.0)
HERE = Target("here", "etcd-free-space", "main")


@contextmanager
def parts(folder: Path, etcd: EtcdCluster, **options: Any) -> Iterator[Chain]:
    """A chain whose engine stands still: its runbook is asked directly."""
    with chain(folder, etcd, start=False, **options) as one:
        yield one


def lease(name: str, revision: int) -> KeyValue:
    return KeyValue(f"/registry/leases/{name}".encode(), b"", 1, revision, 1, 0)


class TestWhichRevisionIsOldEnough:
    @pytest.fixture
    def member(self, stack: Stack) -> EtcdCluster:
        return stack.etcd()

    def test_prometheus_then_the_apiservers_note_then_nobody(
        self, member: EtcdCluster, tmp_path: Path, prometheus: FakePrometheus, prometheus_url: str
    ) -> None:
        with parts(tmp_path, member, prometheus=prometheus_url) as one:
            etcd = one.connections.etcd(HERE)
            prometheus.values["ballast_etcd_quota_revision"] = 42
            assert old_revision(etcd, ALERT, 300.0) == (42, "revision 42 was seen at least 5 min ago (Prometheus)")
            assert prometheus.asked == ['min(ballast_etcd_quota_revision{etcd_cluster="main"} offset 300000ms)']
            one.connections.etcd(HERE)._labels = {"cluster": 'a"b'}
            old_revision(etcd, ALERT, 1.5)
            wanted = 'min(ballast_etcd_quota_revision{cluster="a\\"b",etcd_cluster="main"} offset 1500ms)'
            assert prometheus.asked[-1] == wanted

            with client(member) as put:
                for useless in (0.0, float("nan"), float("inf"), -1.0):
                    prometheus.values["ballast_etcd_quota_revision"] = useless
                    assert old_revision(etcd, ALERT, 300.0)[0] is None
                del prometheus.values["ballast_etcd_quota_revision"]
                nobody = "Prometheus has no sample that old; etcd holds no compact_rev_key of an apiserver"
                assert old_revision(etcd, ALERT, 300.0) == (None, nobody)
                put.put(b"compact_rev_key", b"12", timeout=SOON)
                noted = "Prometheus has no sample that old; the apiserver's last compaction round noted revision 12"
                assert old_revision(etcd, ALERT, 300.0) == (12, noted)
                put.put(b"compact_rev_key", b"twelve", timeout=SOON)
                assert old_revision(etcd, ALERT, 300.0)[0] is None

    def test_prometheus_is_down(self, member: EtcdCluster, tmp_path: Path) -> None:
        with parts(tmp_path, member) as one:
            revision, words = old_revision(one.connections.etcd(HERE), ALERT, 300.0)
            assert revision is None
            assert words.startswith("Prometheus does not answer: ")


class TestSnapshots:
    def test_only_so_many_of_each_target_are_kept(self, etcd: EtcdCluster, tmp_path: Path) -> None:
        with parts(tmp_path, etcd, keep=2) as one:
            step = one.runbook.steps["snapshot"]
            foreign = [one.snapshots / name for name in ("here@main-events@1.db", "here@mai@1.db", "notes.txt")]
            one.snapshots.mkdir(mode=0o700)
            for path in foreign:
                path.write_text("somebody else's")
            made = []
            for number in range(4):
                context = Lent(run_id=f"run-{number}")
                assert step.observe(SPEC, context).progress is Progress.NOT_DONE
                path = Path(str(step.act(SPEC, context).facts["path"]))
                assert step.observe(SPEC, context).progress is Progress.DONE
                os.utime(path, (1000 + number, 1000 + number))
                made.append(path)
            assert [path.name for path in made if path.exists()] == ["here@main@run-2.db", "here@main@run-3.db"]
            assert all(path.exists() for path in foreign)

    @pytest.mark.parametrize("name", ["../../etc", "a@b", "a[0-9]", "..", "ü/%"])
    def test_no_name_leaves_the_folder_or_meets_another(self, etcd: EtcdCluster, tmp_path: Path, name: str) -> None:
        with parts(tmp_path, etcd, keep=1) as one:
            path = one.runbook.steps["snapshot"]._path(Lent(target=replace(HERE, name=name)))
            assert path.parent == one.snapshots
            assert path.name.count("@") == 2

    def test_a_disk_without_room_is_not_filled_half_way(
        self, etcd: EtcdCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1024))
        with parts(tmp_path, etcd) as one:
            with pytest.raises(StepFailed, match=r"1\.0 KiB are free and .* are wanted\. Nothing has been changed"):
                one.runbook.steps["snapshot"].act(SPEC, Lent())
            assert list(one.snapshots.iterdir()) == []


class TestTheAlarm:
    def test_it_stays_while_a_database_is_too_large(self, full_etcd: EtcdCluster, tmp_path: Path) -> None:
        with parts(tmp_path, full_etcd) as one:
            step = one.runbook.steps["disarm"]
            assert step.observe(SPEC, Lent()).progress is Progress.NOT_DONE
            with pytest.raises(StepFailed, match=r"of its quota; NOSPACE is lifted, and stays off, only below 90 %"):
                step.act(SPEC, Lent())
            with pytest.raises(StepFailed, match=r"^NOSPACE is armed again$"):
                one.runbook.verify(Lent())
        assert alarms(full_etcd) == {AlarmKind.NOSPACE}

    def test_a_write_that_is_refused(self, full_etcd: EtcdCluster, tmp_path: Path) -> None:
        with parts(tmp_path, full_etcd) as one, pytest.raises(StepFailed, match="etcd refuses writes again: NOSPACE"):
            one.runbook.steps["test-write"].act(SPEC, Lent())

    def test_nothing_is_armed(self, etcd: EtcdCluster, tmp_path: Path) -> None:
        with parts(tmp_path, etcd) as one:
            observed = one.runbook.steps["disarm"].observe(SPEC, Lent())
            assert observed.progress is Progress.DONE
            assert isinstance(observed.facts["revision"], int)

    def test_the_write_leaves_nothing_behind(self, etcd: EtcdCluster, tmp_path: Path) -> None:
        with parts(tmp_path, etcd, settings={"test_key": "/steps/test-write"}) as one:
            one.runbook.steps["test-write"].act(SPEC, Lent())
        with client(etcd) as asked:
            assert asked.range(b"/steps/test-write", b"/steps/test-writf", timeout=SOON).count == 0


class TestLeases:
    def test_a_leader_that_waits_is_named(self) -> None:
        seen = renewals(
            (lease("kube-system/kube-scheduler", 5), lease("kube-system/kube-controller-manager", 11)),
            "/registry/leases/",
            10,
        )
        assert not seen.restored
        assert seen.words == (
            "0 of 0 node Leases and 1 of 2 leader Leases were renewed, still waiting for kube-system/kube-scheduler"
        )

    @pytest.mark.parametrize(("renewed", "restored"), [(9, True), (8, False)])
    def test_some_nodes_are_always_down(self, renewed: int, *, restored: bool) -> None:
        leases = tuple(lease(f"kube-node-lease/n{n}", 11 if n < renewed else 3) for n in range(10))
        seen = renewals(leases, "/registry/leases/", 10)
        assert (seen.nodes_renewed, seen.nodes, seen.restored) == (renewed, 10, restored)

    def test_other_leases_do_not_count(self) -> None:
        seen = renewals((lease("my-operator/leader", 1), lease("kube-node-lease/n", 11)), "/registry/leases/", 10)
        assert seen.restored
        assert (seen.leaders, seen.nodes) == (0, 1)

    def test_etcd_restored_is_not_cluster_restored(self, etcd: EtcdCluster, tmp_path: Path) -> None:
        prefix = "/steps/leases/"
        names = ("kube-system/kube-controller-manager", "kube-system/kube-scheduler", "kube-node-lease/node-1")
        knobs = {"lease_prefix": prefix, "cluster_restored_within": "300ms"}
        with client(etcd) as put, parts(tmp_path, etcd, settings=knobs) as one:
            put.put(b"/steps/first", b"", timeout=SOON)
            since = put.range(b"/steps/first", timeout=SOON).revision
            quota = {"disarm": {"revision": since}}
            assert one.runbook.verify(Lent(known=quota)).words == (
                f"etcd is restored. No Leases under {prefix}, so nothing is said about the cluster"
            )
            for name in names:
                put.put(f"{prefix}{name}".encode(), b"", timeout=SOON)
            since = put.range(b"/steps/first", timeout=SOON).revision
            for name in names[1:]:
                put.put(f"{prefix}{name}".encode(), b"", timeout=SOON)
            with pytest.raises(StepFailed) as caught:
                one.runbook.verify(Lent(known={"disarm": {"revision": since}}))
            assert str(caught.value).startswith(
                "etcd is restored, the cluster is not, 300 ms later: 1 of 1 node Leases and 1 of 2 leader Leases were "
                "renewed, still waiting for kube-system/kube-controller-manager. Look at the components that wait"
            )
            put.put(f"{prefix}{names[0]}".encode(), b"", timeout=SOON)
            words = one.runbook.verify(Lent(known={"disarm": {"revision": since}})).words
            assert words.startswith("the cluster is restored: 1 of 1 node Leases and 2 of 2 leader Leases were renewed")


class Seen:
    """An etcd of which one state was seen."""

    def __init__(self, state: EtcdState) -> None:
        self._state = state

    def state(self) -> EtcdState:
        return self._state


class TestAMemberThatStillCountsWhatItFreed:
    """Pages count as in use until a later write, and under NOSPACE there may be none; the others know better."""

    late = member(3, status={"db_size": 130 * MIB, "db_size_in_use": 129 * MIB})
    state = cluster(member(1), member(2), late)

    def etcd(self, _: Target) -> Any:
        return Seen(self.state)

    def test_is_no_sign_of_live_data(self) -> None:
        assert fullest(self.state) == pytest.approx(40 / 128)
        done = CheckLiveData(self.etcd, EtcdFreeSpaceSettings()).act(SPEC, Lent())
        assert done.facts["in_use_ratio"] == pytest.approx(40 / 128)

    def test_is_defragmented_all_the_same(self) -> None:
        step = Defragment(self.etcd, EtcdFreeSpaceSettings(), left="")
        observed = step.observe(replace(SPEC, target="m3"), Lent())
        assert (observed.progress, observed.words) == (Progress.NOT_DONE, "m3 has 90.0 MiB free of 130.0 MiB")

    def test_sizes_that_are_unknown_are_no_room(self) -> None:
        silent = replace(self.late, status=None)
        for state in (cluster(member(1), silent), cluster(member(1), member(2, quota=None))):
            assert fullest(state) is None


def seen(state: EtcdState, old_revision: int | None = 5) -> World:
    return World(state, old_revision, "words", Filling(unknown="nobody asked"), 0.0, 1)


class TestThePlan:
    @pytest.fixture
    def book(self, etcd: EtcdCluster, tmp_path: Path) -> Iterator[Any]:
        with parts(tmp_path, etcd) as one:
            yield one.runbook

    def plan(self, book: EtcdFreeSpace, world: World) -> Plan:
        plan = book.plan(world)
        assert isinstance(plan, Plan)
        return plan

    def test_the_same_world_gives_the_same_plan(self, book: EtcdFreeSpace) -> None:
        world = seen(cluster())
        assert book.plan(world) == book.plan(replace(world, valid_until=1.0))

    def test_followers_by_name_and_the_leader_last(self, book: EtcdFreeSpace) -> None:
        told = {"leader_id": 2}
        state = cluster(member(3, status=told), member(2, status=told), member(1, status=told))
        steps = self.plan(book, seen(state)).steps
        assert [step.target for step in steps if step.kind == "defragment"] == ["m1", "m3", "m2"]

    def test_without_an_old_revision_there_is_no_first_compaction(self, book: EtcdFreeSpace) -> None:
        kinds = [step.kind for step in self.plan(book, seen(cluster(), None)).steps]
        assert "compact" not in kinds
        assert "compact-further" in kinds

    def test_what_is_measured_stands_in_it(self, book: EtcdFreeSpace) -> None:
        because = self.plan(book, seen(cluster())).because
        assert because[0] == "NOSPACE is armed on m1"
        assert "m1 holds 100.0 MiB (40.0 MiB in use), 78 % of its quota of 128.0 MiB; m2 holds" in because[1]
        assert because[2].startswith("what fills it is unknown: nobody asked. Whether live data leaves room")
        assert "each member is blocked while it is defragmented, for 800 ms at most" in because[3]

    def test_no_alarm_no_plan_and_unknown_alarms_are_no_all_clear(self, book: EtcdFreeSpace) -> None:
        assert isinstance(book.plan(seen(cluster(alarms=()))), NothingToDo)
        world = seen(cluster(alarms=None))
        self.plan(book, world)
        assert book.guards[0](world).verdict is Verdict.REFUSE

    @pytest.mark.parametrize("accepted", [False, True])
    def test_the_version_floor_and_its_knob(self, etcd: EtcdCluster, tmp_path: Path, *, accepted: bool) -> None:
        old = cluster(*(member(number, status={"version": "3.5.9"}) for number in (1, 2, 3)))
        with parts(tmp_path, etcd, settings={"accept_unsafe_versions": accepted}) as one:
            answers = {answer.guard: answer for guard in one.runbook.guards for answer in [guard(seen(old))]}
            verdict = answers["version_is_safe"].verdict
            assert verdict is (Verdict.ALLOW if accepted else Verdict.REFUSE)
