"""Defragmenting one member: asked of all guards right before, without its leadership, measured."""

from collections.abc import Callable
from typing import Final, Protocol

from ballast_remediator.connections import PROBE, EtcdCluster
from ballast_remediator.contract import (
    Answer,
    Done,
    Observed,
    Progress,
    StepContext,
    StepFailed,
    StepSpec,
    Target,
    Verdict,
)
from ballast_remediator.guards.stall_fits import stall_fits
from ballast_remediator.runbooks.etcd_guards import GuardSettings, state_guards
from kube_ballast.analysis.etcd import MIB, EtcdState, MemberState, live_bytes
from kube_ballast.analysis.words import duration, size

WORTHWHILE_SHARE: Final = 0.10
WORTHWHILE_BYTES: Final = 1 * MIB
"""A member with less than both of these free has been defragmented, or gains nothing from it."""
PAUSE: Final = 0.5
MOVES: Final = 3
"""Moves of the leadership away from one member before the run gives up."""


class DefragmentSettings(GuardSettings, Protocol):
    """What the step takes from a runbook's settings; times are seconds."""

    @property
    def liveness_budget(self) -> float: ...

    @property
    def defrag_bytes_per_second(self) -> int:
        """How fast it is taken to be before the first member of the run was measured."""

    @property
    def defrag_timeout(self) -> float: ...

    @property
    def patience(self) -> float: ...


class Defragment:
    """Defragments the member ``spec.target``. Records ``member``, ``seconds`` and ``bytes_per_second``.

    etcd goes on with a defragmentation when its client hangs up: a timeout means that the outcome is
    unknown, and the member's own ``etcd_disk_defrag_inflight`` tells when it can be looked at again.
    """

    def __init__(
        self,
        etcd: Callable[[Target], EtcdCluster],
        settings: DefragmentSettings,
        *,
        left: str,
    ) -> None:
        """``left`` says how things stand when a guard refuses, as a sentence without its full stop."""
        self._etcd = etcd
        self._settings = settings
        self._left = left

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        state = self._etcd(context.target).state()
        member = _member(state, spec.target)
        if member.defragmenting is not False:
            return Observed(Progress.UNKNOWN, f"{member.name} is defragmenting, or does not tell")
        if member.status is None:
            return Observed(Progress.UNKNOWN, member.trouble)
        free = gives_back(state, member)
        words = f"{member.name} has {size(free)} free of {size(member.status.db_size)}"
        if free <= max(WORTHWHILE_SHARE * member.status.db_size, WORTHWHILE_BYTES):
            return Observed(Progress.DONE, f"{words}: nothing to gain", {"member": member.name})
        return Observed(Progress.NOT_DONE, words)

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        cluster = self._etcd(context.target)
        before = self._prepared(cluster, spec.target, context)
        context.go_on()
        started = context.now()
        cluster.endpoint_of(before).grpc.defragment(timeout=self._settings.defrag_timeout)
        seconds = max(context.now() - started, 0.001)
        after = self._settled(cluster, spec.target, context)
        if before.status is None or after.status is None:
            raise StepFailed(f"{spec.target} stopped answering after its defragmentation")
        return Done(
            f"{spec.target}: {size(before.status.db_size)} became {size(after.status.db_size)} in {duration(seconds)}",
            {
                "member": spec.target,
                "bytes_per_second": before.status.db_size_in_use / seconds,
                "seconds": seconds,
            },
        )

    def _prepared(self, cluster: EtcdCluster, name: str, context: StepContext) -> MemberState:
        """The member, with every guard content and its leadership, if it had it, moved away."""
        moved = 0
        while True:
            state = self._guarded(cluster, name, context)
            member = _member(state, name)
            if state.leader() is not member:
                return member
            if moved == MOVES:
                raise StepFailed(
                    f"{name} was handed the leadership again {MOVES} times; defragmenting it would stop writes"
                )
            heir = _heir(state, member)
            context.go_on()
            cluster.endpoint_of(member).grpc.move_leader(_id(heir), timeout=PROBE)
            moved += 1
            context.note(f"leadership moved from {name} to {heir.name}, so that writes go on meanwhile")

    def _guarded(self, cluster: EtcdCluster, name: str, context: StepContext) -> EtcdState:
        """The state in which no guard refuses; waits for it as long as `patience` says."""
        give_up = context.now() + self._settings.patience
        while True:
            state = cluster.state()
            refusal = next(
                (answer for answer in self._answers(state, name, context) if _forbids(answer, context)), None
            )
            if refusal is None:
                return state
            if not refusal.passing or context.now() > give_up:
                raise StepFailed(f"{name} was not defragmented, {refusal.guard}: {refusal.reason}. {self._left}")
            context.wait(PAUSE)

    def _answers(self, state: EtcdState, name: str, context: StepContext) -> tuple[Answer, ...]:
        measured = context.facts("defragment").get("bytes_per_second")
        rate = measured if isinstance(measured, float) else float(self._settings.defrag_bytes_per_second)
        stall = stall_fits(_member(state, name), bytes_per_second=rate, liveness_budget=self._settings.liveness_budget)
        return (*(guard(state) for guard in state_guards(self._settings)), stall)

    def _settled(self, cluster: EtcdCluster, name: str, context: StepContext) -> MemberState:
        """The member, healthy again."""
        give_up = context.now() + self._settings.patience
        while not (member := _member(cluster.state(), name)).healthy:
            if context.now() > give_up:
                raise StepFailed(f"defragmented, but not healthy again: {member.trouble}. Look at its log")
            context.wait(PAUSE)
        return member


def gives_back(state: EtcdState, member: MemberState) -> int:
    """Bytes that a defragmentation takes off the member's file; 0 while it does not answer."""
    return 0 if member.status is None else max(0, member.status.db_size - (live_bytes(state) or 0))


def _forbids(answer: Answer, context: StepContext) -> bool:
    if answer.verdict is Verdict.ASK:
        return answer.guard not in context.acknowledged
    return answer.verdict is Verdict.REFUSE


def _member(state: EtcdState, name: str) -> MemberState:
    member = state.member(name)
    if member is None:
        raise StepFailed(f"etcd {state.name} has no member {name} any more")
    return member


def _heir(state: EtcdState, leader: MemberState) -> MemberState:
    """The healthy voter with the least free space: one whose own turn is over."""
    voters = [member for member in state.voters if member.healthy and member is not leader]
    if not voters:
        raise StepFailed(f"no healthy voter can take the leadership from {leader.name}")
    return min(voters, key=lambda m: (m.status.db_size - m.status.db_size_in_use if m.status else 0, m.name))


def _id(member: MemberState) -> int:
    if member.status is None:
        raise StepFailed(f"the id of {member.name} is unknown")
    return member.status.member_id
