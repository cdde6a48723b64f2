import json
import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from ballast_remediator.apiservers import Evidence
from ballast_remediator.config import CutSettings
from ballast_remediator.contract import (
    InVain,
    NotConfigured,
    NothingToDo,
    Plan,
    Progress,
    Scalar,
    StepFailed,
    StepSpec,
    Succession,
    Target,
    Verdict,
)
from ballast_remediator.runbooks import apiserver_recovery
from ballast_remediator.runbooks.apiserver_cut_etcd_connections import CutEtcdConnections
from ballast_remediator.runbooks.apiserver_path import World
from kube_ballast.analysis.control_plane import Load
from kube_ballast.clients.errors import BadResponse, ClientError, Conflict, Denied, Timeout, Unavailable
from kube_ballast.clients.hosts import Busy, CannotCut, HostFailed, ProcessGone
from tests.remediator.guards import planes
from tests.remediator.runbooks.context import Lent
from tests.remediator.runbooks.curing import BEFORE, LATER, LINES, MIB, OTHER, SICK, URL, WELL, Given, alert, target

CUT, RESTART = "apiserver-cut-etcd-connections", "apiserver-restart"
QUICK = {"canary_within": "20ms", "ready_within": "20ms", "settle_within": "20ms"}


def book(apiservers: Given, **settings: Any) -> CutEtcdConnections:
    wanted = CutSettings.model_validate({**QUICK, **settings})
    return CutEtcdConnections(lambda _cluster: apiservers, wanted, evidence_valid=30.0)


def world(apiservers: Given) -> World:
    return book(apiservers).observe(alert(), target(CUT))


def planned(apiservers: Given) -> Plan:
    plan = book(apiservers).plan(world(apiservers))
    assert isinstance(plan, Plan)
    return plan


def step_of(apiservers: Given) -> StepSpec:
    [step] = planned(apiservers).steps
    return step


def lent(**known: Any) -> Lent:
    return Lent(target=target(CUT), known=known)


def refusals(apiservers: Given) -> list[str]:
    seen = world(apiservers)
    return [answer.guard for guard in book(apiservers).guards if (answer := guard(seen)).verdict is Verdict.REFUSE]


def test_the_plan_says_what_is_cut_and_why() -> None:
    apiservers = Given()
    plan = planned(apiservers)
    assert plan.summary == f"cut the connections of {SICK} to its etcd, so that it makes new ones"
    assert plan.because == (
        f"{SICK} is channel_stalled: ping is answered, etcd is not reached for leases, pods",
        f"ok meanwhile: {WELL}, {OTHER}",
        "process 4711 holds 2 connections to 10.0.0.1:2379",
        "requests that are on their way end with an error; caches and watches go on without a relist",
    )
    [step] = plan.steps
    assert (step.kind, step.target) == ("cut", SICK)
    assert step.params == {"process": "4711 100 boot", "connections": json.dumps(LINES)}
    assert plan.limits == {"apiservers": 1, "process": "4711 100 boot"}
    assert plan.disturbs == ("10.0.0.1",)
    assert plan.succession == Succession(
        after=tuple(Target("here", each, name) for each in (CUT, RESTART) for name in planes.NAMES),
        rest=300.0,
        since=500.0,
    )
    assert apiservers.host.done == [], "nothing is done by looking"
    assert Plan.parsed(json.loads(json.dumps(asdict(plan)))) == plan


def test_the_same_world_gives_the_same_plan_and_its_hash_covers_no_measurement() -> None:
    apiservers = Given()
    first = planned(apiservers)
    apiservers.host.lines = ("10.0.0.1:50009 10.0.0.1:2379",)
    second = planned(apiservers)
    hashes = {
        plan.hash(target=target(CUT), runbook_digest="d", policy_rule={})
        for plan in (first, second, planned(apiservers))
    }
    assert len(hashes) == 1


def test_what_is_approved_for_one_process_is_not_for_another() -> None:
    apiservers = Given()
    plans = [planned(apiservers)]
    apiservers.host.process = LATER
    plans.append(planned(apiservers))
    assert len({plan.hash(target=target(CUT), runbook_digest="d", policy_rule={}) for plan in plans}) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdicts": {SICK: planes.OK}}, f"{SICK} is ok: its writes, reads and watches work"),
        ({"lines": ()}, f"{SICK} holds no connection to 10.0.0.1:2379: there is nothing to cut"),
    ],
)
def test_nothing_to_do(change: dict[str, Any], words: str) -> None:
    apiservers = Given(change.get("verdicts"))
    apiservers.host.lines = change.get("lines", LINES)
    assert book(apiservers).plan(world(apiservers)) == NothingToDo(words)


def test_a_world_in_which_nothing_stands_in_the_way() -> None:
    assert refusals(Given()) == []


