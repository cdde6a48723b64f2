"""A member that blinks costs a run time, not its success; and nothing is lifted on an old look."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.connections import EtcdCluster
from ballast_remediator.contract import Progress, StepFailed
from ballast_remediator.runbooks.etcd_alarm import Disarm, WatchAlarm, verify_restored
from ballast_remediator.runbooks.etcd_compact import STABLE_READINGS, CheckLiveData, CompactFurther, _settled
from ballast_remediator.runbooks.etcd_leases import await_cluster
from kube_ballast.analysis.etcd import MIB, EtcdState
from kube_ballast.clients.errors import Timeout, Unavailable
from kube_ballast.clients.etcd.types import Alarm, AlarmKind, RangeResult
from kube_ballast.config import EtcdConfig, EtcdMemberConfig
from tests.remediator.guards.states import cluster, member
from tests.remediator.runbooks.context import SPEC, Lent

SMALL = cluster(member(1), member(2), member(3))
BLINK = cluster(member(1), member(2), replace(member(3), status=None))
FULL = cluster(member(1), member(2), member(3, status={"db_size": 127 * MIB, "db_size_in_use": 127 * MIB}))
NOSPACE = Alarm(2, AlarmKind.NOSPACE)
CORRUPT = Alarm(1, AlarmKind.CORRUPT)
SETTINGS = EtcdFreeSpaceSettings.model_validate({"patience": "5s", "rearm_watch": "100ms"})


class Scripted:
    """An etcd that gives the next of its answers each time, the last one for ever, and notes what it is asked."""

    def __init__(self, states: list[EtcdState], alarms: list[tuple[Alarm, ...] | Exception]) -> None:
        self._states, self._alarms = iter_last(states), iter_last(alarms)
        self.asked: list[str] = []

    def state(self) -> EtcdState:
        self.asked.append("state")
        return next(self._states)

    def alarms(self) -> tuple[Alarm, ...]:
        self.asked.append("alarms")
        answer = next(self._alarms)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def any(self, _: Callable[[Any], Any]) -> None:
        self.asked.append("DISARM")

    def read(self, _: Callable[[Any], Any]) -> RangeResult:
        return RangeResult((), 0, more=False, revision=42)

    def __call__(self, _: object) -> Any:
        return self


def iter_last(answers: list[Any]) -> Iterator[Any]:
    yield from answers
    while True:
        yield answers[-1]


class TestWhatCannotBeToldNow:
    def test_live_data_is_measured_again(self) -> None:
        etcd = Scripted([BLINK, BLINK, SMALL], [()])
        assert "still in use" in CheckLiveData(etcd, SETTINGS).act(SPEC, Lent()).words
        assert etcd.asked == ["state"] * 3

    def test_it_is_given_up_in_the_end(self) -> None:
        etcd = Scripted([BLINK], [()])
        impatient = EtcdFreeSpaceSettings.model_validate({"patience": "10ms"})
        with pytest.raises(StepFailed, match=r"a size or a quota is unknown: .*, and was for 10 ms"):
            CheckLiveData(etcd, impatient).act(SPEC, Lent())

    def test_a_blink_does_not_keep_the_alarm_armed(self) -> None:
        etcd = Scripted([BLINK, SMALL], [(NOSPACE,), ()])
        assert Disarm(etcd, SETTINGS).act(SPEC, Lent()).words == "no alarm is left"

    def test_nor_does_it_spoil_the_watch_or_the_verification(self) -> None:
        away = Unavailable("m1", "gone")
        etcd = Scripted([BLINK, SMALL], [away, ()])
        assert WatchAlarm(etcd, SETTINGS).act(SPEC, Lent()).words.startswith("no alarm for")
        verify_restored(Scripted([BLINK, SMALL], [away, ()])(None), Lent(), patience=5.0)


class TestDisarm:
    def test_sizes_then_alarms_then_the_disarm_each_time_with_nothing_in_between(self) -> None:
        two = (NOSPACE, Alarm(3, AlarmKind.NOSPACE))
        etcd = Scripted([SMALL], [two, two[1:], ()])
        context = Lent()
        Disarm(etcd, SETTINGS).act(SPEC, context)
        assert etcd.asked == [*(["state", "alarms", "DISARM"] * 2), "state", "alarms"]
        assert len(context.notes) == 2

    def test_the_same_member_again_is_not_lifted_again(self) -> None:
        etcd = Scripted([SMALL], [(NOSPACE,)])
        with pytest.raises(StepFailed, match="was lifted and is armed again"):
            Disarm(etcd, SETTINGS).act(SPEC, Lent())
        assert etcd.asked.count("DISARM") == 1

    def test_a_database_that_grew_meanwhile_keeps_the_next_alarm(self) -> None:
        etcd = Scripted([SMALL, FULL], [(NOSPACE, Alarm(3, AlarmKind.NOSPACE)), (Alarm(3, AlarmKind.NOSPACE),)])
        with pytest.raises(StepFailed, match="takes 99 % of its quota"):
            Disarm(etcd, SETTINGS).act(SPEC, Lent())
        assert etcd.asked.count("DISARM") == 1

    def test_corrupt_in_the_last_look_lifts_nothing(self) -> None:
        etcd = Scripted([SMALL], [(NOSPACE, CORRUPT)])
        with pytest.raises(StepFailed, match="CORRUPT is armed now"):
            Disarm(etcd, SETTINGS).act(SPEC, Lent())
        assert "DISARM" not in etcd.asked


class TestFurtherCompaction:
    @pytest.mark.parametrize(
        ("state", "progress"), [(SMALL, Progress.DONE), (FULL, Progress.DONE), (BLINK, Progress.UNKNOWN)]
    )
    def test_only_where_it_is_known_to_be_needed(self, state: EtcdState, progress: Progress) -> None:
        # FULL is one member that is late in giving pages back: the others know what live data takes.
        assert CompactFurther(Scripted([state], [()]), SETTINGS).observe(SPEC, Lent()).progress is progress

    def test_it_is_needed_where_every_member_is_full(self) -> None:
        sizes = {"db_size": 127 * MIB, "db_size_in_use": 127 * MIB}
        full = cluster(*(member(number, status=sizes) for number in (1, 2, 3)))
        assert CompactFurther(Scripted([full], [()]), SETTINGS).observe(SPEC, Lent()).progress is Progress.NOT_DONE


def test_an_alarm_that_comes_back_while_the_cluster_does_is_told_at_once() -> None:
    etcd = Scripted([SMALL], [(NOSPACE,)])
    context = Lent(known={"disarm": {"revision": 41}})
    with pytest.raises(StepFailed, match="NOSPACE is armed again while the cluster comes back"):
        await_cluster(etcd(None), SETTINGS, context)


class TestSettling:
    def rows(self, *sizes: int | None) -> list[list[int | None]]:
        return [[40 * MIB, size] for size in sizes]

    def test_what_deletes_add_is_no_obstacle(self) -> None:
        assert _settled(self.rows(*(10 * MIB + 4096 * turn for turn in range(STABLE_READINGS))))

    def test_what_still_falls_is(self) -> None:
        assert not _settled(self.rows(*(100 * MIB - MIB * turn for turn in range(STABLE_READINGS))))

    def test_what_is_unknown_is(self) -> None:
        assert not _settled(self.rows(*([10 * MIB] * (STABLE_READINGS - 1)), None))

    def test_a_few_readings_are_not_enough(self) -> None:
        assert not _settled(self.rows(*([10 * MIB] * (STABLE_READINGS - 1))))


class TestWhomIsAsked:
    @pytest.fixture
    def etcd(self) -> EtcdCluster:
        members = tuple(EtcdMemberConfig(endpoint=f"http://127.0.0.1:{port}") for port in (9, 10))
        return EtcdCluster(EtcdConfig(members=members), prometheus=None, labels={})

    def hanging_first(self, one: Any) -> str:
        if one.endpoint.endswith(":9"):
            raise Timeout(one.endpoint, "no answer")
        return str(one.endpoint)

    def test_a_read_passes_over_a_member_that_hangs(self, etcd: EtcdCluster) -> None:
        assert etcd.read(self.hanging_first) == "http://127.0.0.1:10"

    def test_an_act_does_not_since_it_may_have_taken_effect(self, etcd: EtcdCluster) -> None:
        with pytest.raises(Timeout):
            etcd.any(self.hanging_first)
