"""What has to be seen after a cure: the canary, the apiserver's own word, and that the others bear it."""

import json
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from ballast_remediator.apiservers import Apiservers
from ballast_remediator.contract import Done, Scalar, StepContext, StepFailed
from kube_ballast.analysis.control_plane import ControlPlane, Load, unsettled
from kube_ballast.analysis.stall import Verdict
from kube_ballast.analysis.words import duration, size
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.exporter import Finding

PAUSE: Final = 0.5
SETTLING_PAUSE: Final = 5.0
"""Seconds between two looks at what an apiserver carries: its page of metrics is not cheap."""
LASTS: Final = 3.0
"""Seconds for which each exporter has to say ok, by its own clock: it may be a moment between two failures."""
MORE: Final = 12.0
"""Seconds beyond ``canary_within`` for whatever is not stalled by then, and may have to last, or to be told again.

What failed holds back an exporter's ok for 10 s, and until it is told the probes go round once more.
"""


class Settings(Protocol):
    """Seconds; see `config.CureSettings`."""

    @property
    def canary_within(self) -> float: ...
    @property
    def ready_within(self) -> float: ...
    @property
    def settle_within(self) -> float: ...


def witnessed(state: ControlPlane) -> Mapping[str, Scalar]:
    """What a cure's step records for `recovered`: who tells of the apiserver right before the act."""
    return {"exporters": json.dumps(state.tellers)}


def recovered(
    apiservers: Apiservers,
    context: StepContext,
    settings: Settings,
    *,
    began: float,
    facts: Mapping[str, Scalar],
    lasting: Callable[[str], StepFailed],
) -> Done:
    """Waits for all of it. ``began`` is when the act was over, by the context's clock; ``facts`` are those of its step.

    Raises:
        StepFailed: something is not so in time; ``lasting`` makes it where the channel is still stalled.
    """
    name = context.target.name
    before = frozenset(json.loads(str(facts.get("exporters", "[]"))))
    silent = _canary(apiservers, context, settings.canary_within, before=before, lasting=lasting)
    after = context.now() - began
    silence = f" (silent since: {', '.join(silent)})" if silent else ""
    context.note(f"the canary is back: {name} is ok again, {duration(after)} after the act{silence}")
    _ready(apiservers, context, settings.ready_within)
    settled = _settled(apiservers, context, settings.settle_within)
    return Done(f"{name} is ok again, by evidence {duration(after)} after the act{silence}, and ready; {settled}")


def _canary(
    apiservers: Apiservers,
    context: StepContext,
    within: float,
    *,
    before: frozenset[str],
    lasting: Callable[[str], StepFailed],
) -> list[str]:
    """Waits until every exporter that tells of it says ok for `LASTS` seconds; gives those that told and are silent.

    Each exporter's times are compared with its own alone: clocks differ. ``before`` told before the act.

    Raises:
        StepFailed: as `recovered`.
    """
    name = context.target.name
    give_up = context.now() + within
    tellers = before
    since: dict[str, float] = {}
    while True:
        told: Mapping[str, Finding] = {}
        problem = "without fresh evidence"
        try:
            told = _told(apiservers, name)
        except ClientError as error:
            problem = f"not told of: {error}"
        tellers |= told.keys()
        well = {url: one for url, one in told.items() if one.verdict == Verdict.OK}
        since = {url: since.get(url, one.observed_at) for url, one in well.items()}
        steady = {url for url, one in well.items() if one.observed_at - since[url] >= LASTS}
        if told and steady == told.keys():
            return sorted(tellers - steady)
        sick = [one for one in told.values() if one.verdict != Verdict.OK]
        stalled = [one for one in sick if one.verdict == Verdict.CHANNEL_STALLED]
        if stalled and context.now() > give_up:
            reasons = "; ".join(stalled[0].reasons)
            raise lasting(f"{duration(within)} later {name} is still {stalled[0].verdict} ({reasons})")
        if context.now() > give_up + MORE:
            if told:
                problem = f"ok, but not yet for {duration(LASTS)}"
            if sick:
                problem = f"{sick[0].verdict} ({'; '.join(sick[0].reasons)})"
            raise StepFailed(f"{duration(within + MORE)} later {name} is {problem}")
        context.wait(PAUSE)


def _told(apiservers: Apiservers, name: str) -> Mapping[str, Finding]:
    """By exporter: what it says of that apiserver."""
    return {url: one for url, findings in apiservers.evidence().items() for one in findings if one.subject == name}


def _ready(apiservers: Apiservers, context: StepContext, within: float) -> None:
    give_up = context.now() + within
    while True:
        try:
            apiservers.ready(context.target.name)
        except ClientError as error:
            if context.now() > give_up:
                raise StepFailed(
                    f"its writes work again, but it is not ready, and was not for {duration(within)}: {error}"
                ) from error
        else:
            return
        context.wait(PAUSE)


def _settled(apiservers: Apiservers, context: StepContext, within: float) -> str:
    """What the others carry, in words, once it does not grow any more.

    Raises:
        StepFailed: it still grows, or is not told, after ``within`` seconds.
    """
    give_up = context.now() + within
    waiting = [name for name in apiservers.names if name != context.target.name]
    before: dict[str, Load] = {}
    settled: dict[str, Load] = {}
    while True:
        reasons = {}
        for name in [one for one in waiting if one not in settled]:
            try:
                load = apiservers.load(name)
            except ClientError as error:
                reasons[name] = f"what it carries is not told: {error}"
                continue
            grows = unsettled(before[name], load) if name in before else "it was seen once"
            before[name] = load
            if grows is None:
                settled[name] = load
            else:
                reasons[name] = grows
        if not reasons:
            break
        if context.now() > give_up:
            words = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise StepFailed(
                f"{context.target.name} is ok again, but the others did not settle within {duration(within)}: {words}"
            )
        context.wait(SETTLING_PAUSE)
    told = (
        f"{name} with {load.in_flight:.0f} requests and {size(load.memory_bytes)}" for name, load in settled.items()
    )
    return f"the others have settled: {', '.join(told)}"
