import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from ballast_remediator.config import CutSettings, RestartSettings
from ballast_remediator.config_apiservers import RestartConfig
from ballast_remediator.connections import Connections
from ballast_remediator.contract import (
    InVain,
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
from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Timeout, Unavailable
from kube_ballast.clients.hosts import Busy, CannotCut, HostFailed, Process, ProcessGone, RestartMethod
from tests.remediator.guards import planes
from tests.remediator.runbooks.context import Lent
from tests.remediator.runbooks.curing import BEFORE, LATER, OTHER, SICK, URL, WELL, Given, alert, target

CUT, RESTART = "apiserver-cut-etcd-connections", "apiserver-restart"
BUSY = Busy("cp-1", f"somebody acts on {SICK} on its host already, and has not ended")
UNIT = {"restart": {"unit": "kube-apiserver.service"}}


def book(apiservers: Given, **settings: Any) -> ApiserverRestart:
    quick = {"canary_within": "20ms", "ready_within": "20ms", "settle_within": "20ms", **settings}
    return ApiserverRestart(lambda _cluster: apiservers, RestartSettings.model_validate(quick), evidence_valid=30.0)


def given(verdicts: dict[str, str] | None = None) -> Given:
    return Given(verdicts, **UNIT)


def cannot_cut(_apiserver: object) -> Any:
    raise CannotCut("cp-1", "the kernel does not cut connections")


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
    how = {"process": "4711 100 boot", "method": "systemd", "unit": "kube-apiserver.service", "grace": 5}
    assert (step.kind, step.target, step.params) == ("restart", SICK, how)
    assert plan.limits == {"apiservers": 1, "process": "4711 100 boot", "method": "systemd", "unit": how["unit"]}
    assert plan.floors == {"rest_seconds": 300.0, "grace_seconds": 5}, "to wait less for SIGTERM would be harsher"
    assert "grace_seconds" not in planned(Given(restart={"command": ["restart"]})).floors


def test_what_is_approved_is_for_that_process_and_that_way() -> None:
    apiservers = given()
    plans = [planned(apiservers), planned(apiservers)]
    ways = (
        {"unit": "other.service"},
        {"container": "a"},
        {"container": "b"},
        {"container": "b", "grace": 6},
        {"unit": "other.service", "grace": 6},
        {"command": ["a"]},
        {"command": ["a", "b"]},
    )
    plans += [planned(Given(restart=way)) for way in ways]
    apiservers.host.process = LATER
    plans.append(planned(apiservers))
    hashes = {plan.hash(target=target(RESTART), runbook_digest="d", policy_rule={}) for plan in plans}
    assert len(hashes) == len(plans) - 1


def test_another_way_than_the_approved_one_is_not_gone() -> None:
    step = step_of(given())
    apiservers = Given(restart={"command": ["/usr/local/bin/restart", "all of it"]})
    with pytest.raises(StepFailed) as caught:
        book(apiservers).steps["restart"].act(step, lent())
    assert str(caught.value) == (
        "how it is restarted was method systemd, unit kube-apiserver.service, grace 5, and is method command, command "
        "/usr/local/bin/restart 'all of it' now. It was not restarted by this attempt"
    )
    assert apiservers.host.done == []


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
    vars(apiservers.host)["connections"] = cannot_cut
    assert planned(apiservers).succession.follows is None
    answers = [guard(world(apiservers)) for guard in book(apiservers).guards]
    assert [(one.guard, one.verdict) for one in answers if one.verdict is not Verdict.ALLOW] == [
        ("gentler_cure_was_possible", Verdict.ASK)
    ]


def test_an_etcd_that_nobody_knows_keeps_it_from_a_restart_also_where_nothing_can_be_cut() -> None:
    apiservers = Given(etcd=[], **UNIT)
    vars(apiservers.host)["connections"] = cannot_cut
    answers = [guard(world(apiservers)) for guard in book(apiservers).guards]
    assert [one.guard for one in answers if one.verdict is Verdict.REFUSE] == ["its_etcd_answers"]


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (Conflict("cp-1", "unit a.service runs process 1, and the apiserver is 4711: nothing was done"), False),
        (BadResponse("cp-1", "the module's answer names no process"), False),
        (HostFailed("cp-1", "crictl ps ended with 1: context deadline exceeded"), True),
    ],
)
def test_a_restart_that_could_not_be_is_refused_before_anybody_is_asked(error: ClientError, *, passing: bool) -> None:
    apiservers = given()
    apiservers.host.cannot_restart = error
    answers = [guard(world(apiservers)) for guard in book(apiservers).guards]
    [refusal] = [one for one in answers if one.verdict is Verdict.REFUSE]
    assert (refusal.guard, refusal.passing) == ("process_is_known", passing)
    assert refusal.reason == f"the process of {SICK} is not known: {error}"
    assert apiservers.host.done == []


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
    done = book(apiservers).steps["restart"].act(step_of(apiservers), lent())
    assert done.facts == {"process": BEFORE.text, "exporters": json.dumps([URL])}
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
    apiservers.host.process = BUSY
    seen = restart.observe(step, lent())
    assert (seen.progress, seen.words) == (Progress.UNKNOWN, f"cp-1: {BUSY.message}")
    apiservers.host.process = LATER
    seen = restart.observe(step, lent())
    assert (seen.progress, seen.words) == (Progress.DONE, f"process 4712 serves {SICK}, and no longer 4711")
    assert seen.facts == {"process": BEFORE.text}


