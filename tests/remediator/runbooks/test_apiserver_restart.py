import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from ballast_remediator.config import CutSettings, RestartSettings
from ballast_remediator.config_apiservers import RestartConfig
from ballast_remediator.connections import Connections
from ballast_remediator.contract import (
    NotConfigured,
    NothingToDo,
    Plan,
    Progress,
    StepFailed,
    StepSpec,
    Succession,
    Target,
    Verdict,
)
from ballast_remediator.runbooks.apiserver_cut_etcd_connections import CutEtcdConnections
from ballast_remediator.runbooks.apiserver_path import World
from ballast_remediator.runbooks.apiserver_restart import ApiserverRestart
from kube_ballast.clients.errors import BadResponse, Conflict, Timeout
from kube_ballast.clients.hosts import CannotCut, RestartMethod
from tests.remediator.guards import planes
from tests.remediator.runbooks.context import Lent
from tests.remediator.runbooks.curing import BEFORE, LATER, OTHER, SICK, WELL, Given, alert, target

CUT, RESTART = "apiserver-cut-etcd-connections", "apiserver-restart"
UNIT = {"restart": {"unit": "kube-apiserver.service"}}


def book(apiservers: Given, **settings: Any) -> ApiserverRestart:
    quick = {"canary_within": "20ms", "ready_within": "20ms", "settle_within": "20ms", **settings}
    return ApiserverRestart(lambda _cluster: apiservers, RestartSettings.model_validate(quick), evidence_valid=30.0)


def given(verdicts: dict[str, str] | None = None) -> Given:
    return Given(verdicts, **UNIT)


def world(apiservers: Given) -> World:
    return book(apiservers).observe(alert(), target(RESTART))


def planned(apiservers: Given) -> Plan:
    plan = book(apiservers).plan(world(apiservers))
    assert isinstance(plan, Plan)
    return plan


def step_of(apiservers: Given) -> StepSpec:
    [step] = planned(apiservers).steps
    return step


def lent() -> Lent:
    return Lent(target=target(RESTART))


def test_the_plan_says_how_and_what_it_costs() -> None:
    plan = planned(given())
    assert plan.summary == f"restart {SICK}, by systemd"
    assert plan.because == (
        f"{SICK} is channel_stalled: ping is answered, etcd is not reached for leases, pods",
        f"ok meanwhile, and taking over its clients: {WELL}, {OTHER}",
        "process 4711 is ended, with SIGKILL where SIGTERM does not do it in 5 s",
        "its watches are closed and its caches filled anew: clients list everything once more, from the others",
    )
    [step] = plan.steps
    assert (step.kind, step.target, step.params) == ("restart", SICK, {"process": "4711 100 boot"})
    assert plan.limits == {"apiservers": 1, "method": "systemd"}


def test_a_cut_in_vain_comes_first_and_the_ledger_is_asked_for_it() -> None:
    assert planned(given()).succession == Succession(
        after=tuple(Target("here", each, name) for each in (CUT, RESTART) for name in planes.NAMES),
        rest=300.0,
        follows=Target("here", CUT, SICK),
        within=1800.0,
        since=500.0,
    )


def test_where_nothing_can_be_cut_a_person_is_asked_instead() -> None:
    apiservers = given()

    def cannot(_apiserver: object) -> Any:
        raise CannotCut("cp-1", "the kernel does not cut connections")

    vars(apiservers.host)["connections"] = cannot
    assert planned(apiservers).succession.follows is None
    answers = [guard(world(apiservers)) for guard in book(apiservers).guards]
    assert [(one.guard, one.verdict) for one in answers if one.verdict is not Verdict.ALLOW] == [
        ("gentler_cure_was_possible", Verdict.ASK)
    ]


def test_a_world_that_was_recorded_gives_the_same_plan() -> None:
    seen = TypeAdapter(World)
    world_then = world(given())
    recorded = seen.validate_python(json.loads(json.dumps(seen.dump_python(world_then, mode="json"))))
    elsewhere = ApiserverRestart(Connections({}).apiservers, RestartSettings(), evidence_valid=30.0)
    assert elsewhere.plan(recorded) == elsewhere.plan(world_then) == planned(given())
    cut = CutEtcdConnections(Connections({}).apiservers, CutSettings(), evidence_valid=30.0)
    assert isinstance(cut.plan(recorded), Plan)