def test_an_exporter_that_vouches_for_nothing() -> None:
    apiservers = Given()
    apiservers.verdicts.clear()
    assert refusals(apiservers) == ["channel_is_stalled", "another_apiserver_is_ok"]


def test_each_refusal_alone() -> None:
    assert refusals(Given({SICK: planes.UNKNOWN})) == ["channel_is_stalled"]
    assert refusals(Given({WELL: planes.UNKNOWN, OTHER: "down"})) == ["another_apiserver_is_ok"]
    assert refusals(Given(dict.fromkeys(planes.NAMES, planes.STALLED))) == ["another_apiserver_is_ok"]
    for changes, guard in (
        ({"problem": "refused"}, "its_etcd_answers"),
        ({"defragmenting": True}, "no_member_defragments"),
    ):
        apiservers = Given()
        apiservers.etcd = planes.members(**changes)
        assert refusals(apiservers) == [guard]


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (Unavailable("cp-1", "the host is not reached by ssh"), True),
        (Timeout("cp-1", "no end within 30 s"), True),
        (Busy("cp-1", "somebody acts on 10.0.0.1:6443 on its host already"), True),
        (ProcessGone("cp-1", "it changed meanwhile: No such process"), True),
        (HostFailed("cp-1", "the host does not do what it is asked: Too many open files"), True),
        (Denied("cp-1", "sudo does not make us root there"), False),
        (Conflict("cp-1", "process 1 listens there and is etcd, not kube-apiserver"), False),
    ],
)
def test_a_host_that_cannot_be_looked_at(error: Any, *, passing: bool) -> None:
    apiservers = Given()
    apiservers.host.process = error
    assert refusals(apiservers) == ["process_is_known"]
    answers = [guard(world(apiservers)) for guard in book(apiservers).guards]
    assert [one.passing for one in answers if one.verdict is Verdict.REFUSE] == [passing]


def test_an_apiserver_that_uses_an_etcd_that_nobody_knows() -> None:
    """Its host tells it; before the cut the process has to be the same."""
    assert refusals(Given(etcd=[])) == ["its_etcd_answers"]
    assert refusals(Given()) == []


def test_a_kernel_that_cannot() -> None:
    apiservers = Given()

    def cannot(_apiserver: object) -> Any:
        raise CannotCut("cp-1", "the kernel does not cut connections")

    vars(apiservers.host)["connections"] = cannot
    assert refusals(apiservers) == ["connections_can_be_cut"]


def test_evidence_is_acted_on_no_longer_than_the_exporter_vouches_for_it() -> None:
    assert world(Given()).valid_until <= time.monotonic() + 5.0


def test_only_configured_apiservers_are_known() -> None:
    runbook = book(Given())
    assert runbook.knows(target(CUT))
    assert not runbook.knows(replace(target(CUT), name="10.9.9.9:6443"))
    with pytest.raises(NotConfigured, match=r"clusters\.here\.apiservers has no '10.9.9.9:6443'"):
        runbook.observe(alert(), replace(target(CUT), name="10.9.9.9:6443"))


# --- The step ---


def test_it_cuts_what_the_plan_names_and_no_other() -> None:
    apiservers = Given()
    step = step_of(apiservers)
    apiservers.host.lines = (*LINES, "10.0.0.1:50003 10.0.0.1:2379")
    context = lent()
    done = book(apiservers).steps["cut"].act(step, context)
    assert done.facts["exporters"] == json.dumps([URL])
    assert apiservers.host.done == [("cut", "10.0.0.1", BEFORE, LINES)]
    assert done.words == ("cut 2 of the 2 connections that process 4711 had to 10.0.0.1:2379; 0 were gone already")
    assert context.notes == ["Ansible said: changed: [10.0.0.1]"]
    assert apiservers.host.lines == ("10.0.0.1:50003 10.0.0.1:2379",)


def test_a_crash_after_the_cut_cuts_nothing_anew() -> None:
    apiservers = Given()
    step = step_of(apiservers)
    cut = book(apiservers).steps["cut"]
    cut.act(step, lent())
    fresh = ("10.0.0.1:50008 10.0.0.1:2379",)
    apiservers.host.lines = fresh
    assert cut.observe(step, lent()).progress is Progress.NOT_DONE, "it has not become well, whatever was done"
    assert cut.act(step, lent()).words.startswith("cut 0 of the 2 connections")
    assert apiservers.host.lines == fresh
    apiservers.heals()
    seen = cut.observe(step, lent())
    facts = {"connections": json.dumps(LINES), "exporters": json.dumps([URL])}
    assert (seen.progress, seen.facts) == (Progress.DONE, facts)


