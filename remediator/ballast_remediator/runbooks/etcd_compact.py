"""Compaction, directly on etcd: under NOSPACE the apiserver's own compactor cannot (kubernetes#94029)."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.connections import PROBE, EtcdCluster
from ballast_remediator.contract import (
    Alert,
    Done,
    Observed,
    Progress,
    StepContext,
    StepFailed,
    StepSpec,
    Target,
)
from ballast_remediator.guards.live_data_fits import LIVE_DATA_HELP
from ballast_remediator.runbooks.etcd_limits import ENOUGH, WELL_UNDER
from ballast_remediator.runbooks.etcd_looking import Unknown, patiently
from kube_ballast.analysis.etcd import MIB, EtcdState, live_bytes
from kube_ballast.analysis.words import duration, percent, size
from kube_ballast.clients.errors import ClientError, Compacted
from kube_ballast.clients.etcd.client import EtcdClient

COMPACT_REV_KEY: Final = b"compact_rev_key"
"""Where the apiserver notes the revision of its last compaction round, at most minutes old while it works."""
STABLE_READINGS: Final = 12
FALL: Final = MIB
READING_PAUSE: Final = 0.25
"""A member removes revisions in batches, 10 ms apart: 3 s without any change mean that it is done."""

READERS_END: Final = 1.0
"""bbolt gives a freed page back only once every read transaction from before is closed, and etcd closes them in the
background: a second compaction right after the first can come too early on a busy member (seen on 3.5.30)."""


def old_revision(cluster: EtcdCluster, alert: Alert, keep: float) -> tuple[int | None, str]:
    """A revision that is at least ``keep`` seconds old, and in words where it comes from; etcd itself cannot tell.

    Asked of Prometheus (the exporter's revision then), else of the apiserver's own note.
    """
    name = alert.labels.get("etcd_cluster", cluster.name)
    asked = "Prometheus has no sample that old"
    try:
        then = f"min({{}} offset {round(keep * 1000)}ms)"
        _, samples = cluster.query(then, "ballast_etcd_quota_revision", {"etcd_cluster": name})
        if samples and 1 <= samples[0].value < math.inf:
            revision = int(samples[0].value)
            return revision, f"revision {revision} was seen at least {duration(keep)} ago (Prometheus)"
    except ClientError as error:
        asked = f"Prometheus does not answer: {error.message}"
    noted = cluster.read(lambda etcd: etcd.range(COMPACT_REV_KEY, timeout=PROBE)).kvs
    if noted and noted[0].value.isdigit():
        revision = int(noted[0].value)
        return revision, f"{asked}; the apiserver's last compaction round noted revision {revision}"
    return None, f"{asked}; etcd holds no compact_rev_key of an apiserver"


class Compact:
    """Compacts to ``params["revision"]`` and waits until every member has removed what it may."""

    def __init__(self, etcd: Callable[[Target], EtcdCluster], settings: EtcdFreeSpaceSettings) -> None:
        self._etcd = etcd
        self._settings = settings

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        """Repeating a compaction changes nothing, so whatever is not known to have settled is done again."""
        del spec, context
        return Observed(Progress.NOT_DONE, "not known to have settled on every member")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        revision = int(str(spec.params["revision"]))
        cluster = self._etcd(context.target)
        before = cluster.state()
        healthy = next((member for member in before.members if member.healthy), None)
        if healthy is None:
            raise StepFailed("no member is healthy enough to compact")
        # Pages that the last batch of a compaction frees count as in use until the next write, and under NOSPACE
        # there is none, except on the contacted member. A second, tiny compaction is that write everywhere.
        self._compact(cluster.endpoint_of(healthy).grpc, revision - 1)
        context.wait(READERS_END)
        self._compact(cluster.endpoint_of(healthy).grpc, revision)
        after = self._settle(cluster, context)
        return Done(f"compacted to revision {revision}; in use now: {_in_use(after)}; before: {_in_use(before)}")

    def _compact(self, etcd: EtcdClient, revision: int) -> None:
        with suppress(Compacted):
            etcd.compact(revision, timeout=self._settings.settle_timeout)

    def _settle(self, cluster: EtcdCluster, context: StepContext) -> EtcdState:
        """The contacted member alone waits for its own removal: poll all until none shrinks any more.

        Deletes pass under NOSPACE, and each moves the numbers a little: only what falls counts. What has not settled
        in time is judged as it is: `check-live-data` decides, and a defragmentation only has more to copy.
        """
        give_up = context.now() + self._settings.settle_timeout
        readings: list[list[int | None]] = []
        while True:
            state = cluster.state()
            readings.append([None if m.status is None else m.status.db_size_in_use for m in state.members])
            if _settled(readings[-STABLE_READINGS:]) or context.now() > give_up:
                return state
            context.wait(READING_PAUSE)


def _settled(readings: Sequence[Sequence[int | None]]) -> bool:
    """Whether every member was known throughout and none fell by more than deletes or rounding explain."""
    if len(readings) < STABLE_READINGS:
        return False
    by_member = [[size for size in sizes if size is not None] for sizes in zip(*readings, strict=True)]
    return all(len(sizes) == len(readings) and sizes[0] - min(sizes) <= FALL for sizes in by_member)


class CompactFurther(Compact):
    """The compaction to the present: only where too much is in use, since its price is relists."""

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec
        ratio = fullest(self._etcd(context.target).state())
        if ratio is None:
            return Observed(Progress.UNKNOWN, "a size or a quota is unknown")
        if ratio <= ENOUGH:
            return Observed(Progress.DONE, f"no further compaction is needed: {percent(ratio)} of the quota is in use")
        return Observed(Progress.NOT_DONE, f"{percent(ratio)} of the quota is in use")


class CheckLiveData:
    """Ends the run before the first member is disturbed when neither compaction nor defragmentation can help."""

    def __init__(self, etcd: Callable[[Target], EtcdCluster], settings: EtcdFreeSpaceSettings) -> None:
        self._etcd = etcd
        self._settings = settings

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec, context
        return Observed(Progress.NOT_DONE, "has to be measured now")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        del spec
        cluster = self._etcd(context.target)
        state, ratio = patiently(lambda: _measured(cluster), context, patience=self._settings.patience)
        if ratio > WELL_UNDER:
            raise StepFailed(
                f"live data fills {percent(ratio)} of the quota, so neither compaction nor defragmentation can "
                f"help ({_in_use(state)}). {LIVE_DATA_HELP}"
            )
        return Done(
            f"{percent(ratio)} of the quota is still in use; the rest can be given back", {"in_use_ratio": ratio}
        )


def _measured(cluster: EtcdCluster) -> tuple[EtcdState, float]:
    state = cluster.state()
    ratio = fullest(state)
    if ratio is None:
        raise Unknown(f"a size or a quota is unknown: {_in_use(state)}")
    return state, ratio


def fullest(state: EtcdState) -> float | None:
    """The largest share of a quota that live data takes; None when any member's size or quota is unknown."""
    live = live_bytes(state)
    quotas = [member.quota for member in state.members if member.status is not None and member.quota]
    return live / min(quotas) if live is not None and len(quotas) == len(state.members) else None


def _in_use(state: EtcdState) -> str:
    return ", ".join(
        f"{m.name} {'unknown' if m.status is None else size(m.status.db_size_in_use)}" for m in state.members
    )
