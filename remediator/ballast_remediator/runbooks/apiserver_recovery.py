"""What has to be seen after a cure: the canary, the apiserver's own word, and that the others bear it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from ballast_remediator.apiservers import Apiservers
from ballast_remediator.contract import Done, InVain, Scalar, StepContext, StepFailed
from kube_ballast.analysis.control_plane import ControlPlane, Load, unsettled
from kube_ballast.analysis.stall import Verdict
from kube_ballast.analysis.words import duration, size
from kube_ballast.clients.errors import ClientError

PAUSE: Final = 0.5
SETTLING_PAUSE: Final = 5.0
"""Seconds between two looks at what an apiserver carries: its page of metrics is not cheap."""
IN_A_ROW: Final = 2
"""Observations of each exporter that have to say ok: one may fall into a moment between two failures."""


class Settings(Protocol):
    """Seconds; see `config.CureSettings`."""

    @property
    def canary_within(self) -> float: ...
    @property
    def ready_within(self) -> float: ...
    @property
    def settle_within(self) -> float: ...


@dataclass(slots=True)
class _Said:
    """When an exporter made its last observation, by its own clock, and how many in a row said ok since this began."""

    at: float
    well: int = 0


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
    in_vain: Callable[[], str],
) -> Done:
    """Waits for all of it. ``began`` is when the act was over, by the context's clock; ``facts`` are those of its step.

    Raises:
        InVain: the canary did not come back in time; ``in_vain`` says what that means.
        StepFailed: something else is not so in time.
    """
    name = context.target.name
    said: dict[str, _Said] = {}
    told = _canary(apiservers, context, settings.canary_within, said)
    if told is not None:
        words = in_vain()
        raise InVain(f"{duration(settings.canary_within)} later {name} is {told}. {words}")
    after = context.now() - began
    before = json.loads(str(facts.get("exporters", "[]")))
    silent = sorted({*before, *said} - {url for url, one in said.items() if one.well >= IN_A_ROW})
    silence = f" (silent since: {', '.join(silent)})" if silent else ""
    context.note(f"the canary is back: {name} is ok again, {duration(after)} after the act{silence}")
    _ready(apiservers, context, settings.ready_within)
    settled = _settled(apiservers, context, settings.settle_within)
    return Done(f"{name} is ok again, by evidence {duration(after)} after the act{silence}, and ready; {settled}")


def _canary(apiservers: Apiservers, context: StepContext, within: float, said: dict[str, _Said]) -> str | None:
    """None once every exporter that tells of it says ok twice in a row, in evidence observed since this began.

    Each exporter's times are compared with its own alone: clocks differ. ``said`` gets what each said.
    """
    name = context.target.name
    give_up = context.now() + within
    last = "without fresh evidence"
    while True:
        try:
            told = _observed(apiservers, name)
        except ClientError as error:
            told, last = {}, f"not told of: {error}"
        for url, (verdict, _, at) in told.items():
            one = said.setdefault(url, _Said(at))
            if verdict != Verdict.OK:
                one.well = 0
            elif at > one.at:
                one.well += 1
            one.at = at
        if told and all(said[url].well >= IN_A_ROW for url in told):
            return None
        sick = [f"still {verdict} ({reasons})" for verdict, reasons, _ in told.values() if verdict != Verdict.OK]
        if told:
            last = sick[0] if sick else "ok, but not twice in a row by evidence from after the act"
        if context.now() > give_up:
            return last
        context.wait(PAUSE)


def _observed(apiservers: Apiservers, name: str) -> Mapping[str, tuple[str, str, float]]:
    """By exporter: the verdict on that apiserver, its reasons, and when it was observed."""
    return {
        url: (one.verdict, "; ".join(one.reasons), one.observed_at)
        for url, findings in apiservers.evidence().items()
        for one in findings
        if one.subject == name
    }


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
