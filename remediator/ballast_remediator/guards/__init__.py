"""What has to be true before anything is done: one file each, a reason in words, and failing closed.

A guard's name is the sentence that has to be true. World guards judge what a runbook just saw; ledger
guards judge, inside the claiming transaction, what else runs and ran.
"""

from ballast_remediator.contract import Answer, Verdict
from kube_ballast.analysis.words import duration


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
