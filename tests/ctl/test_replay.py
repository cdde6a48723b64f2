"""``ballastctl replay``: recorded notifications, decided by a policy without anybody being asked."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ballastctl.cli import main
from tests.remediator.chain import payload

NOON = 1_700_000_000.0
ASK = {"runbook": "etcd-free-space", "mode": "ask", "approvers": ["anna", "ben"]}
AUTO = {"runbook": "etcd-free-space", "mode": "auto", "match": {"cluster": "here"}}
SHADOW = {"runbook": "etcd-free-space", "mode": "shadow"}
Replay = Callable[..., Result]


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    """Replays files against the policies of these rules, the first one first."""

    def call(files: Sequence[Path], *policies: Sequence[Mapping[str, Any]], options: Sequence[str] = ()) -> Result:
        arguments = []
        for number, rules in enumerate(policies):
            file = tmp_path / f"policy-{number}.yaml"
            file.write_text(json.dumps({"rules": rules}, indent=1))
            arguments += ["--against" if number else "--policy", str(file)]
        return CliRunner().invoke(main, ["replay", *map(str, files), *arguments, *options])

    return call


def alert(target: str, *, firing: bool = True) -> bytes:
    return payload(labels={"etcd_cluster": target, "cluster": "here"}, firing=firing)


def recorded(folder: Path, *came: tuple[float, bytes]) -> Path:
    """A file of lines; times are seconds after noon."""
    file = folder / "recorded.jsonl"
    file.write_text(
        "".join(json.dumps({"received_at": NOON + at, "body": json.loads(body)}) + "\n" for at, body in came)
    )
    return file


def decisions(result: Result) -> list[list[tuple[str, str | None]]]:
    """Of each alert by each policy: the decision and the guard."""
    found = json.loads(result.output)["decisions"]
    return [[(one["decision"], one["guard"]) for one in row["decisions"]] for row in found]


JSON = ("-o", "json")


def test_the_payloads_of_alertmanager_as_they_are(tmp_path: Path, replay: Replay) -> None:
    file = tmp_path / "body.json"
    file.write_bytes(payload())
    found = replay([file], [ASK], options=(*JSON, "--cluster", "here"))
    assert found.exit_code == 0
    content = json.loads(found.output)
    (row,) = content["decisions"]
    assert row["at"] == "2026-01-01T00:00:00+00:00"
    assert row["decisions"][0] == {
        "policy": content["policies"][0],
        "line": 3,
        "mode": "ask",
        "decision": "ask",
        "guard": None,
        "words": "waits for a person to approve it",
        "approvals_needed": 1,
        "approvers": ["anna", "ben"],
    }
    assert len(content["assumptions"]) == 5


@pytest.mark.parametrize(("rules", "decision"), [([ASK], "ask"), ([AUTO], "run"), ([SHADOW], "shadow")])
def test_each_mode_decides(tmp_path: Path, replay: Replay, rules: Sequence[Mapping[str, Any]], decision: str) -> None:
    file = recorded(tmp_path, (0, alert("main")))
    assert decisions(replay([file], rules, options=JSON)) == [[(decision, None)]]


def test_side_by_side_the_differences_are_marked(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, (0, alert("main")), (1, alert("events")))
    found = replay([file], [AUTO], [ASK])
    assert found.exit_code == 1
    lines = found.output.splitlines()
    assert lines.count("    policy-0.yaml:3  would run by itself (auto)") == 2
    assert lines.count("  ≠ policy-1.yaml:3  would ask anna or ben (ask)") == 2
    assert lines[-5:] == [
        "Totals     policy-0.yaml  policy-1.yaml",
        "would run              2              0",
        "would ask              0              2",
        "2 notifications, 2 alerts that fire",
        "2 decisions differ",
    ]
    assert max(map(len, lines)) <= 80


def test_the_same_rules_elsewhere_in_the_file_are_no_difference(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, (0, alert("main")))
    other = {**SHADOW, "match": {"cluster": "elsewhere"}}
    found = replay([file], [AUTO], [other, AUTO])
    assert (found.exit_code, found.output.splitlines()[-1]) == (0, "no decision differs")


def test_repeats_and_the_other_one_of_a_pair_join_the_open_run(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, (0, alert("main")), (1, alert("main")), (200, alert("main")))
    assert decisions(replay([file], [AUTO], options=JSON)) == [[("run", None)], [("joined", None)], [("joined", None)]]


def test_a_target_rests_by_the_time_of_the_recording(tmp_path: Path, replay: Replay) -> None:
    minutes = (0, 10, 45)
    file = recorded(tmp_path, *((minute * 60, alert("main")) for minute in minutes))
    found = replay([file], [AUTO], [{**AUTO, "cooldown": "1m"}], options=JSON)
    assert found.exit_code == 1
    assert decisions(found) == [
        [("run", None), ("run", None)],
        [("suppressed", "target_has_rested"), ("run", None)],
        [("run", None), ("run", None)],
    ]
    (words,) = [row["decisions"][0]["words"] for row in json.loads(found.output)["decisions"][1:2]]
    assert words.startswith("target_has_rested: an earlier run (etcd-free-space) ended as succeeded 5 min ago")


def test_budgets_count_in_the_recordings_time(tmp_path: Path, replay: Replay) -> None:
    hours = (0, 1, 2, 25)
    file = recorded(tmp_path, *((hour * 3600, alert(f"etcd-{hour}")) for hour in hours))
    found = decisions(replay([file], [{**AUTO, "budget": {"runs": 2, "window": "24h"}}], options=JSON))
    assert found == [[("run", None)], [("run", None)], [("suppressed", "budget_is_left")], [("run", None)]]


def test_a_budget_in_percent_is_of_the_targets_that_the_recording_names(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, *((number, alert(f"etcd-{number}")) for number in range(4)))
    found = decisions(replay([file], [{**AUTO, "budget": {"percent": 50}}], options=JSON))
    assert [row[0][0] for row in found] == ["run", "run", "suppressed", "suppressed"]


def test_windows_are_those_of_the_recordings_time(tmp_path: Path, replay: Replay) -> None:
    window = {"name": "night", "schedule": "0 1 * * *", "lasts": "4h"}
    midnight = datetime(2026, 3, 1, tzinfo=UTC).timestamp() - NOON
    file = recorded(tmp_path, (midnight, alert("main")), (midnight + 2 * 3600, alert("main")))
    found = decisions(replay([file], [{**AUTO, "windows": [window]}], options=JSON))
    assert found == [[("suppressed", "window_is_open")], [("run", None)]]


def test_a_persons_no_answer_ends_by_its_deadline_and_the_alert_asks_again(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, *((minute * 60, alert("main")) for minute in (0, 20, 31)))
    assert decisions(replay([file], [ASK], options=JSON)) == [[("ask", None)], [("joined", None)], [("ask", None)]]


def test_an_alert_that_resolves_takes_its_question_back(tmp_path: Path, replay: Replay) -> None:
    (fires,) = json.loads(alert("main"))["alerts"]
    gone = payload(alerts=[{**fires, "status": "resolved"}])
    came = [(0, alert("main")), (60, gone), (600, alert("main")), (2000, gone), (2300, alert("main"))]
    assert decisions(replay([recorded(tmp_path, *came)], [ASK], options=JSON)) == [[("ask", None)]] * 3


def test_a_flood_sets_the_brake(tmp_path: Path, replay: Replay) -> None:
    flood = json.loads(alert("main"))
    (one,) = flood["alerts"]
    flood["alerts"] = [
        {**one, "labels": {**one["labels"], "etcd_cluster": f"etcd-{number}"}, "fingerprint": str(number)}
        for number in range(40)
    ]
    file = recorded(tmp_path, (0, json.dumps(flood).encode()), (5, alert("late")))
    found = replay([file], [AUTO])
    lines = found.output.splitlines()
    assert found.exit_code == 0
    assert lines[-2:] == ["suppressed by brake_is_off             41", "2 notifications, 41 alerts that fire"]
    assert "more like this until 2023-11-14 22:13:25" in found.output
    assert "ballastctl lift" not in found.output
    content = decisions(replay([file], [AUTO], options=JSON))
    assert [row[0] for row in content] == [*[("suppressed", "brake_is_off")] * 41]


def test_what_no_run_answers_is_told(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, (0, payload(labels={"ballast_runbook": None, "cluster": "here"})))
    found = replay([file], [AUTO])
    assert "the alert has no label ballast_runbook: it is for people" in " ".join(found.output.split())
    file = recorded(tmp_path, (0, alert("main")))
    found = replay([file], [{**AUTO, "match": {"cluster": "elsewhere"}}], options=JSON)
    assert (
        "no rule of the policy enables etcd-free-space"
        in json.loads(found.output)["decisions"][0]["decisions"][0]["words"]
    )


def test_files_are_put_in_the_order_of_their_time(tmp_path: Path, replay: Replay) -> None:
    second = tmp_path / "second.json"
    second.write_text(json.dumps({"received_at": "2023-11-14T23:00:00Z", "body": alert("main").decode()}))
    first = recorded(tmp_path, (0, alert("events")))
    found = json.loads(replay([second, first], [AUTO], options=JSON).output)
    assert [row["labels"]["etcd_cluster"] for row in found["decisions"]] == ["events", "main"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "is empty"),
        ("nonsense", 1, "is no JSON: Expecting value"),
        ('{"version": "4",\n "alerts": [\n', 3, "is no JSON"),
        ("[]", 1, "is no JSON object"),
        ('{"version": "3"}', 1, "the payload says version '3'"),
        ('{"received_at": "yesterday", "body": BODY}', 1, "received_at: 'yesterday' is no time"),
        ('{"received_at": NaN, "body": BODY}', 1, "received_at: nan is no time"),
        ('{"received_at": 1, "body": BODY}\n{"received_at": 1, "body": {}}', 2, "the payload has no version"),
        ('{"received_at": 1, "body": BODY}\n\n{"rec', 3, "is no JSON"),
        ('{"version": "4", "receiver": "", "groupKey": "", "alerts": []}', 1, "keep it as {received_at, body}"),
    ],
)
def test_mistakes_name_their_file_and_line(
    tmp_path: Path, replay: Replay, text: str, line: int | None, words: str
) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text.replace("BODY", alert("main").decode()))
    found = replay([file], [AUTO])
    assert found.exit_code == 2
    where = f"ballastctl: {file}" + (f":{line}" if line else "")
    assert found.output.startswith(where)
    assert words in found.output


def test_every_mistake_is_told_also_those_of_a_policy(tmp_path: Path, replay: Replay) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text('{"a": 1}\n{"b": 1}\n')
    assert [line.split(": ")[1] for line in replay([file], [AUTO]).output.splitlines()] == [f"{file}:1", f"{file}:2"]
    good = recorded(tmp_path, (0, alert("main")))
    found = replay([good], [{"runbook": "reboot"}])
    assert (found.exit_code, "policy-0.yaml:4: rules.0.runbook" in found.output) == (2, True)


def test_without_a_cluster_anywhere_it_has_to_be_named(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, (0, payload()))
    found = replay([file], [ASK])
    assert (found.exit_code, "say with --cluster NAME" in found.output) == (2, True)


def test_twice_gives_the_same(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, *((minute * 600, alert("main")) for minute in range(6)))
    assert replay([file], [AUTO]).output == replay([file], [AUTO]).output


def test_where_the_remediator_is_not_installed_it_says_what_to_install(tmp_path: Path) -> None:
    file = recorded(tmp_path, (0, alert("main")))
    program = "import sys; sys.modules['sqlalchemy'] = None; from ballastctl.cli import main; main()"
    command = [sys.executable, "-c", program, "replay", str(file), "--policy", str(file)]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (found.returncode, "pip install 'kube-ballast[remediator]'" in found.stderr) == (2, True)


def test_words_from_outside_do_not_drive_the_terminal(tmp_path: Path, replay: Replay) -> None:
    file = recorded(tmp_path, (0, payload(labels={"etcd_cluster": "\x1b[2Jmain\rgone", "cluster": "here"})))
    assert not {"\x1b", "\r"} & set(replay([file], [ASK]).output)
