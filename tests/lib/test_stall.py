"""The verdict on an apiserver: never a name without evidence."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube_ballast.analysis.stall import FAILURES, FAILURES_IN_DOUBT, Answer, Evidence, Measured, Member, Verdict, judge
from tools.stall_table import HANGS, HEALTHY, MUTE, ROWS, table

DOC = Path(__file__).resolve().parents[2] / "docs/grpc-stall.md"
UNNAMED = {Verdict.OK, Verdict.UNKNOWN}


@st.composite
def measured(draw: st.DrawFn) -> Measured:
    answer = draw(st.sampled_from(Answer))
    failures = 0 if answer is Answer.OK else draw(st.integers(1, 4))
    return Measured(answer, failures, draw(st.integers(0, 3)))


probes = st.none() | measured()
members = st.builds(Member, probes, probes, st.booleans(), st.booleans(), st.booleans(), st.booleans())
wild = st.builds(
    Evidence,
    probes,
    probes,
    probes,
    probes,
    st.dictionaries(st.sampled_from(("pods", "nodes", "secrets")), probes),
    st.dictionaries(st.sampled_from("abc"), members),
    st.none() | st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
    st.booleans(),
)
known = st.sampled_from([evidence for _, evidence in ROWS])


@st.composite
def crossed(draw: st.DrawFn) -> Evidence:
    """Each part from a row of the table or from anywhere: chance alone seldom gets far into the rules."""
    parts = known | wild
    return Evidence(
        draw(known).ping,
        draw(parts).readiness,
        draw(parts).canary,
        draw(parts).delivery,
        draw(parts).reads,
        {**draw(known).members, **draw(st.dictionaries(st.sampled_from("abc"), members))},
        draw(parts).others_write,
        draw(known).starting,
        draw(known).writes,
        draw(known).in_between,
        draw(known).unasked,
        draw(known).stalled,
    )


evidences = wild | crossed()


def poorer(evidence: Evidence) -> Iterator[Evidence]:
    """The same with one measurement missing."""
    yield replace(evidence, ping=None)
    yield replace(evidence, readiness=None)
    yield replace(evidence, canary=None)
    yield replace(evidence, delivery=None)
    yield replace(evidence, others_write=None)
    yield replace(evidence, unasked=2)
    for name in evidence.reads:
        yield replace(evidence, reads={**evidence.reads, name: None})
    for name, member in evidence.members.items():
        for changed in (replace(member, linearizable=None), replace(member, serializable=None)):
            yield replace(evidence, members={**evidence.members, name: changed})


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_a_missing_measurement_never_leads_to_another_name(evidence: Evidence) -> None:
    verdict = judge(evidence).verdict
    for less in poorer(evidence):
        assert judge(less).verdict in UNNAMED | {verdict}, less


def every(evidence: Evidence) -> list[Measured]:
    parts: list[Measured | None] = [evidence.ping, evidence.readiness, evidence.canary, evidence.delivery]
    parts += evidence.reads.values()
    parts += [each for member in evidence.members.values() for each in (member.linearizable, member.serializable)]
    return [part for part in parts if part is not None]


def is_well(probe: Measured | None) -> bool:
    """Or late, once."""
    return probe is not None and (probe.well or (probe.answer is Answer.SLOW and probe.failures < FAILURES))


def once(probe: Measured | None) -> Measured | None:
    return probe and replace(probe, failures=min(probe.failures, FAILURES - 1))


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_one_failure_of_each_probe_names_nobody(evidence: Evidence) -> None:
    few = replace(
        evidence,
        ping=once(evidence.ping),
        readiness=once(evidence.readiness),
        canary=once(evidence.canary),
        delivery=once(evidence.delivery),
        reads={name: once(probe) for name, probe in evidence.reads.items()},
        members={
            name: replace(each, linearizable=once(each.linearizable), serializable=once(each.serializable))
            for name, each in evidence.members.items()
        },
    )
    assert judge(few).verdict in UNNAMED


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_a_stalled_channel_is_named_only_when_it_answers_pings_and_every_member_it_uses_is_well(
    evidence: Evidence,
) -> None:
    judgement = judge(evidence)
    if judgement.verdict is Verdict.CHANNEL_STALLED:
        assert evidence.ping is not None
        assert is_well(evidence.ping)
        used = [member for member in evidence.members.values() if member.used]
        assert used
        assert all(is_well(member.linearizable) and is_well(member.serializable) for member in used)
        assert not any(member.defragments for member in used)
        assert not all(member.back for member in used)
        assert evidence.in_between
        if evidence.ping.lately or evidence.ping.failures or any(member.late for member in used):
            storage = (*evidence.reads.values(), evidence.readiness)
            assert any(probe and probe.failures >= FAILURES_IN_DOUBT for probe in storage)
        assert judgement.resources
        assert any(probe.is_(Answer.TIMEOUT, Answer.ERROR) for probe in every(evidence))


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_who_has_just_begun_to_answer_has_no_name_but_for_what_can_be_seen_from_outside(evidence: Evidence) -> None:
    outside = {Verdict.DOWN, Verdict.UNREACHABLE, Verdict.OVERLOADED}
    assert judge(replace(evidence, starting=True)).verdict in UNNAMED | outside


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_without_our_writes_nothing_is_said_of_writes_and_watches(evidence: Evidence) -> None:
    judgement = judge(replace(evidence, writes=False, canary=None, delivery=None))
    assert judgement.verdict is not Verdict.WATCH_STALE
    assert not any("writes of a Lease" in each for each in judgement.reasons)


@settings(max_examples=400, deadline=None)
@given(evidences, measured())
def test_writes_alone_never_lead_to_a_stalled_channel(evidence: Evidence, canary: Measured) -> None:
    reads = dict.fromkeys(("pods", "leases"), Measured(Answer.OK))
    only = replace(evidence, reads=reads, readiness=Measured(Answer.OK), canary=canary)
    assert judge(only).verdict is not Verdict.CHANNEL_STALLED


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_without_etcd_no_one_is_blamed_for_what_only_etcd_could_clear_up(evidence: Evidence) -> None:
    blamed = {Verdict.CHANNEL_STALLED, Verdict.ETCD_DOWN, Verdict.ETCD_MEMBER_BAD, Verdict.ETCD_SLOW}
    assert judge(replace(evidence, members={})).verdict not in blamed


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_where_it_may_use_a_member_that_nobody_asks_no_one_is_blamed_for_what_fails(evidence: Evidence) -> None:
    blamed = {Verdict.CHANNEL_STALLED, Verdict.WATCH_STALE, Verdict.ETCD_DOWN, Verdict.ETCD_MEMBER_BAD}
    assert judge(replace(evidence, unasked=1)).verdict not in blamed


@settings(max_examples=400, deadline=None)
@given(evidences)
def test_whatever_is_not_well_has_a_reason(evidence: Evidence) -> None:
    judgement = judge(evidence)
    assert judgement.reasons or judgement.verdict is Verdict.OK


def test_a_stall_names_the_resources_concerned() -> None:
    assert judge(MUTE).resources == ("configmaps", "health", "leases", "pods")
    reads: Mapping[str, Measured] = {"secrets": HANGS, "pods": Measured(Answer.OK)}
    assert judge(replace(HEALTHY, reads=reads)).resources == ("secrets",)


def test_what_no_longer_fails_is_no_longer_named() -> None:
    assert judge(replace(HEALTHY, canary=Measured(Answer.OK, 0, 2))).verdict is Verdict.OK


def test_a_member_that_this_apiserver_does_not_use_is_not_to_blame_for_its_stall() -> None:
    idle = Member(HANGS, HANGS, used=False)
    judgement = judge(replace(MUTE, members={"a": Member(Measured(Answer.OK), Measured(Answer.OK)), "c": idle}))
    assert judgement.verdict is Verdict.CHANNEL_STALLED
    assert judgement.reasons[-1] == "asked directly, etcd answers on a", "and of the other it is not so"


@pytest.mark.parametrize("others", [None, True])
def test_etcd_is_not_called_down_while_another_apiserver_may_be_writing(*, others: bool | None) -> None:
    down = {name: Member(HANGS, HANGS) for name in "abc"}
    assert judge(replace(MUTE, members=down, others_write=others)).verdict is Verdict.UNKNOWN


def test_the_only_member_is_not_down_while_it_says_that_it_is_being_defragmented() -> None:
    only = {"a": Member(HANGS, HANGS, defragments=True)}
    judgement = judge(replace(MUTE, members=only, others_write=False))
    assert judgement.verdict is Verdict.ETCD_MEMBER_BAD
    assert "a is being defragmented" in judgement.reasons[-1]


def test_while_a_quorum_is_being_lost_no_member_is_blamed_for_it() -> None:
    unconfirmed = Member(Measured(Answer.TIMEOUT, 1), Measured(Answer.OK))
    losing = {"a": Member(HANGS, HANGS), "b": Member(HANGS, HANGS), "c": unconfirmed}
    assert judge(replace(MUTE, members=losing, others_write=False)).verdict is Verdict.UNKNOWN


def test_the_documents_table_is_what_the_code_decides() -> None:
    assert table() in DOC.read_text(encoding="utf-8"), "run python -m tools.stall_table and put it into the document"