def test_without_evidence_it_is_not_known_whether_it_is_done() -> None:
    apiservers = Given()
    step = step_of(apiservers)
    del apiservers.verdicts[SICK]
    assert book(apiservers).steps["cut"].observe(step, lent()).progress is Progress.UNKNOWN


@pytest.mark.parametrize(
    "change",
    [
        {"verdicts": dict.fromkeys(planes.NAMES, planes.STALLED)},
        {"etcd": planes.members(used=False)},
    ],
)
def test_the_guards_are_asked_again_right_before_the_cut(change: dict[str, Any]) -> None:
    apiservers = Given()
    step = step_of(apiservers)
    vars(apiservers).update(change)
    with pytest.raises(StepFailed, match=r"Nothing was cut by this attempt$"):
        book(apiservers).steps["cut"].act(step, lent())
    assert apiservers.host.done == []


@pytest.mark.parametrize("error", [Conflict("cp-1", "process id 4711 was used again"), Denied("cp-1", "sudo says no")])
def test_a_host_that_refuses_ends_the_run(error: Any) -> None:
    apiservers = Given()
    step = step_of(apiservers)
    apiservers.host.refuses = error
    with pytest.raises(StepFailed, match=r"^cp-1: .*\. Nothing was cut by this attempt$"):
        book(apiservers).steps["cut"].act(step, lent())


@pytest.mark.parametrize(
    "error",
    [
        Timeout("cp-1", "no end within 30 s; it is unknown what took effect"),
        Busy("cp-1", "somebody acts on 10.0.0.1:6443 on its host already, and has not ended"),
        BadResponse("cp-1", "after 39 of 65 were cut: ss -K: exit code 1"),
    ],
)
def test_an_outcome_that_is_unknown_is_left_to_the_engine(error: ClientError) -> None:
    apiservers = Given()
    step = step_of(apiservers)
    apiservers.host.refuses = error
    with pytest.raises(type(error)):
        book(apiservers).steps["cut"].act(step, lent())


# --- Afterwards ---

DONE: dict[str, dict[str, Scalar]] = {"cut": {"connections": json.dumps(LINES), "cut": 2}}


def verified(apiservers: Given, **settings: Any) -> str:
    return book(apiservers, **settings).verify(Lent(target=target(CUT), known=DONE)).words


def failed(apiservers: Given, *, in_vain: bool = True, **settings: Any) -> str:
    with pytest.raises(StepFailed) as caught:
        verified(apiservers, **settings)
    assert isinstance(caught.value, InVain) is in_vain
    return str(caught.value)


def test_all_is_well_afterwards() -> None:
    words = verified(Given({SICK: planes.OK}), canary_within="1s", settle_within="1s")
    assert words.startswith(f"{SICK} is ok again, by evidence ")
    assert words.endswith(
        f"after the act, and ready; the others have settled: {WELL} with 5 requests and 300.0 MiB, "
        f"{OTHER} with 5 requests and 300.0 MiB"
    )


def test_where_new_connections_stall_as_well() -> None:
    apiservers = Given()
    apiservers.host.lines = ("10.0.0.1:50008 10.0.0.1:2379", "10.0.0.1:50009 10.0.0.1:2379")
    assert failed(apiservers) == (
        f"20 ms later {SICK} is still channel_stalled (ping is answered, etcd is not reached for leases, pods). It has "
        "made 2 new connections to 10.0.0.1:2379 since, and they stall as well: what lies between it and etcd is sick, "
        "and another cut would not help. A person has to look there"
    )
    assert apiservers.host.done == [], "without a second attempt"


@pytest.mark.parametrize("facts", [{}, {"cut": 0}])
def test_a_run_that_cut_nothing_was_not_in_vain(monkeypatch: pytest.MonkeyPatch, facts: dict[str, int]) -> None:
    """Such as one whose connections were gone, or that found the apiserver ok: no restart may follow it."""
    monkeypatch.setitem(DONE, "cut", {"connections": json.dumps(LINES), **facts})
    words = failed(Given(), in_vain=False)
    assert words.startswith(f"20 ms later {SICK} is still channel_stalled (")
    assert words.endswith("). As far as is known nothing was cut by this run. A person has to look there")


def test_where_no_new_connections_are_made() -> None:
    apiservers = Given()
    apiservers.host.lines = LINES
    assert "It makes no new connections to 10.0.0.1:2379: look at its log" in failed(apiservers)
    apiservers.host.process = Unavailable("cp-1", "the host is not reached by ssh")
    assert failed(apiservers).endswith("What it does on its host is not seen: cp-1: the host is not reached by ssh")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apiserver_recovery, "MORE", 0.1)