def test_one_that_is_ok_is_left_alone() -> None:
    apiservers = given({SICK: planes.OK})
    assert book(apiservers).plan(world(apiservers)) == NothingToDo(f"{SICK} is ok: its writes, reads and watches work")


def test_how_it_is_restarted_has_to_be_configured() -> None:
    with pytest.raises(NotConfigured, match=rf"does not say how {SICK} is restarted"):
        world(Given())


@pytest.mark.parametrize(
    ("wanted", "method"),
    [
        ({"command": ["/usr/local/bin/restart-apiserver", "now"]}, RestartMethod.COMMAND),
        ({"unit": "kube-apiserver.service"}, RestartMethod.SYSTEMD),
        ({"container": "kube-apiserver"}, RestartMethod.CRI),
    ],
)
def test_there_are_three_ways(wanted: dict[str, Any], method: RestartMethod) -> None:
    apiservers = Given(restart=wanted)
    book(apiservers).steps["restart"].act(step_of(apiservers), lent())
    assert apiservers.host.done == [("restart", "10.0.0.1", BEFORE, method)]


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"unit": "a.service", "container": "b"},
        {"unit": "a.service; reboot"},
        {"container": "$(id)"},
        {"command": ["{{ lookup }}"]},
        {"command": []},
    ],
)
def test_what_is_no_way(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        RestartConfig.model_validate(wanted)


def test_a_crash_at_any_point_is_answered_by_the_process_that_serves() -> None:
    apiservers = given()
    step = step_of(apiservers)
    restart = book(apiservers).steps["restart"]
    assert restart.observe(step, lent()).progress is Progress.NOT_DONE
    apiservers.host.process = Conflict("cp-1", "nobody listens on 10.0.0.1:6443")
    assert restart.observe(step, lent()).progress is Progress.UNKNOWN
    apiservers.host.process = LATER
    seen = restart.observe(step, lent())
    assert (seen.progress, seen.words) == (Progress.DONE, f"process 4712 serves {SICK}, and no longer 4711")


def test_an_outcome_that_is_unknown_is_left_to_the_engine() -> None:
    apiservers = given()
    step = step_of(apiservers)
    apiservers.host.refuses = Timeout("cp-1", "no end within 30 s; it is unknown what took effect")
    with pytest.raises(Timeout):
        book(apiservers).steps["restart"].act(step, lent())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Conflict("cp-1", "process id 4711 was used again"), f"{SICK} was not restarted: cp-1: process id 4711"),
        (BadResponse("cp-1", "task 'Start it' failed"), f"the restart of {SICK} by systemd failed: cp-1: task"),
    ],
)
def test_a_restart_that_fails_ends_the_run(error: Any, words: str) -> None:
    apiservers = given()
    step = step_of(apiservers)
    apiservers.host.refuses = error
    with pytest.raises(StepFailed) as caught:
        book(apiservers).steps["restart"].act(step, lent())
    assert str(caught.value).startswith(words)


def test_the_guards_are_asked_again_right_before() -> None:
    apiservers = given()
    step = step_of(apiservers)
    apiservers.verdicts = dict.fromkeys(planes.NAMES, planes.STALLED)
    with pytest.raises(StepFailed, match=r"^another_apiserver_is_ok: .*It was not restarted by this attempt$"):
        book(apiservers).steps["restart"].act(step, lent())
    assert apiservers.host.done == []


def test_in_a_lasting_fault_it_says_that_it_cannot_help() -> None:
    with pytest.raises(StepFailed) as caught:
        book(given()).verify(lent())
    assert str(caught.value).startswith(f"20 ms later {SICK} is still channel_stalled (")
    assert str(caught.value).endswith(
        "Neither new connections nor a new process helped: what lies between it and etcd is sick, and another restart "
        "would not help. A person has to look there"
    )


def test_no_playbook_touches_a_manifest() -> None:
    playbooks = Path(__file__).resolve().parents[3] / "lib/kube_ballast/clients/hosts/playbooks"
    for file in playbooks.glob("*.yml"):
        content = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert "manifest" not in content
        assert "shell" not in content
