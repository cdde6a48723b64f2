"""apiserver-restart: the last resort against a stalled channel, after a cut of its connections did not help.

See docs/runbooks/apiserver-restart.md.

That a cut was in vain is asked of the ledger (guard `earlier_runs_permit`), never remembered by this runbook.
"""

import shlex
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit

from ballast_remediator.apiservers import Apiservers
from ballast_remediator.config import Config, RestartSettings
from ballast_remediator.connections import Connections
from ballast_remediator.contract import (
    Alert,
    Done,
    InVain,
    NotConfigured,
    NothingToDo,
    Observed,
    Permissions,
    Plan,
    Progress,
    Reversibility,
    Scalar,
    Step,
    StepContext,
    StepFailed,
    StepSpec,
    Succession,
    Target,
    WorldGuard,
)
from ballast_remediator.guards.gentler_cure_was_possible import gentler_cure_was_possible
from ballast_remediator.guards.process_is_known import process_is_known
from ballast_remediator.runbooks import apiserver_path, apiserver_recovery, control_plane
from ballast_remediator.runbooks.apiserver_path import CUT, World, both_cures, expect_all, on_state, state_guards
from ballast_remediator.runbooks.apiserver_recovery import PAUSE, recovered, witnessed
from ballast_remediator.runbooks.control_plane import CONTROL_PLANE
from kube_ballast.analysis.stall import Verdict
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Denied
from kube_ballast.clients.hosts import Busy, Process, ProcessGone, RestartMethod
from kube_ballast.clients.hosts import Restart as How

LEFT = "It was not restarted by this attempt"
IN_VAIN = (
    "Neither new connections nor a new process helped: what lies between it and etcd is sick, and another restart "
    "would not help. A person has to look there"
)


class ApiserverRestart:
    """The runbook. See the module for what it does and docs/runbooks for why."""

    name = apiserver_path.RESTART
    target_label = "apiserver"
    sources = (apiserver_path, apiserver_recovery, control_plane)
    permissions = Permissions(
        etcd=("read: one key that nobody has, /registry/ballast-canary",),
        kubernetes=("get /readyz", "get /metrics"),
        hosts=(
            "root on the apiserver's host: /proc of all processes, to find the apiserver's",
            "root on the apiserver's host: what restarts it, which is the configured command, systemctl or crictl",
        ),
        prometheus=("query",),
    )
    reversibility = Reversibility.COSTLY
    undo = (
        "There is none: the new process is the same program with the same arguments. Its caches are filled from etcd "
        "anew, and clients whose watches were closed list everything once more."
    )
    locks = (CONTROL_PLANE,)

    @classmethod
    def configured(cls, connections: Connections, config: Config) -> Self:
        """As the configuration file wants it."""
        return cls(connections.apiservers, config.runbooks.restart, evidence_valid=config.engine.evidence_valid)

    def __init__(
        self, apiservers: Callable[[str], Apiservers], settings: RestartSettings, *, evidence_valid: float
    ) -> None:
        self._apiservers = apiservers
        self._settings = settings
        self._evidence_valid = evidence_valid
        self.steps: Mapping[str, Step] = MappingProxyType({"restart": Restart(apiservers)})
        self.guards: tuple[WorldGuard[World], ...] = (
            *(on_state(guard) for guard in state_guards),
            on_state(process_is_known),
            on_state(gentler_cure_was_possible),
        )

    def knows(self, target: Target) -> bool:
        try:
            return target.name in self._apiservers(target.cluster).names
        except NotConfigured:
            return False

    def observe(self, alert: Alert, target: Target) -> World:
        apiservers = self._apiservers(target.cluster)
        how = way(apiservers, target)  # nothing is looked at for what cannot be done
        return apiserver_path.observe(apiservers, alert, target, self._evidence_valid, how)

    def plan(self, world: World) -> Plan | NothingToDo:
        state = world.state
        name = state.target
        if state.verdict(name) == Verdict.OK:
            return NothingToDo(f"{name} is ok: its writes, reads and watches work")
        told, well = state.told.get(name, ()), ", ".join(state.others(Verdict.OK))
        how = world.restart
        if how is None:
            return NothingToDo(f"nobody says how {name} is restarted")
        first = None if state.cannot_cut is not None else Target(world.cluster, CUT, name)
        process = "" if world.process is None else world.process.text
        named = _named(how)
        floors: dict[str, Scalar] = {"rest_seconds": self._settings.rest}
        if "grace" in named:
            floors["grace_seconds"] = named["grace"]  # less would be harsher
        return Plan(
            summary=f"restart {name}, by {how.method}",
            because=(
                f"{name} is {state.words(name)}: {'; '.join(told[0].reasons) if told else 'no exporter tells why'}",
                f"ok meanwhile, and taking over its clients: {well or 'no other apiserver'}",
                f"process {state.process} is ended, with SIGKILL where SIGTERM does not do it in {how.grace} s"
                if not how.command
                else f"process {state.process} is ended by {how.command[0]}",
                "its watches are closed and its caches filled anew: clients list everything once more, from the others",
            ),
            steps=(
                StepSpec(
                    "restart",
                    name,
                    f"restart {name} by {how.method}",
                    {"process": process, **named},
                ),
            ),
            limits={"apiservers": 1, "process": process, **{one: named[one] for one in named if one != "grace"}},
            floors=floors,
            disturbs=(str(urlsplit(f"https://{name}").hostname),),
            succession=Succession(
                after=both_cures(world.cluster, state.names),
                rest=self._settings.rest,
                follows=first,
                within=self._settings.cut_within,
                since=world.since,
            ),
        )

    def verify(self, context: StepContext) -> Done:
        apiservers, facts, began = self._apiservers(context.target.cluster), context.facts("restart"), context.now()
        _expect_another(apiservers, context, Process.parsed(str(facts["process"])), self._settings.ready_within)
        return recovered(apiservers, context, self._settings, began=began, facts=facts, lasting=_in_vain)


