"""The faults of the stall's drill: what begins and ends each, and the verdict that is right."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from drills.relay import Fault, Mode
from drills.stall.ground import Ground
from drills.stall.rows import WELL_SECONDS, Row
from drills.stall.watch import EVERY_SECONDS, Account, Watcher
from kube_ballast.analysis.stall import Verdict

PATIENCE_SECONDS: Final = 40.0
"""After that a verdict or an alert comes no more."""
HELD_SECONDS: Final = 20.0
"""For how long a fault lasts at least: the verdict has to stay right until its end."""
AFTER_SECONDS: Final = 5.0
"""For how long a fault goes on after its alert."""


@dataclass(frozen=True, slots=True)
class Sickness:
    """A fault; with ``both`` the verdict has to be told of both apiservers."""

    name: str
    expected: Verdict
    begin: Callable[[Ground], None]
    end: Callable[[Ground], None]
    both: bool = False
    says: str = ""
    """What one of the reasons has to be."""

    def other(self, ground: Ground) -> Verdict | None:
        """The verdict that is right for the other apiserver, None for none but `ok`."""
        both = self.both or (ground.shared and self.expected is Verdict.ETCD_MEMBER_BAD)
        return self.expected if both else None


def _relayed(name: str, expected: Verdict, fault: Fault, says: str = "") -> Sickness:
    return Sickness(name, expected, lambda ground: ground.set(fault), lambda ground: ground.heal(), says=says)


def _pause_two(ground: Ground) -> None:
    for member in ground.etcd.members[:2]:
        member.pause()


def _resume_two(ground: Ground) -> None:
    for member in ground.etcd.members[:2]:
        member.resume()


SICKNESSES: Final = (
    _relayed("mute", Verdict.CHANNEL_STALLED, Fault(Mode.MUTE)),
    _relayed(
        "mute one resource",
        Verdict.CHANNEL_STALLED,
        Fault(Mode.MUTE, resource="configmaps"),
        says="ping is answered, etcd is not reached for configmaps",
    ),
    _relayed("blackhole", Verdict.CHANNEL_STALLED, Fault(Mode.BLACKHOLE)),
    _relayed("reset", Verdict.CHANNEL_STALLED, Fault(Mode.RESET)),
    _relayed("drop-watch", Verdict.WATCH_STALE, Fault(Mode.DROP_WATCH)),
    _relayed("old mute, new pass", Verdict.CHANNEL_STALLED, Fault(Mode.MUTE, only_old=True)),
    Sickness(
        "etcd SIGSTOP",
        Verdict.ETCD_MEMBER_BAD,
        lambda ground: ground.etcd.members[0].pause(),
        lambda ground: ground.etcd.members[0].resume(),
    ),
    Sickness("etcd quorum lost", Verdict.ETCD_DOWN, _pause_two, _resume_two, both=True),
    Sickness(
        "apiserver SIGSTOP",
        Verdict.UNREACHABLE,
        lambda ground: ground.control.apiservers[0].process.pause(),
        lambda ground: ground.control.apiservers[0].process.resume(),
    ),
    Sickness(
        "apiserver killed",
        Verdict.DOWN,
        lambda ground: ground.control.apiservers[0].process.kill(),
        lambda ground: ground.control.apiservers[0].process.restart(),
    ),
)


def measure(ground: Ground, watcher: Watcher, sickness: Sickness) -> Row:
    """Make it, and watch what is told until all is well again.

    `code`, `endpoints`, `nodes` and `renewing` of the row are the caller's.
    """
    watcher.until_well()
    account = Account(sickness.expected, ground.names, sickness.other(ground), both=sickness.both)
    began = time.monotonic()
    sickness.begin(ground)
    try:
        while not _over(time.monotonic() - began, account):
            verdicts, firing = watcher.verdicts(), watcher.firing()
            account.see(time.monotonic() - began, verdicts, firing)
            time.sleep(EVERY_SECONDS)
        told = watcher.reasons.get(ground.names[0], ())
    finally:
        sickness.end(ground)
    lasted = time.monotonic() - began
    if sickness.says and sickness.says not in told:
        account.wrong.add(f"what is told lacks {sickness.says!r}")
    well = watcher.well_within(WELL_SECONDS, account.blame)
    return Row(
        fault=sickness.name,
        expected=sickness.expected,
        verdict=account.verdict_at,
        alert=account.alert_at,
        wrong=tuple(sorted(account.wrong)),
        lost=account.lost_at,
        unknown=account.unknown_seconds,
        lasted=lasted,
        told=told,
        well=well,
    )


def _over(now: float, account: Account) -> bool:
    if account.verdict_at is None or account.alert_at is None:
        return now > PATIENCE_SECONDS
    return now > max(HELD_SECONDS, account.alert_at + AFTER_SECONDS)
