"""A snapshot before anything is changed: what `undo` needs."""

import shutil
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ballast_remediator.config import EtcdFreeSpaceSettings, SnapshotsConfig
from ballast_remediator.connections import EtcdCluster
from ballast_remediator.contract import Done, Observed, Progress, StepContext, StepFailed, StepSpec, Target
from kube_ballast.analysis.etcd import MIB, MemberState
from kube_ballast.analysis.words import size
from kube_ballast.clients.errors import LocalDisk

HEADROOM: Final = 256 * MIB
"""Left free beside the snapshot: the store, and whatever else lives on that disk, goes on writing."""


class TakeSnapshot:
    """Streams from a healthy follower into a file of mode 0600 that appears only once its checksum holds."""

    def __init__(
        self, etcd: Callable[[Target], EtcdCluster], settings: EtcdFreeSpaceSettings, snapshots: SnapshotsConfig
    ) -> None:
        self._etcd = etcd
        self._settings = settings
        self._snapshots = snapshots

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        del spec
        path = self._path(context)
        if path.exists():
            return Observed(Progress.DONE, f"{path} is there and verified", {"path": str(path)})
        return Observed(Progress.NOT_DONE, f"{path} is not there")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        del spec
        cluster = self._etcd(context.target)
        state = cluster.state()
        leader = state.leader()
        healthy = sorted((m for m in state.members if m.healthy), key=lambda member: member is leader)
        if not healthy:
            raise StepFailed("no member is healthy enough to read a snapshot from")
        path = self._path(context)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._make_sure_it_fits(healthy[0])
            snapshot = cluster.endpoint_of(healthy[0]).grpc.snapshot(path, timeout=self._settings.snapshot_timeout)
        except (LocalDisk, OSError) as error:
            raise StepFailed(
                f"the snapshot cannot be kept: {error}. Nothing has been changed on etcd. Make room in "
                f"{self._snapshots.directory} or configure snapshots.directory elsewhere"
            ) from error
        self._forget_older(context.target)
        return Done(
            f"snapshot of {healthy[0].name}: {size(snapshot.size_bytes)} in {path}, sha256 {snapshot.sha256[:16]}…",
            {"path": str(path), "sha256": snapshot.sha256, "size_bytes": snapshot.size_bytes},
        )

    def _make_sure_it_fits(self, member: MemberState) -> None:
        """The store may lie on the same disk: better not to begin than to fill it half-way."""
        free = shutil.disk_usage(self._snapshots.directory).free
        wanted = HEADROOM + (0 if member.status is None else member.status.db_size)
        if free < wanted:
            raise OSError(ENOSPC, f"{size(free)} are free and {size(wanted)} are wanted")

    def _path(self, context: StepContext) -> Path:
        return self._snapshots.directory / f"{_prefix(context.target)}{context.run_id}.db"

    def _forget_older(self, target: Target) -> None:
        kept = sorted(
            self._snapshots.directory.glob(f"{_prefix(target)}*.db"),
            key=lambda path: path.stat().st_mtime,
            reverse=True,
        )
        for path in kept[self._snapshots.keep :]:
            path.unlink(missing_ok=True)


def _prefix(target: Target) -> str:
    """No two targets share one, whatever their names are: else one would count, and delete, the other's snapshots."""
    return f"{quote(target.cluster, safe='')}@{quote(target.name, safe='')}@"
