"""Every answer that forbids or asks, as each guard really gives it. docs/guards.md shows these."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ballast_remediator.contract import (
    Action,
    AlertEvidence,
    Answer,
    Budget,
    Jump,
    Stop,
    StopKind,
    Succession,
    Target,
    Terms,
)
from ballast_remediator.guards.alert_is_true_now import alert_is_true_now
from ballast_remediator.guards.another_apiserver_is_ok import another_apiserver_is_ok
from ballast_remediator.guards.brake_is_off import brake_is_off
from ballast_remediator.guards.budget_is_left import budget_is_left
from ballast_remediator.guards.channel_is_stalled import channel_is_stalled
from ballast_remediator.guards.clock_is_steady import clock_is_steady
from ballast_remediator.guards.connections_can_be_cut import connections_can_be_cut
from ballast_remediator.guards.disk_suffices import disk_suffices
from ballast_remediator.guards.earlier_runs_permit import earlier_runs_permit
from ballast_remediator.guards.every_member_votes import every_member_votes
from ballast_remediator.guards.evidence_is_fresh import evidence_is_fresh
from ballast_remediator.guards.gentler_cure_was_possible import gentler_cure_was_possible
from ballast_remediator.guards.its_etcd_answers import its_etcd_answers
from ballast_remediator.guards.kill_switch_is_off import kill_switch_is_off
from ballast_remediator.guards.live_data_fits import live_data_fits
from ballast_remediator.guards.lock_is_free import lock_is_free
from ballast_remediator.guards.no_corruption import no_corruption
from ballast_remediator.guards.no_freeze_window import no_freeze_window
from ballast_remediator.guards.no_member_defragments import no_member_defragments
from ballast_remediator.guards.nobody_disturbs import nobody_disturbs
from ballast_remediator.guards.nobody_is_at_work import nobody_is_at_work
from ballast_remediator.guards.one_disruption_per_domain import one_disruption_per_domain
from ballast_remediator.guards.plan_is_within_limits import plan_is_within_limits
from ballast_remediator.guards.process_is_known import process_is_known
from ballast_remediator.guards.quorum_survives import quorum_survives
from ballast_remediator.guards.quota_is_known import quota_is_known
from ballast_remediator.guards.stall_fits import stall_fits
from ballast_remediator.guards.target_has_rested import target_has_rested
from ballast_remediator.guards.target_is_not_quarantined import target_is_not_quarantined
from ballast_remediator.guards.version_is_safe import version_is_safe
from ballast_remediator.guards.watchers_keep_up import watchers_keep_up
from ballast_remediator.guards.window_is_open import window_is_open
from ballast_remediator.periods import Period
from kube_ballast.analysis.etcd import MIB, EtcdState, MemberState
from kube_ballast.analysis.live_data import Filling, Report, Since
from kube_ballast.analysis.space import Split
from kube_ballast.clients.etcd.types import Alarm, AlarmKind
from tests.remediator.guards import planes, states
from tests.remediator.guards.book import Book, request

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC).timestamp()
TARGET = Target("production", "etcd-free-space", "main")
RUN = "1f6c09a2"
GIB = 1024 * MIB
NIGHT = Period("night", "0 1 * * *", 4 * 3600.0, "UTC")
YEAR_END = Period("year-end", "0 0 20 12 *", 14 * 86400.0, "UTC")
DAILY = Budget(3, None, 86400.0)
KERNEL = "the kernel (6.1.0) does not cut connections: it is built without CONFIG_INET_DIAG_DESTROY"
QUESTION = 'time() - timestamp(ALERTS{alertname="EtcdFreeSpaceNeeded",…})'


def answers() -> Iterator[Answer]:
    """Each of them, guard by guard."""
    yield from _of_people()
    yield from _of_times()
    yield from _of_what_was_done()
    yield from _of_evidence()
    yield from _of_etcd()
    yield from _of_members()
    yield from _of_apiservers()


def _of_people() -> Iterator[Answer]:
    yield kill_switch_is_off(_asked(), _book(kill_switch_file="/etc/ballast/STOP"))
    yield kill_switch_is_off(_asked(), _book(standing=[_stop(StopKind.KILL_SWITCH, cluster="production")]))
    hold = _stop(StopKind.HOLD, cluster="production", target="main", reason="replacing a disk")
    yield nobody_is_at_work(_asked(), _book(standing=[hold]))
    yield nobody_is_at_work(_asked(), _book(worked_on={"production": {"cp-2": "is cordoned"}}))
    reason = "alerts for 6 targets came within 10 min, and the policy takes 5 for believable"
    yield brake_is_off(_asked(), _book(standing=[_stop(StopKind.BRAKE, person="intake", reason=reason)]))


def _of_times() -> Iterator[Answer]:
    yield no_freeze_window(_asked(freezes=(YEAR_END,)), _book())
    yield window_is_open(_asked(windows=(NIGHT,)), _book())
    yield clock_is_steady(_asked(), _book(jump=Jump(600.0, 60.0)))


def _of_what_was_done() -> Iterator[Answer]:
    failed = Action(RUN, "(etcd-free-space) ended as failed", NOON - 720.0)
    yield target_has_rested(_asked(cooldown=1800.0), _book(last=failed))
    cut = Target("production", "apiserver-cut-etcd-connections", planes.SICK)
    vain = Action(RUN, f"({cut.runbook}) ended as failed", NOON - 60.0, in_vain=True)
    elsewhere = replace(cut, name=planes.WELL)
    restarted = Action(RUN, "(apiserver-restart) ended as succeeded", NOON - 30.0)
    for actions, heeds in (
        ({TARGET: vain}, Succession(since=NOON - 300.0)),
        ({cut: vain}, Succession(follows=elsewhere, within=1800.0)),
        ({cut: vain, TARGET: restarted}, Succession(follows=cut, within=1800.0)),
        ({elsewhere: vain}, Succession(after=(elsewhere,), rest=300.0)),
    ):
        yield earlier_runs_permit(replace(_asked(), run_id="another", succession=heeds), _book(actions=actions))
    yield budget_is_left(_asked(budget=Budget(0, None, 86400.0)), _book())
    yield budget_is_left(_asked(budget=DAILY), _book(began=[NOON - 60.0] * 3))
    yield plan_is_within_limits(_asked(limits={"nodes": 1}), _book())
    yield plan_is_within_limits(_asked(limits={"members_at_once": 1}, planned={"members_at_once": 2}), _book())
    yield target_is_not_quarantined(_asked(), _book(quarantine={"main": RUN}))
    yield lock_is_free(_asked(), _book(held={"production/lock/control-plane": RUN}))
    yield one_disruption_per_domain(_asked(), _book(held={"production/domain/rack-1": RUN}))


def _of_evidence() -> Iterator[Answer]:
    seen = AlertEvidence(QUESTION, {}, age=12.0)
    unknown = "whether the alert is true is unknown: http://prometheus:9090 does not answer"
    for evidence in (
        replace(seen, problem=unknown),
        replace(seen, series=None),
        replace(seen, age=-3.0),
        replace(seen, age=300.0),
        replace(seen, silenced_by=("8c1f5e",)),
    ):
        yield alert_is_true_now(evidence, fresh_within=180.0)
    yield evidence_is_fresh(_asked(), _book(monotonic=1e9))


def _of_etcd() -> Iterator[Answer]:
    yield no_corruption(_etcd(alarms=None))
    yield no_corruption(_etcd(alarms=(Alarm(2, AlarmKind.CORRUPT),)))
    yield quorum_survives(_etcd(strangers=("etcd-4",)))
    yield quorum_survives(_etcd(_member(1), _member(2), _member(3, status=None, problem="timed out after 5 s")))
    yield quorum_survives(_etcd(_member(1), _member(2), _member(3, leader_id=3)))
    yield quorum_survives(_etcd(_member(1)))
    yield every_member_votes(_etcd(_member(1), _member(2), _member(3, voter=False)))
    yield version_is_safe(_etcd(_member(1, status=None)))
    yield version_is_safe(_etcd(_member(1, version="3.5.9"), _member(2)))
    yield nobody_disturbs(_etcd(_member(1), _member(2, snapshots_in_flight=None)))
    yield nobody_disturbs(_etcd(_member(1), _member(2, defragmenting=True)))
    yield nobody_disturbs(_etcd(_member(1), _member(2, snapshots_in_flight=1)))
    yield quota_is_known(_etcd(_member(1), _member(2, quota=None)))


def _of_members() -> Iterator[Answer]:
    small = _member(1, disk_free=1.0 * GIB, db_size_in_use=5 * GIB)
    yield disk_suffices(_etcd(small))
    yield disk_suffices(_etcd(_member(1, disk_free=None, disk_words="no disk is configured for it")))
    split = Split(7.7 * GIB, 0, 0, 0)
    shares = (("events", 6.2 * GIB), ("pods", 1.5 * GIB))
    census = Report(0.0, 1, 91234, shares, 0.0, exact=True, largest=1.0, largest_event=1.0, split=split)
    state = _etcd(_member(1, quota=8 * GIB))
    yield live_data_fits(Filling(census, Since(0, 0, 0), 180.0), state, share=0.9)
    looked = "Prometheus has no sample that old; etcd holds no compact_rev_key of an apiserver"
    yield watchers_keep_up(None, looked)
    yield stall_fits(_member(1, status=None), bytes_per_second=50.0 * MIB, liveness_budget=80.0)
    yield stall_fits(_member(1, db_size_in_use=5 * GIB), bytes_per_second=50.0 * MIB, liveness_budget=80.0)


def _of_apiservers() -> Iterator[Answer]:
    sick, well, _ = planes.NAMES
    stalled = planes.plane(silent=("http://exporter-2:9790",))
    yield channel_is_stalled(replace(stalled, told={}))
    yield channel_is_stalled(planes.plane({sick: (planes.STALLED, planes.OK)}))
    yield another_apiserver_is_ok(planes.plane(dict.fromkeys(planes.NAMES, planes.STALLED)))
    yield another_apiserver_is_ok(planes.plane({sick: planes.STALLED, well: planes.UNKNOWN}))
    yield its_etcd_answers(planes.plane(members=planes.members(used=False)))
    yield its_etcd_answers(planes.plane(strangers=("10.0.9.9:2379",)))
    yield its_etcd_answers(planes.plane(strangers=("10.0.9.9:2379",), unresolved=("etcd-1.example",)))
    yield its_etcd_answers(planes.plane(members=planes.members(problem="no answer within 3 s")))
    yield no_member_defragments(planes.plane(members=planes.members(defragmenting=None)))
    yield no_member_defragments(planes.plane(members=planes.members(defragmenting=True)))
    problem = (
        "cp-1: the host is not reached by ssh: nothing was done (ssh: connect to host 10.0.0.1: Connection refused)"
    )
    yield process_is_known(planes.plane(process=None, host_problem=problem, host_passing=True))
    yield connections_can_be_cut(planes.plane(cannot_cut=KERNEL))
    yield gentler_cure_was_possible(planes.plane(cannot_cut=KERNEL))


def _asked(*, planned: Mapping[str, Any] | None = None, **terms: Any) -> Any:
    demanded = Terms(**{"budget": DAILY, "cooldown": 1800.0, **terms})
    return request(
        target=TARGET,
        terms=demanded,
        limits=planned or {},
        locks=("production/target/main", "production/lock/control-plane"),
        domains=("production/domain/rack-1",),
        valid_until=1e6,
    )


def _book(**changes: Any) -> Book:
    return Book(now=NOON, **changes)


def _stop(kind: StopKind, **changes: Any) -> Stop:
    content = {"cluster": None, "runbook": None, "target": None, "person": "anna", "reason": "etcd is being upgraded"}
    return Stop(**{"id": "5e1f0c2a", "kind": kind, "set_at": NOON - 300.0, **content, **changes})


def _member(number: int, **changes: Any) -> MemberState:
    told = {name: changes.pop(name) for name in ("leader_id", "version", "db_size_in_use") if name in changes}
    found = replace(states.member(number, status=told), name=f"etcd-{number}")
    return replace(found, **changes)


def _etcd(*members: MemberState, **changes: Any) -> EtcdState:
    return states.cluster(*(members or (_member(1), _member(2), _member(3))), **changes)
