"""What has to be true before anything is done: one file each, a reason in words, and failing closed.

A guard's name is the sentence that has to be true. World guards judge what a runbook just saw; ledger
guards judge, inside the claiming transaction, what else runs and ran.
"""

from typing import Final

from ballast_remediator.contract import Answer, Ledger, Verdict
from kube_ballast.analysis.words import duration

LONGEST_JUMP: Final = 1800.0
"""Seconds. A clock that was set right after a start, years ahead, must not stop everything for years."""


def allow(guard: str, reason: str) -> Answer:
    """Nothing in the way."""
    return Answer(guard, Verdict.ALLOW, reason)


def ask(guard: str, reason: str) -> Answer:
    """A person has to accept this risk by the guard's name."""
    return Answer(guard, Verdict.ASK, reason)


def refuse(guard: str, reason: str, *, passing: bool = False) -> Answer:
    """Not now, whoever asks. ``passing`` when it may be otherwise in a minute, so that waiting makes sense."""
    return Answer(guard, Verdict.REFUSE, reason, passing)


def ago(then: float, now: float) -> str:
    """How long ago that was, in words; both seconds since the epoch."""
    return f"{duration(max(0.0, now - then))} ago"


def overstated(ledger: Ledger, within: float) -> float:
    """Seconds by which the host's clock makes things that happened ``within`` seconds look longer ago than they are.

    It was set forward since. What happened after that is not affected, and is younger than ``within`` anyway.
    """
    jump = ledger.jump
    if jump is None or jump.ago >= within:
        return 0.0
    return min(max(0.0, jump.seconds), LONGEST_JUMP)
