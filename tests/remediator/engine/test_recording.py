"""What was seen can be kept and judged again, with another policy and without any of those who were asked."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ballast_remediator.config import EngineSettings, RunbooksConfig
from ballast_remediator.contract import Alert, AlertEvidence, RunState, Target, Verdict
from ballast_remediator.engine.explaining import Explained, Seen
from ballast_remediator.engine.recording import Recording, Unreadable, judge_again, read, record
from ballast_remediator.policy import Policy, load
from ballast_remediator.runbooks.etcd_free_space import World
from kube_ballast.analysis.live_data import Filling, Report, Since
from kube_ballast.analysis.space import Split
from tests.remediator.guards.states import cluster, member
from tests.remediator.web.setting import make_site

TARGET = Target("production", "etcd-free-space", "main")
LABELS = {"alertname": "EtcdFreeSpaceNeeded", "ballast_runbook": "etcd-free-space", "etcd_cluster": "main"}
ALERT = Alert("9e5f", LABELS, {"summary": "full"}, firing=True, starts_at=1.7e9)
EVIDENCE = AlertEvidence("time() - …", LABELS, age=1.5)
REPORT = Report(
    ended=1.7e9,
    revision=7,
    keys=9,
    shares=(("pods", 3.0), ("events", 1.0)),
    error=0.5,
    exact=False,
    largest=2.0,
    largest_event=None,
    split=Split(1.0, 2.0, 3.0, 4.0),
)
WORLD = World(
    state=cluster(),
    old_revision=5,
    old_revision_words="revision 5 was seen 5 min ago",
    filling=Filling(REPORT, Since(3, 1, 2), 60.0),
    valid_until=time.monotonic(),
    population=3,
)


def kept(tmp_path: Path, world: World | None = WORLD, **changes: Any) -> bytes:
    """As `ballastctl policy explain --record` writes it."""
    content: dict[str, Any] = {"evidence": EVIDENCE, "world": world} | changes
    explained = Explained(ALERT, "digest", "", target=TARGET, seen=Seen(**content))
    made = record(explained, make_site(tmp_path).config)
    assert made is not None
    return f"[{made.model_dump_json()}]".encode()


def written(folder: Path, rule: str) -> Policy:
    file = folder / "written.yaml"
    file.write_text(f"rules:\n  - {{runbook: etcd-free-space, {rule}}}\n")
    return load(file)


def judged(tmp_path: Path, recorded: bytes, rule: str = "mode: ask") -> Explained:
    (one,) = read(recorded)
    return judge_again(one, written(tmp_path, rule))


def test_the_world_and_the_evidence_come_back_as_they_were(tmp_path: Path) -> None:
    explained = judged(tmp_path, kept(tmp_path))
    assert explained.seen is not None
    assert replace(explained.seen.world, valid_until=WORLD.valid_until) == WORLD
    assert explained.seen.evidence == EVIDENCE


def test_what_is_no_number_and_what_is_unknown_comes_back_too(tmp_path: Path) -> None:
    odd = member(1, disk_free=math.inf, quota=None)
    strange = replace(WORLD, state=cluster(odd, replace(member(2), status=None, problem="silent")), old_revision=None)
    explained = judged(tmp_path, kept(tmp_path, strange))
    assert explained.seen is not None
    assert explained.seen.world.state == strange.state


def test_every_guard_answers_about_what_was_recorded(tmp_path: Path) -> None:
    explained = judged(tmp_path, kept(tmp_path))
    assert explained.state is RunState.AWAITING_APPROVAL
    assert [answer for answer in explained.answers if answer.verdict is not Verdict.ALLOW] == []
    assert len(explained.answers) == 24
    assert explained.plan is not None
    assert explained.plan.steps[1].params == {"revision": 5}


def test_a_world_that_a_guard_refuses_is_refused_again(tmp_path: Path) -> None:
    broken = replace(WORLD, state=cluster(member(1), member(2), member(3, ready=False), member(4, ready=False)))
    explained = judged(tmp_path, kept(tmp_path, broken))
    assert (explained.state, explained.words.split(":")[0]) == (RunState.SUPPRESSED, "quorum_survives")


@pytest.mark.parametrize(
    ("rule", "state"),
    [
        ("match: {cluster: production}, mode: auto", RunState.QUEUED),
        ("mode: shadow", RunState.SHADOWED),
        ("match: {cluster: test}", RunState.SUPPRESSED),
        ("budget: {runs: 0}", RunState.SUPPRESSED),
        ("limits: {members_at_once: 0}", RunState.SUPPRESSED),
    ],
)
def test_another_policy_decides_otherwise(tmp_path: Path, rule: str, state: RunState) -> None:
    assert judged(tmp_path, kept(tmp_path), rule).state is state


@pytest.mark.parametrize("accepted", [True, False])
def test_settings_are_those_of_the_remediator_that_recorded(tmp_path: Path, *, accepted: bool) -> None:
    old = {"version": "3.4.0"}
    unsafe = cluster(member(1, status=old), member(2, status=old), member(3, status=old))
    content = json.loads(kept(tmp_path, replace(WORLD, state=unsafe)))
    content[0]["runbooks"]["etcd-free-space"]["accept_unsafe_versions"] = accepted
    explained = judged(tmp_path, json.dumps(content).encode())
    assert explained.state is (RunState.AWAITING_APPROVAL if accepted else RunState.SUPPRESSED)


def test_a_recording_that_ends_before_the_world_says_so(tmp_path: Path) -> None:
    explained = judged(tmp_path, kept(tmp_path, None))
    assert (explained.state, "record it again" in explained.words) == (RunState.SUPPRESSED, True)


def test_an_alert_that_no_run_answers_leaves_nothing_to_record(tmp_path: Path) -> None:
    assert record(Explained(ALERT, "digest", "it is for people"), make_site(tmp_path).config) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "another version (format 2"),
        ({"evidence": None}, "it is no recording"),
        ({"more": 1}, "it is no recording"),
        ({"target": {"cluster": "a", "runbook": "reboot", "name": "b"}}, "there is no runbook reboot"),
    ],
)
def test_what_cannot_be_judged_is_said_to_be(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    content = [{**json.loads(kept(tmp_path))[0], **change}]
    with pytest.raises(Unreadable, match=words.replace("(", r"\(")):
        judged(tmp_path, json.dumps(content).encode())


def test_a_world_of_another_version_is_no_fault_of_the_program(tmp_path: Path) -> None:
    content = json.loads(kept(tmp_path))
    del content[0]["world"]["state"]
    explained = judged(tmp_path, json.dumps(content).encode())
    assert (explained.state, "another version of the runbook" in explained.words) == (RunState.SUPPRESSED, True)


def test_a_recording_names_its_format() -> None:
    made = Recording(
        at=1.0,
        alert=ALERT,
        target=TARGET,
        evidence=EVIDENCE,
        world=None,
        runbooks=RunbooksConfig(),
        engine=EngineSettings(),
    )
    assert json.loads(made.model_dump_json())["version"] == 1