@pytest.mark.parametrize(
    "error",
    [
        Timeout("cp-1", "no end within 30 s; it is unknown what took effect"),
        BUSY,
        ProcessGone("cp-1", "the apiserver is process 4712 now and was 4711: it was restarted meanwhile"),
        ProcessGone("cp-1", f"nobody listens on {SICK} in the host's network"),
    ],
)
def test_an_outcome_that_is_unknown_is_left_to_the_engine(error: ClientError) -> None:
    apiservers = given()
    step = step_of(apiservers)
    apiservers.host.refuses = error
    with pytest.raises(type(error)):
        book(apiservers).steps["restart"].act(step, lent())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Conflict("cp-1", "unit a.service runs process 1"), f"{SICK} was not restarted: cp-1: unit a.service runs"),
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


def verified(apiservers: Given, **settings: Any) -> str:
    context = Lent(target=target(RESTART), known={"restart": {"process": BEFORE.text}})
    return book(apiservers, **settings).verify(context).words


def test_it_is_well_once_another_process_serves() -> None:
    apiservers = given({SICK: planes.OK})
    looks: list[Process | ClientError] = [
        Conflict("cp-1", f"nobody listens on {SICK}"),
        BUSY,
        Unavailable("cp-1", "the host is not reached by ssh"),
        BEFORE,
        LATER,
    ]

    def look(_apiserver: object) -> Process:
        now = looks.pop(0)
        if isinstance(now, ClientError):
            raise now
        return now

    vars(apiservers.host)["look"] = look
    assert f"{SICK} is ok again" in verified(apiservers, ready_within="5s", canary_within="2s", settle_within="2s")
    assert looks == []


@pytest.mark.parametrize(
    ("serves", "words"),
    [
        (BEFORE, "process 4711 serves it as before: it was not restarted. Look at what restarts it"),
        (Conflict("cp-1", "nobody listens there"), "no process is seen to serve it: cp-1: nobody listens there"),
    ],
)
def test_a_restart_after_which_no_other_process_serves_has_failed(serves: Any, words: str) -> None:
    apiservers = given({SICK: planes.OK})
    apiservers.host.process = serves
    with pytest.raises(StepFailed) as caught:
        verified(apiservers, canary_within="2s", settle_within="2s")
    assert str(caught.value) == f"20 ms after the restart of {SICK}, {words}"


def test_in_a_lasting_fault_it_says_that_it_cannot_help() -> None:
    apiservers = given()
    apiservers.host.process = LATER
    with pytest.raises(InVain) as caught:
        verified(apiservers)
    assert str(caught.value).startswith(f"20 ms later {SICK} is still channel_stalled (")
    assert str(caught.value).endswith(
        "Neither new connections nor a new process helped: what lies between it and etcd is sick, and another restart "
        "would not help. A person has to look there"
    )


def test_no_playbook_touches_a_manifest() -> None:
    playbooks = Path(__file__).resolve().parents[3] / "lib/kube_ballast/clients/hosts/playbooks"
    forbidden = {
        ".yml": ("manifest", "shell"),
        ".py": ("/manifests", "shell=True", "os.system", "rename", "shutil.move"),
    }
    files = [file for file in playbooks.rglob("*") if file.suffix in forbidden]
    assert {file.suffix for file in files} == set(forbidden)
    for file in files:
        content = "\n".join(line for line in file.read_text().splitlines() if not line.lstrip().startswith("#"))
        assert not [word for word in forbidden[file.suffix] if word in content], file
