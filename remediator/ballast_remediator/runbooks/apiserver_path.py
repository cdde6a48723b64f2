"""What both cures of a stalled channel look at, and what has to be true before either."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from ballast_remediator.apiservers import Apiservers, may_pass
from ballast_remediator.contract import Alert, Answer, StepContext, StepFailed, Target, Verdict
from ballast_remediator.guards.another_apiserver_is_ok import another_apiserver_is_ok
from ballast_remediator.guards.channel_is_stalled import channel_is_stalled
from ballast_remediator.guards.its_etcd_answers import its_etcd_answers
from ballast_remediator.guards.no_member_defragments import no_member_defragments
from kube_ballast.analysis.control_plane import ControlPlane
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.hosts import CannotCut, Process, Restart, Sight

CUT, RESTART = "apiserver-cut-etcd-connections", "apiserver-restart"
PATIENCE: Final = 20.0
"""Seconds for which what is about to act waits for a guard that may say otherwise in a moment."""
PAUSE: Final = 0.5

state_guards: Final = (channel_is_stalled, another_apiserver_is_ok, its_etcd_answers, no_member_defragments)
"""In the order in which refusals are told; asked before the plan, at the claim, and right before the effect."""


@dataclass(frozen=True, slots=True)
class World:
    """What was seen for the sake of one apiserver. ``since`` is when the alert began to fire (Unix seconds)."""

    state: ControlPlane
    process: Process | None
    connections: tuple[str, ...]
    endpoints: tuple[str, ...]
    since: float
    cluster: str
    valid_until: float
    population: int
    restart: Restart | None = None
    """How the configuration wants it restarted, where that is asked."""


def on_state(guard: Callable[[ControlPlane], Answer]) -> Callable[[World], Answer]:
    """``guard``, asked of the state in a runbook's world."""
    return lambda world: guard(world.state)


def observe(
    apiservers: Apiservers, alert: Alert, target: Target, evidence_valid: float, how: Restart | None = None
) -> World:
    """The host first, which takes seconds, then etcd, and the evidence last, which is vouched for only briefly.

    Where ``how`` is given, a restart in that way is rehearsed.

    Raises:
        ClientError: no exporter answers.
    """
    world = _on_host(apiservers, target, how)
    asked = time.monotonic()
    now = apiservers.state(target.name)
    vouched = [one.valid_until - one.observed_at for told in now.told.values() for one in told]
    valid_until = asked + min([evidence_valid, *vouched])
    seen = world.state
    state = replace(
        now,
        process=seen.process,
        connections=seen.connections,
        host_problem=seen.host_problem,
        host_passing=seen.host_passing,
        cannot_cut=seen.cannot_cut,
        strangers=seen.strangers,
        unresolved=seen.unresolved,
    )
    return replace(world, state=state, since=alert.starts_at, valid_until=valid_until)


def _on_host(apiservers: Apiservers, target: Target, how: Restart | None) -> World:
    """The world as far as its host tells."""
    name, names, where = target.name, apiservers.names, apiservers.where(target.name)
    state = ControlPlane(name, names, {}, (), (), None, None)
    world = World(state, None, (), (), 0.0, target.cluster, 0.0, len(names), how)
    cannot_cut = None
    try:
        rehearsed = None if how is None else apiservers.hosts.rehearse(where, how)
        try:
            sight = apiservers.seen(name)
        except CannotCut as error:
            sight = rehearsed or Sight(apiservers.hosts.look(where), (), (), "")
            cannot_cut = error.message
    except ClientError as error:
        return replace(world, state=replace(state, host_problem=str(error), host_passing=may_pass(error)))
    strangers, unresolved = apiservers.strangers(name, sight.endpoints)
    return replace(
        world,
        state=replace(
            state,
            process=str(sight.process.pid),
            connections=None if cannot_cut else len(sight.connections),
            cannot_cut=cannot_cut,
            strangers=strangers,
            unresolved=unresolved,
        ),
        process=sight.process,
        connections=sight.connections,
        endpoints=sight.endpoints,
    )


def expect_all(apiservers: Apiservers, context: StepContext, *, left: str) -> ControlPlane:
    """Asks the guards on the state again, right before the effect; waits for what may pass. Gives the last state.

    Raises:
        StepFailed: one refuses. ``left`` says how things stand then, as a sentence without its full stop.
    """
    give_up = context.now() + PATIENCE
    while True:
        state = apiservers.state(context.target.name)
        answers = (guard(state) for guard in state_guards)
        refusal = next((answer for answer in answers if answer.verdict is Verdict.REFUSE), None)
        if refusal is None:
            return state
        if not refusal.passing or context.now() > give_up:
            raise StepFailed(f"{refusal.guard}: {refusal.reason}. {left}")
        context.wait(PAUSE)


def both_cures(cluster: str, names: tuple[str, ...]) -> tuple[Target, ...]:
    """Every target of either cure in that cluster: between two of them some time has to pass."""
    return tuple(Target(cluster, runbook, name) for runbook in (CUT, RESTART) for name in names)
