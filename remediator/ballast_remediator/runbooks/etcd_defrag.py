"""etcd-defrag: gives back what one member's file holds free, long before the quota is reached.

See docs/runbooks/etcd-defrag.md.

One run, one member. The hour is the policy's business (guard `window_is_open`), and so is how soon the next member
has its turn (`target_has_rested`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from ballast_remediator.config import Config, EtcdDefragSettings
from ballast_remediator.connections import Connections, EtcdCluster
from ballast_remediator.contract import (
    Alert,
    Answer,
    Done,
    NothingToDo,
    Permissions,
    Plan,
    Reversibility,
    Step,
    StepContext,
    StepFailed,
    StepSpec,
    Target,
    WorldGuard,
)
from ballast_remediator.guards.stall_fits import stall_fits
from ballast_remediator.runbooks import control_plane, etcd_defragment, etcd_guards, etcd_looking
from ballast_remediator.runbooks.control_plane import CONTROL_PLANE
from ballast_remediator.runbooks.etcd_defragment import gives_back
from ballast_remediator.runbooks.etcd_guards import on_state, state_guards
from ballast_remediator.runbooks.etcd_looking import Unknown, patiently
from kube_ballast.analysis.etcd import EtcdState, MemberState, predicted_stall
from kube_ballast.analysis.words import duration, percent, size
from kube_ballast.clients.etcd.types import AlarmKind

ALIKE: Final = 0.9
"""A member that gives back this share of what the best one does is as good: else two that are nearly equal would
change places between a plan and its approval."""


@dataclass(frozen=True, slots=True)
class World:
    """What was seen of one etcd."""

    state: EtcdState
    valid_until: float
    population: int


class EtcdDefrag:
    """The runbook. See the module for what it does and docs/runbooks/etcd-defrag.md for why."""

    name = "etcd-defrag"
    target_label = "etcd_cluster"
    sources = (control_plane, etcd_defragment, etcd_guards, etcd_looking)
    permissions = Permissions(
        etcd=(
            "where authentication is on: a user with the role root, as the maintenance API demands",
            "maintenance: status, alarm, defragment, move leader",
        ),
        prometheus=("query",),
    )
    reversibility = Reversibility.COSTLY
    undo = (
        "There is none, and no data to bring back: no key and no revision changes, and the file grows again when it "
        "has to. A leadership that was moved can be moved back. No snapshot is taken: a member whose file were damaged "
        "is replaced from the others (docs/runbooks/etcd-defrag.md#undo)."
    )
    locks = (CONTROL_PLANE,)

    @classmethod
    def configured(cls, connections: Connections, config: Config) -> Self:
        """As the configuration file wants it."""
        return cls(connections, config.runbooks.etcd_defrag, evidence_valid=config.engine.evidence_valid)

    def __init__(self, connections: Connections, settings: EtcdDefragSettings, *, evidence_valid: float) -> None:
        self._connections = connections
        self._settings = settings
        self._evidence_valid = evidence_valid
        step = etcd_defragment.Defragment(connections.etcd, settings, left="Its file is as it was")
        self.steps: Mapping[str, Step] = MappingProxyType({"defragment": step})
        self.guards: tuple[WorldGuard[World], ...] = (
            *(on_state(guard) for guard in state_guards(settings)),
            self._stall_fits,
        )

    def knows(self, target: Target) -> bool:
        return self._connections.knows(target)

    def observe(self, alert: Alert, target: Target) -> World:
        del alert
        valid_until = time.monotonic() + self._evidence_valid
        state = self._connections.etcd(target).state()
        return World(state, valid_until, self._connections.etcds(target.cluster))

    def plan(self, world: World) -> Plan | NothingToDo:
        state = world.state
        armed = state.armed(AlarmKind.NOSPACE)
        if armed:
            return NothingToDo(
                f"NOSPACE is armed on {', '.join(armed)}: that is the work of etcd-free-space, which compacts first "
                "and lifts the alarm"
            )
        turns = in_turn(state, self._settings)
        if not turns:
            least = f"{percent(self._settings.least_free_share)} and {size(self._settings.least_free_bytes)}"
            told = "; ".join(_free(state, member) for member in state.members)
            return NothingToDo(
                f"no member of etcd {state.name} is worth a defragmentation (from {least} free on): {told}"
            )
        chosen, *later = turns
        returns = size(gives_back(state, chosen))
        leads = chosen is state.leader()
        return Plan(
            summary=f"defragment {chosen.name} of etcd {state.name}, which gives back {returns}",
            because=(
                _free(state, chosen),
                self._stall(chosen),
                *(("it leads, and no follower is worth it any more: its leadership is moved first",) if leads else ()),
                f"later runs: {', '.join(member.name for member in later) or 'no other member is worth it'}",
            ),
            steps=(
                StepSpec(
                    "defragment",
                    chosen.name,
                    f"defragment {chosen.name}; if it leads, move the leadership first",
                ),
            ),
            limits={
                "members": 1,
                "liveness_budget_seconds": self._settings.liveness_budget,
                # Somebody who approves should know, and approve anew when it is switched on.
                **({"accept_unsafe_versions": True} if self._settings.accept_unsafe_versions else {}),
            },
            disturbs=(chosen.failure_domain,),
        )

    def verify(self, context: StepContext) -> Done:
        cluster = self._connections.etcd(context.target)
        name = str(context.facts("defragment")["member"])
        return patiently(lambda: self._verified(cluster, name), context, patience=self._settings.patience)

    def _verified(self, cluster: EtcdCluster, name: str) -> Done:
        """Raises `Unknown` while it cannot be told."""
        state = cluster.state()
        if state.alarms is None:
            raise Unknown("the alarms cannot be listed")
        if state.alarms:
            kinds = sorted({alarm.kind.value for alarm in state.alarms})
            raise StepFailed(f"{name} is defragmented, and {' and '.join(kinds)} is armed now: look at that first")
        member = state.member(name)
        if member is None:
            raise StepFailed(f"etcd {state.name} has no member {name} any more")
        if not member.healthy:
            raise Unknown(f"{name} is defragmented, but not healthy again: {member.trouble}")
        if is_worth_it(state, member, self._settings):
            raise StepFailed(f"{name} did not shrink: {_free(state, member)}. Look at its log")
        return Done(f"{name} is healthy and no alarm is armed; {_free(state, member)}")

    def _stall_fits(self, world: World) -> Answer:
        """Guards are asked only where there is a plan, so somebody has a turn."""
        return stall_fits(
            in_turn(world.state, self._settings)[0],
            bytes_per_second=self._settings.defrag_bytes_per_second,
            liveness_budget=self._settings.liveness_budget,
        )

    def _stall(self, member: MemberState) -> str:
        in_use = 0 if member.status is None else member.status.db_size_in_use
        stall = predicted_stall(in_use, self._settings.defrag_bytes_per_second)
        return (
            f"it is blocked for about {duration(stall)} while it rewrites {size(in_use)}; the liveness probe allows "
            f"{duration(self._settings.liveness_budget)}"
        )


def is_worth_it(state: EtcdState, member: MemberState, settings: EtcdDefragSettings) -> bool:
    """Whether a defragmentation gives back enough of the member's file, by share and by bytes."""
    if member.status is None:
        return False
    returns = gives_back(state, member)
    return returns >= max(settings.least_free_bytes, settings.least_free_share * member.status.db_size)


def in_turn(state: EtcdState, settings: EtcdDefragSettings) -> tuple[MemberState, ...]:
    """The members that are worth it: followers first, the leader last; who gives back most first, then by name."""
    leader = state.leader()
    worth = [member for member in state.members if is_worth_it(state, member, settings)]
    turns: list[MemberState] = []
    while worth:
        group = [member for member in worth if member is not leader] or worth
        most = max(gives_back(state, member) for member in group)
        alike = [member for member in group if gives_back(state, member) >= ALIKE * most]
        turns.append(min(alike, key=lambda member: member.name))
        worth.remove(turns[-1])
    return tuple(turns)


def _free(state: EtcdState, member: MemberState) -> str:
    if member.status is None:
        return f"{member.name} does not answer"
    free, file = gives_back(state, member), member.status.db_size
    return f"{member.name} has {size(free)} free of {size(file)} ({percent(free / file)})"
