"""Lifting NOSPACE, and only NOSPACE, once there is room; then proof by writing."""

from collections.abc import Callable
from functools import partial
from typing import Final

from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.connections import PROBE, EtcdCluster
from ballast_remediator.contract import Done, Observed, Progress, StepContext, StepFailed, StepSpec, Target
from ballast_remediator.runbooks.etcd_limits import WELL_UNDER
from ballast_remediator.runbooks.etcd_looking import Unknown, patiently
from kube_ballast.analysis.etcd import EtcdState, used_ratio
from kube_ballast.analysis.words import duration, percent
from kube_ballast.clients.errors import ClientError, NoSpace
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.types import Alarm, AlarmKind

SECOND: Final = 1.0
WRITTEN: Final = b"written by ballast to see that etcd takes writes"


def nospace(alarms: tuple[Alarm, ...]) -> tuple[Alarm, ...]:
    """The NOSPACE alarms. Any CORRUPT ends the run: on 3.5, lifting the last NOSPACE would let writes through."""
    if any(alarm.kind is AlarmKind.CORRUPT for alarm in alarms):
        raise StepFailed(
            "CORRUPT is armed now. No alarm is lifted any more: writes on corrupt data would spread it. Follow etcd's "
            "guide on data corruption"
        )
    return tuple(alarm for alarm in alarms if alarm.kind is AlarmKind.NOSPACE)


class Disarm:
    """Disarms NOSPACE per member, with the alarms listed anew right before each."""

    def __init__(self, etcd: Callable[[Target], EtcdCluster], settings: EtcdFreeSpaceSettings) -> None:
        self._etcd = etcd
        self._settings = settings

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec
        cluster = self._etcd(context.target)
        armed = nospace(cluster.alarms())
        if not armed:
            return Observed(Progress.DONE, "NOSPACE is not armed on any member", _revision(cluster))
        return Observed(Progress.NOT_DONE, f"NOSPACE is armed on {len(armed)} member(s)")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        del spec
        cluster = self._etcd(context.target)
        # Taken before the alarm is lifted: any Lease renewed after it counts as a sign of life.
        revision = _revision(cluster)
        lifted: set[int] = set()
        while True:
            names = patiently(lambda: well_under(cluster), context, patience=self._settings.patience).names
            # Nothing stands between this list and the disarm: a CORRUPT that comes up must not be missed.
            armed = nospace(patiently(cluster.alarms, context, patience=self._settings.patience))
            if not armed:
                return Done("no alarm is left", revision)
            alarm = armed[0]
            name = names.get(alarm.member_id, f"member {alarm.member_id:x}")
            if alarm.member_id in lifted:
                raise StepFailed(f"NOSPACE of {name} was lifted and is armed again: something writes too much")
            context.go_on()
            cluster.any(partial(_disarm, alarm))
            lifted.add(alarm.member_id)
            context.note(f"lifted NOSPACE of {name}")


def _disarm(alarm: Alarm, etcd: EtcdClient) -> None:
    etcd.disarm(alarm.member_id, AlarmKind.NOSPACE, timeout=PROBE)


class TestWrite:
    """Writes and deletes a key of our own: the moment from which etcd counts as restored."""

    def __init__(self, etcd: Callable[[Target], EtcdCluster], settings: EtcdFreeSpaceSettings) -> None:
        self._etcd = etcd
        self._settings = settings

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec, context
        return Observed(Progress.NOT_DONE, "only a write proves that writes pass")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        del spec
        cluster = self._etcd(context.target)
        key = f"{self._settings.test_key}/{context.run_id}".encode()
        give_up = context.now() + self._settings.patience
        while True:
            try:
                cluster.any(lambda etcd: etcd.put(key, WRITTEN, timeout=PROBE))
                cluster.any(lambda etcd: etcd.delete_range(key, timeout=PROBE))
            except NoSpace as error:
                raise StepFailed("etcd refuses writes again: NOSPACE was armed anew") from error
            except ClientError:
                # A write of our own key can be repeated whatever became of the first.
                if context.now() > give_up:
                    raise
                context.wait(SECOND)
            else:
                return Done("etcd is restored: a write and a delete passed")


class WatchAlarm:
    """Watches that NOSPACE stays away: a writer that filled etcd once may do so again at once."""

    def __init__(self, etcd: Callable[[Target], EtcdCluster], settings: EtcdFreeSpaceSettings) -> None:
        self._etcd = etcd
        self._settings = settings

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec, context
        return Observed(Progress.NOT_DONE, "has to be watched")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        del spec
        cluster = self._etcd(context.target)
        until = context.now() + self._settings.rearm_watch
        while context.now() < until:
            if nospace(patiently(cluster.alarms, context, patience=self._settings.patience)):
                raise StepFailed(
                    "NOSPACE is armed again: something writes faster than there is room. Find the writer before "
                    "this is run again (rate of apiserver_request_total by resource and verb)"
                )
            context.wait(SECOND)
        return Done(f"no alarm for {duration(self._settings.rearm_watch)}")


def well_under(cluster: EtcdCluster) -> EtcdState:
    """The state, once every database is well under its quota.

    Raises:
        Unknown: a size or a quota cannot be told now.
        StepFailed: a database is too large.
    """
    state = cluster.state()
    for member in state.members:
        ratio = used_ratio(member)
        if ratio is None:
            raise Unknown(f"the size or the quota of {member.name} is unknown")
        if ratio >= WELL_UNDER:
            raise StepFailed(
                f"the database of {member.name} takes {percent(ratio)} of its quota; NOSPACE is lifted, and stays off, "
                f"only below {percent(WELL_UNDER)}"
            )
    return state


def verify_restored(cluster: EtcdCluster, context: StepContext, *, patience: float) -> None:
    """Raises `StepFailed` unless no alarm is armed and every database is well under its quota."""
    if nospace(patiently(cluster.alarms, context, patience=patience)):
        raise StepFailed("NOSPACE is armed again")
    patiently(lambda: well_under(cluster), context, patience=patience)


def _revision(cluster: EtcdCluster) -> dict[str, int]:
    return {"revision": cluster.read(lambda etcd: etcd.range(b"\0", count_only=True, timeout=PROBE)).revision}