class Restart:
    """Restarts the process that ``spec.params`` name, if it is still that one."""

    def __init__(self, apiservers: Callable[[str], Apiservers]) -> None:
        self._apiservers = apiservers

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        """By the process that listens now: another one means that it was restarted, by whomever."""
        apiservers = self._apiservers(context.target.cluster)
        before = Process.parsed(str(spec.params["process"]))
        try:
            now = apiservers.hosts.look(apiservers.where(spec.target))
        except Busy as error:
            return Observed(Progress.UNKNOWN, str(error))
        except Conflict as error:
            return Observed(Progress.UNKNOWN, f"it may be about to start: {error}")
        if now == before:
            return Observed(Progress.NOT_DONE, f"process {now.pid} serves {spec.target} as before")
        words = f"process {now.pid} serves {spec.target}, and no longer {before.pid}"
        return Observed(Progress.DONE, words, {"process": before.text})

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        apiservers = self._apiservers(context.target.cluster)
        how = way(apiservers, context.target)
        approved = {name: value for name, value in spec.params.items() if name != "process"}
        if approved != _named(how):
            raise StepFailed(f"how it is restarted was {_words(approved)}, and is {_words(_named(how))} now. {LEFT}")
        state = expect_all(apiservers, context, left=LEFT)
        process = Process.parsed(str(spec.params["process"]))
        context.go_on()
        try:
            done = apiservers.hosts.restart(apiservers.where(spec.target), process, how)
        except (Busy, ProcessGone):
            raise  # what was begun before is under way, or did it: that is looked at first
        except (Conflict, Denied) as error:
            raise StepFailed(f"{spec.target} was not restarted: {error}") from error
        except BadResponse as error:
            raise StepFailed(
                f"the restart of {spec.target} by {how.method} failed: {error}. Look at its host"
            ) from error
        context.note(f"Ansible said: {done.stdout}")
        words = f"process {process.pid} was ended by {how.method}, and another one was asked for"
        return Done(words, {"process": process.text, **witnessed(state)})


def _expect_another(apiservers: Apiservers, context: StepContext, before: Process, within: float) -> None:
    """Waits until another process than ``before`` serves. Raises `StepFailed` when none does ``within`` seconds."""
    where, give_up = apiservers.where(context.target.name), context.now() + within
    while True:
        try:
            now = apiservers.hosts.look(where)
        except ClientError as error:
            words = f"no process is seen to serve it: {error}"
        else:
            if now != before:
                return
            words = f"process {now.pid} serves it as before: it was not restarted. Look at what restarts it"
        if context.now() > give_up:
            raise StepFailed(f"{duration(within)} after the restart of {context.target.name}, {words}")
        context.wait(PAUSE)


def _in_vain(words: str) -> InVain:
    return InVain(f"{words}. {IN_VAIN}")


def _named(how: How) -> Mapping[str, Scalar]:
    """How it is restarted, as it is approved."""
    own: Mapping[RestartMethod, Mapping[str, Scalar]] = {
        RestartMethod.COMMAND: {"command": shlex.join(how.command)},
        RestartMethod.SYSTEMD: {"unit": how.unit, "grace": how.grace},
        RestartMethod.CRI: {"container": how.container, "grace": how.grace},
    }
    return {"method": str(how.method), **own[how.method]}


def _words(named: Mapping[str, Scalar]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items())


def way(apiservers: Apiservers, target: Target) -> How:
    """How it is restarted. Raises `NotConfigured` where the configuration does not say so."""
    found = apiservers.instance(target.name).restart
    if found is None:
        raise NotConfigured(f"clusters.{target.cluster}.apiservers does not say how {target.name} is restarted")
    return found.how
