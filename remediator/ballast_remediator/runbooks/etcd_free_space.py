"""etcd-free-space: gives a full etcd its space back, member by member, and lifts NOSPACE.

In order: snapshot; compact to a revision that is old enough, and once more only if that was not enough;
stop if live data fills the quota; defragment every member, followers first, one at a time, each time asking
all guards anew; lift NOSPACE and nothing else; write; watch that the alarm stays away. Why in this order:
docs/runbooks/etcd-free-space.md.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from ballast_remediator.config import Config, EtcdFreeSpaceSettings, SnapshotsConfig
from ballast_remediator.connections import Connections
from ballast_remediator.contract import (
    Alert,
    Done,
    NothingToDo,
    Permissions,
    Plan,
    Reversibility,
    Step,
    StepContext,
    StepSpec,
    Target,
    WorldGuard,
)
from ballast_remediator.guards.live_data_fits import live_data_fits
from ballast_remediator.guards.watchers_keep_up import watchers_keep_up
from ballast_remediator.runbooks import (
    control_plane,
    etcd_alarm,
    etcd_census,
    etcd_compact,
    etcd_defragment,
    etcd_guards,
    etcd_leases,
    etcd_limits,
    etcd_looking,
    etcd_snapshot,
)
from ballast_remediator.runbooks.control_plane import CONTROL_PLANE
from ballast_remediator.runbooks.etcd_guards import on_state, state_guards
from ballast_remediator.runbooks.etcd_limits import ENOUGH, WELL_UNDER
from kube_ballast.analysis.etcd import EtcdState, MemberState, predicted_stall, used_ratio
from kube_ballast.analysis.live_data import Filling
from kube_ballast.analysis.words import duration, percent, size
from kube_ballast.clients.etcd.types import AlarmKind

NAME: Final = "etcd-free-space"
LEFT: Final = "NOSPACE stays armed; members before it in the plan are done and stay as they are"


@dataclass(frozen=True, slots=True)
class World:
    """What was seen of one etcd, which revision may be compacted to, and what fills it, as far as that is known."""

    state: EtcdState
    old_revision: int | None
    old_revision_words: str
    filling: Filling
    valid_until: float
    population: int


class EtcdFreeSpace:
    """The runbook. See the module for what it does and docs/runbooks/etcd-free-space.md for why."""

    name = NAME
    target_label = "etcd_cluster"
    sources = (
        control_plane,
        etcd_snapshot,
        etcd_compact,
        etcd_defragment,
        etcd_alarm,
        etcd_leases,
        etcd_limits,
        etcd_looking,
        etcd_guards,
        etcd_census,
    )
    permissions = Permissions(
        etcd=(
            "where authentication is on: a user with the role root, as the maintenance API demands",
            "maintenance: status, alarm, defragment, snapshot, move leader",
            "kv: range, compact, put and delete under test_key",
        ),
        prometheus=("query",),
    )
    reversibility = Reversibility.COSTLY
    undo = (
        "Compacted history cannot be brought back, and nobody needs it: only watchers that lag have to list "
        "anew. The snapshot taken first restores everything else (docs/runbooks/etcd-free-space.md#undo)."
    )
    locks = (CONTROL_PLANE,)

    @classmethod
    def configured(cls, connections: Connections, config: Config) -> Self:
        """As the configuration file wants it."""
        return cls(
            connections, config.runbooks.etcd_free_space, config.snapshots, evidence_valid=config.engine.evidence_valid
        )

    def __init__(
        self,
        connections: Connections,
        settings: EtcdFreeSpaceSettings,
        snapshots: SnapshotsConfig,
        *,
        evidence_valid: float,
    ) -> None:
        self._connections = connections
        self._settings = settings
        self._evidence_valid = evidence_valid
        etcd = connections.etcd
        self.steps: Mapping[str, Step] = MappingProxyType(
            {
                "snapshot": etcd_snapshot.TakeSnapshot(etcd, settings, snapshots),
                "compact": etcd_compact.Compact(etcd, settings),
                "compact-further": etcd_compact.CompactFurther(etcd, settings),
                "check-live-data": etcd_compact.CheckLiveData(etcd, settings),
                "defragment": etcd_defragment.Defragment(etcd, settings, left=LEFT),
                "disarm": etcd_alarm.Disarm(etcd, settings),
                "test-write": etcd_alarm.TestWrite(etcd, settings),
                "watch-alarm": etcd_alarm.WatchAlarm(etcd, settings),
            }
        )
        self.guards: tuple[WorldGuard[World], ...] = (
            *(on_state(guard) for guard in state_guards(settings)),
            lambda world: live_data_fits(world.filling, world.state, share=WELL_UNDER),
            lambda world: watchers_keep_up(world.old_revision, world.old_revision_words),
        )

    def knows(self, target: Target) -> bool:
        return self._connections.knows(target)

    def observe(self, alert: Alert, target: Target) -> World:
        valid_until = time.monotonic() + self._evidence_valid
        cluster = self._connections.etcd(target)
        revision, words = etcd_compact.old_revision(cluster, alert, self._settings.compact_keep)
        filling = etcd_census.filling(cluster, self._settings)
        etcds = self._connections.etcds(target.cluster)
        return World(cluster.state(), revision, words, filling, valid_until, etcds)

    def plan(self, world: World) -> Plan | NothingToDo:
        state = world.state
        if state.alarms is not None and not state.armed(AlarmKind.NOSPACE):
            return NothingToDo(f"etcd {state.name} has no NOSPACE alarm: {_sizes(state)}")
        members = followers_first(state)
        return Plan(
            summary=f"free the space of etcd {state.name} ({len(members)} members) and lift NOSPACE",
            because=(
                f"NOSPACE is armed on {', '.join(state.armed(AlarmKind.NOSPACE)) or 'unknown members'}",
                _sizes(state),
                world.filling.words,
                self._stall(state),
            ),
            steps=(
                StepSpec("snapshot", state.name, f"save a snapshot of etcd {state.name} and verify its checksum"),
                *self._compactions(world),
                StepSpec(
                    "check-live-data",
                    state.name,
                    f"go on only if live data leaves room: at most {percent(WELL_UNDER)} of the quota",
                ),
                *(
                    StepSpec(
                        "defragment", member.name, f"defragment {member.name}; if it leads, move the leadership first"
                    )
                    for member in members
                ),
                StepSpec("disarm", state.name, "lift NOSPACE, and no other alarm, member by member"),
                StepSpec("test-write", state.name, f"write and delete {self._settings.test_key}"),
                StepSpec(
                    "watch-alarm", state.name, f"watch for {duration(self._settings.rearm_watch)} that it stays away"
                ),
            ),
            limits={
                "members_at_once": 1,
                "liveness_budget_seconds": self._settings.liveness_budget,
                # Somebody who approves should know, and approve anew when it is switched on.
                **({"accept_unsafe_versions": True} if self._settings.accept_unsafe_versions else {}),
            },
            floors={"compact_keep_seconds": self._settings.compact_keep},
            disturbs=tuple(sorted({member.failure_domain for member in members})),
        )

    def _compactions(self, world: World) -> tuple[StepSpec, ...]:
        state = world.state
        latest = max((member.status.revision for member in state.members if member.status), default=0)
        further = StepSpec(
            "compact-further",
            state.name,
            f"only if more than {percent(ENOUGH)} of the quota is still in use: compact to revision {latest}, seen "
            "when this was planned; its price: every watch that lags lists anew",
            {"revision": latest},
        )
        if world.old_revision is None:
            return (further,)
        first = StepSpec(
            "compact",
            state.name,
            f"compact to revision {world.old_revision}, at least {duration(self._settings.compact_keep)} old",
            {"revision": world.old_revision},
        )
        return (first, further)

    def _stall(self, state: EtcdState) -> str:
        largest = max((m.status.db_size_in_use for m in state.members if m.status), default=0)
        stall = predicted_stall(largest, self._settings.defrag_bytes_per_second)
        return (
            f"each member is blocked while it is defragmented, for {duration(stall)} at most as things are (less "
            f"after compaction); the liveness probe allows {duration(self._settings.liveness_budget)}"
        )

    def verify(self, context: StepContext) -> Done:
        cluster = self._connections.etcd(context.target)
        etcd_alarm.verify_restored(cluster, context, patience=self._settings.patience)
        return etcd_leases.await_cluster(cluster, self._settings, context)


def followers_first(state: EtcdState) -> tuple[MemberState, ...]:
    """Members in the order of their turn: by name, the leader last, so that it moves at most once."""
    leader = state.leader()
    return tuple(sorted(state.members, key=lambda member: (member is leader, member.name)))


def _sizes(state: EtcdState) -> str:
    return "; ".join(_size(member) for member in state.members)


def _size(member: MemberState) -> str:
    if member.status is None:
        return f"{member.name} does not answer"
    ratio = used_ratio(member)
    of_quota = (
        "" if ratio is None or member.quota is None else f", {percent(ratio)} of its quota of {size(member.quota)}"
    )
    return f"{member.name} holds {size(member.status.db_size)} ({size(member.status.db_size_in_use)} in use){of_quota}"