@pytest.mark.usefixtures("impatient")
def test_what_was_observed_before_the_end_of_the_act_proves_nothing() -> None:
    apiservers = Given({SICK: planes.OK})
    apiservers.goes_on = False
    assert failed(apiservers, in_vain=False) == f"120 ms later {SICK} is ok, but not yet for 3.0 s"


def test_what_is_ok_in_time_may_take_a_little_longer_to_last() -> None:
    apiservers = Given({SICK: planes.OK})
    first = apiservers.at + 1
    verified(apiservers, canary_within="20ms", settle_within="1s")
    assert apiservers.at == first + 3


@pytest.mark.usefixtures("impatient")
def test_a_cut_is_in_vain_only_where_the_stall_is_seen_to_go_on() -> None:
    """A restart may follow one that was; what is something else, or is not seen, a person has to look at."""
    apiservers = Given({SICK: planes.UNKNOWN})
    assert failed(apiservers, in_vain=False) == f"120 ms later {SICK} is unknown ({planes.REASON})"
    del apiservers.verdicts[SICK]
    assert failed(apiservers, in_vain=False) == f"120 ms later {SICK} is without fresh evidence"
    apiservers = Given({SICK: planes.UNKNOWN})
    apiservers.others = {"http://other:9790": (planes.finding(SICK, planes.STALLED),)}
    assert f"{SICK} is still channel_stalled" in failed(apiservers)


class Blinking(Given):
    """Says of the sick one what it is given, one after the other, and the last for good."""

    says: tuple[str, ...] = (planes.OK,)

    def evidence(self) -> Evidence:
        self.verdicts[SICK] = self.says[0]
        self.says = self.says[1:] or self.says
        return super().evidence()


def test_what_is_not_stalled_in_time_may_take_longer_to_be_ok() -> None:
    """A probe that failed during the stall holds the ok back for a while."""
    for verdict in (planes.UNKNOWN, "etcd_slow"):
        apiservers = Blinking()
        apiservers.says = (*[verdict] * 8, planes.OK)
        assert f"{SICK} is ok again" in verified(apiservers, canary_within="20ms", settle_within="1s")


def test_a_stall_that_is_seen_again_while_more_is_waited_for_is_one() -> None:
    apiservers = Blinking()
    apiservers.says = (planes.UNKNOWN, planes.UNKNOWN, planes.STALLED)
    assert f"{SICK} is still channel_stalled" in failed(apiservers)


def test_one_ok_between_two_failures_proves_nothing() -> None:
    apiservers = Blinking()
    apiservers.says = (planes.STALLED, planes.OK) * 40
    assert f"{SICK} is " in failed(apiservers, canary_within="300ms")
    apiservers.says = (planes.STALLED, planes.OK, planes.STALLED, planes.OK)
    asked_at = apiservers.at
    verified(apiservers, canary_within="2s")
    assert apiservers.at == asked_at + 4 + 3


def test_every_exporter_that_tells_has_to_say_so() -> None:
    apiservers = Given({SICK: planes.OK})
    apiservers.others = {"http://other:9790": (planes.finding(SICK, planes.STALLED),)}
    assert f"{SICK} is still channel_stalled" in failed(apiservers)


def test_an_exporter_that_told_before_and_is_silent_is_named() -> None:
    apiservers = Given({SICK: planes.OK})
    known = {"cut": {**DONE["cut"], "exporters": json.dumps([URL, "http://gone:9790"])}}
    context = Lent(target=target(CUT), known=known)
    words = book(apiservers, canary_within="1s", settle_within="1s").verify(context).words
    assert " after the act (silent since: http://gone:9790), and ready; " in words
    assert context.notes[0].endswith(" after the act (silent since: http://gone:9790)")


def test_it_is_not_ready() -> None:
    apiservers = Given({SICK: planes.OK})
    apiservers.not_ready = Unavailable(f"https://{SICK}", "500")
    assert failed(apiservers, in_vain=False, canary_within="1s").startswith(
        "its writes work again, but it is not ready, and was not for"
    )


def test_the_others_do_not_settle() -> None:
    apiservers = Given({SICK: planes.OK})
    apiservers.loads[WELL] = [Load(5.0, 300.0 * MIB * 2**n) for n in range(60)]
    words = failed(apiservers, in_vain=False, canary_within="1s", settle_within="100ms")
    assert words.startswith(
        f"{SICK} is ok again, but the others did not settle within 100 ms: {WELL}: its memory grows"
    )


def test_what_an_apiserver_carries_goes_up_and_down() -> None:
    apiservers = Given({SICK: planes.OK})
    apiservers.loads[WELL] = [Load(5.0, 300 * MIB), Load(40.0, 900 * MIB), Load(45.0, 910 * MIB)]
    assert f"{WELL} with 45 requests and 910.0 MiB" in verified(apiservers, canary_within="1s", settle_within="5s")
