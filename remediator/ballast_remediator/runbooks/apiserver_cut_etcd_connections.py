"""apiserver-cut-etcd-connections: an apiserver whose channels to etcd are stalled gets new ones, without a restart.

See docs/runbooks/apiserver-cut-etcd-connections.md.

Cut is exactly what was seen at the claim: the established connections of that one process to the etcd endpoints that
it was started with. So a second cut, after a crash in the middle, finds what is left of them and no other.
"""

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Self
from urllib.parse import urlsplit

from ballast_remediator.apiservers import Apiservers
from ballast_remediator.config import Config, CutSettings
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
    Step,
    StepContext,
    StepFailed,
    StepSpec,
    Succession,
    Target,
    WorldGuard,
)
from ballast_remediator.guards.connections_can_be_cut import connections_can_be_cut
from ballast_remediator.guards.process_is_known import process_is_known
from ballast_remediator.runbooks import apiserver_path, apiserver_recovery, control_plane
from ballast_remediator.runbooks.apiserver_path import World, both_cures, expect_all, on_state, state_guards
from ballast_remediator.runbooks.apiserver_recovery import recovered, witnessed
from ballast_remediator.runbooks.control_plane import CONTROL_PLANE
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.errors import ClientError, Conflict, Denied
from kube_ballast.clients.hosts import Busy, Process

LEFT = "Nothing was cut by this attempt"


class CutEtcdConnections:
    """The runbook. See the module for what it does and docs/runbooks for why."""

    name = apiserver_path.CUT
    target_label = "apiserver"
    sources = (apiserver_path, apiserver_recovery, control_plane)
    permissions = Permissions(
        etcd=("read: one key that nobody has, /registry/ballast-canary",),
        kubernetes=("get /readyz", "get /metrics"),
        hosts=(
            "root on the apiserver's host: /proc of all processes, to find the apiserver's",
            "root on the apiserver's host: ss -K on that process' connections to etcd",
        ),
        prometheus=("query",),
    )
    reversibility = Reversibility.COSTLY
    undo = (
        "There is none: a connection that was cut is gone, and the apiserver has made new ones by itself. Writes that "
        "were on their way ended with an error, and may have taken effect all the same."
    )
    locks = (CONTROL_PLANE,)

    @classmethod
    def configured(cls, connections: Connections, config: Config) -> Self:
        """As the configuration file wants it."""
        return cls(connections.apiservers, config.runbooks.cut, evidence_valid=config.engine.evidence_valid)

    def __init__(
        self, apiservers: Callable[[str], Apiservers], settings: CutSettings, *, evidence_valid: float
    ) -> None:
        self._apiservers = apiservers
        self._settings = settings
        self._evidence_valid = evidence_valid
        self.steps: Mapping[str, Step] = MappingProxyType({"cut": Cut(apiservers)})
        self.guards: tuple[WorldGuard[World], ...] = (
            *(on_state(guard) for guard in state_guards),
            on_state(process_is_known),
            on_state(connections_can_be_cut),
        )

    def knows(self, target: Target) -> bool:
        try:
            return target.name in self._apiservers(target.cluster).names
        except NotConfigured:
            return False

    def observe(self, alert: Alert, target: Target) -> World:
        return apiserver_path.observe(self._apiservers(target.cluster), alert, target, self._evidence_valid)

    def plan(self, world: World) -> Plan | NothingToDo:
        state = world.state
        name = state.target
        if state.verdict(name) == Verdict.OK:
            return NothingToDo(f"{name} is ok: its writes, reads and watches work")
        if state.connections == 0:
            return NothingToDo(f"{name} holds no connection to {', '.join(world.endpoints)}: there is nothing to cut")
        told = state.told.get(name, ())
        process = "" if world.process is None else world.process.text
        return Plan(
            summary=f"cut the connections of {name} to its etcd, so that it makes new ones",
            because=(
                f"{name} is {state.words(name)}: {'; '.join(told[0].reasons) if told else 'no exporter tells why'}",
                f"ok meanwhile: {', '.join(state.others(Verdict.OK)) or 'no other apiserver'}",
                f"process {state.process} holds {state.connections} connections to {', '.join(world.endpoints)}",
                "requests that are on their way end with an error; caches and watches go on without a relist",
            ),
            steps=(
                StepSpec(
                    "cut",
                    name,
                    f"cut exactly the connections of the process of {name} to its etcd that were seen",
                    {
                        "process": process,
                        "connections": json.dumps(world.connections),
                    },
                ),
            ),
            limits={"apiservers": 1, "process": process},
            floors={"rest_seconds": self._settings.rest},
            disturbs=(str(urlsplit(f"https://{name}").hostname),),
            succession=Succession(
                after=both_cures(world.cluster, state.names), rest=self._settings.rest, since=world.since
            ),
        )

    def verify(self, context: StepContext) -> Done:
        apiservers, facts, began = self._apiservers(context.target.cluster), context.facts("cut"), context.now()

        def lasting(words: str) -> StepFailed:
            if not facts.get("cut"):
                return StepFailed(
                    f"{words}. As far as is known nothing was cut by this run. A person has to look there"
                )
            cut = frozenset(json.loads(str(facts["connections"])))
            return InVain(f"{words}. {_lasting(apiservers, context.target.name, cut)}")

        return recovered(apiservers, context, self._settings, began=began, facts=facts, lasting=lasting)


