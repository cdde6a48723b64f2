"""The guards on what was seen of an etcd: asked before the plan, at the claim, and anew before each member."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from ballast_remediator.contract import Answer
from ballast_remediator.guards.disk_suffices import disk_suffices
from ballast_remediator.guards.every_member_votes import every_member_votes
from ballast_remediator.guards.no_corruption import no_corruption
from ballast_remediator.guards.nobody_disturbs import nobody_disturbs
from ballast_remediator.guards.quorum_survives import quorum_survives
from ballast_remediator.guards.quota_is_known import quota_is_known
from ballast_remediator.guards.version_is_safe import version_is_safe
from kube_ballast.analysis.etcd import EtcdState


class GuardSettings(Protocol):
    """What these guards take from a runbook's settings."""

    @property
    def accept_unsafe_versions(self) -> bool:
        """Whether `version_is_safe` lets versions with known faults pass."""


class Seen(Protocol):
    """A world that holds the state of an etcd."""

    @property
    def state(self) -> EtcdState: ...


def on_state(guard: Callable[[EtcdState], Answer]) -> Callable[[Seen], Answer]:
    """``guard``, asked of the etcd in a runbook's world."""
    return lambda world: guard(world.state)


def state_guards(settings: GuardSettings) -> tuple[Callable[[EtcdState], Answer], ...]:
    """In the order in which refusals are told. CORRUPT makes every member unready too: the words name the cause."""
    return (
        no_corruption,
        quorum_survives,
        every_member_votes,
        partial(version_is_safe, accept_unsafe=settings.accept_unsafe_versions),
        nobody_disturbs,
        quota_is_known,
        disk_suffices,
    )