class Cut:
    """Cuts what ``spec.params`` name, if it is still there and still that process'.

    Records ``connections``, and where it acted in ``cut`` how many of them it cut.
    """

    def __init__(self, apiservers: Callable[[str], Apiservers]) -> None:
        self._apiservers = apiservers

    def observe(self, spec: StepSpec, context: StepContext) -> Observed:
        """By the evidence alone: what was cut before is not there to be cut again, so acting twice does no harm."""
        state = self._apiservers(context.target.cluster).state(spec.target)
        facts = {"connections": spec.params["connections"], **witnessed(state)}
        if not state.told.get(spec.target):
            return Observed(Progress.UNKNOWN, f"no fresh evidence on {spec.target}{state.silence}")
        if state.verdict(spec.target) == Verdict.OK:
            return Observed(Progress.DONE, f"{spec.target} is ok", facts)
        return Observed(Progress.NOT_DONE, f"{spec.target} is {state.words(spec.target)}")

    def act(self, spec: StepSpec, context: StepContext) -> Done:
        """Where it fails after some were cut, that is raised as it is: what helped is told by the evidence."""
        apiservers = self._apiservers(context.target.cluster)
        state = expect_all(apiservers, context, left=LEFT)
        process = Process.parsed(str(spec.params["process"]))
        seen = tuple(json.loads(str(spec.params["connections"])))
        context.go_on()
        try:
            sight = apiservers.hosts.cut(apiservers.where(spec.target), process, seen)
        except Busy:
            raise  # what was begun before is under way: that is looked at first
        except (Conflict, Denied) as error:
            raise StepFailed(f"{error}. {LEFT}") from error
        context.note(f"Ansible said: {sight.stdout}")
        gone = len(seen) - len(sight.connections)
        return Done(
            f"cut {len(sight.connections)} of the {len(seen)} connections that process {process.pid} had to "
            f"{', '.join(sight.endpoints)}; {gone} were gone already",
            {"connections": spec.params["connections"], "cut": len(sight.connections), **witnessed(state)},
        )


def _lasting(apiservers: Apiservers, name: str, cut: frozenset[str]) -> str:
    """Why a cut did not help, by what is on its host now."""
    try:
        now = apiservers.seen(name)
    except ClientError as error:
        return f"What it does on its host is not seen: {error}"
    fresh = [one for one in now.connections if one not in cut]
    if fresh:
        return (
            f"It has made {len(fresh)} new connections to {', '.join(now.endpoints)} since, and they stall as well: "
            "what lies between it and etcd is sick, and another cut would not help. A person has to look there"
        )
    return f"It makes no new connections to {', '.join(now.endpoints)}: look at its log, and at the way there"
