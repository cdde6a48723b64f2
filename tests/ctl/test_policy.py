"""ballastctl policy check and explain: what a policy means, and what would be done, live and by what was recorded."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.serving import make_server

from ballast_remediator.app import create_app
from ballast_remediator.contract import Mode
from ballast_remediator.engine.recording import read
from ballast_remediator.guards import allow, ask
from ballast_remediator.store.database import Store
from ballastctl.cli import main
from tests.remediator.engine.desk import Desk, Recording, say
from tests.remediator.engine.test_recording import kept
from tests.remediator.standing import policy
from tests.remediator.web.setting import Site

Ctl = Callable[..., Result]
RUNBOOK = "etcd-free-space"


def check(text: str, folder: Path, *options: str) -> Result:
    file = folder / "written.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["policy", "check", str(file), *options])


FULL = f"""
time_zone: Europe/Berlin
brake: {{targets: 3, window: 5m}}
freezes:
  - {{name: year-end, schedule: "0 0 20 12 *", lasts: 14d, except: [{RUNBOOK}]}}
rules:
  - runbook: {RUNBOOK}
    match: {{cluster: production, etcd_cluster: events}}
    mode: auto
    budget: {{runs: 1, percent: 10, window: 12h}}
    cooldown: 1h
    windows: [{{name: night, schedule: "0 1 * * *", lasts: 4h, time_zone: UTC}}]
    limits: {{members_at_once: 1}}
  - runbook: {RUNBOOK}
    match: {{cluster: production}}
    approvers: [anna, ben, cleo]
    approvals: 2
  - {{runbook: {RUNBOOK}, mode: shadow}}
"""


def test_each_rule_is_said_in_words(tmp_path: Path) -> None:
    said = check(FULL, tmp_path)
    assert said.exit_code == 0
    for words in (
        "no mistake found; digest ",
        "Alerts for more than 3 targets within 5 min set the brake",
        "the freeze year-end ('0 0 20 12 *' for 14 d, Europe/Berlin; ",
        f"), but for {RUNBOOK}.",
        f"Rule 1: {RUNBOOK}, where cluster is production and etcd_cluster is events",
        "auto: it runs by itself, unless a guard asks for a risk to be accepted: then one person approves it (anybody",
        "At most 1 run and runs on 10 % of the targets begin in a cluster within 12 h, and a target rests for 1 h",
        "only in the window night ('0 1 * * *' for 4 h, UTC; ",
        "Its plan's members_at_once may be 1 at most.",
        "ask: each plan waits until two different people approve it (anna, ben or cleo), at once or beforehand.",
        f"Rule 3: {RUNBOOK}, where any alert of it",
        "shadow: nothing is done; what would have been done is written down.",
        "Where none does, nothing runs.",
    ):
        assert words in said.output, words
    assert "note:" not in said.output


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules:\n  - {runbook: reboot}\n", ":2: rules.0.runbook: there is no approved runbook 'reboot' (there are: "),
        (f"rules:\n  - runbook: {RUNBOOK}\n    mode: automatic\n", ":3: rules.0.mode: "),
        ("rules: [\n", "is no valid YAML"),
        ("", "is empty"),
    ],
)
def test_a_mistake_is_named_with_line_and_field_and_ends_with_2(tmp_path: Path, text: str, words: str) -> None:
    said = check(text, tmp_path)
    assert (said.exit_code, said.stdout) == (2, "")
    assert f"{tmp_path}/written.yaml" in said.stderr
    assert words in said.stderr


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["policy", "check", str(tmp_path / "none.yaml")])
    assert (said.exit_code, "cannot be read" in said.stderr) == (2, True)


def test_a_rule_that_an_earlier_one_hides_is_told(tmp_path: Path) -> None:
    rules = f"rules:\n  - {{runbook: {RUNBOOK}, match: {{a: b}}}}\n  - {{runbook: {RUNBOOK}, match: {{a: b, c: d}}}}\n"
    said = check(rules, tmp_path)
    assert (said.exit_code, "note: rule 2 never decides: rule 1 matches all" in said.output) == (0, True)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("match: {cluster: prodction}", "cluster 'prodction', which is not configured (configured: production)"),
        ("approvers: [approver, zoe]", "lets zoe approve, who may not: see "),
        ("approvers: [viewer]", "takes 1 to approve, and nobody can"),
        ("approvals: 3", "takes 3 to approve, and only admin and approver can"),
    ],
)
def test_with_the_configuration_what_nobody_knows_is_told(site: Site, tmp_path: Path, rule: str, words: str) -> None:
    text = f"rules:\n  - runbook: {RUNBOOK}\n    {rule}\n"
    said = check(text, tmp_path, "--config", str(site.file))
    assert (said.exit_code, words in said.output) == (0, True), said.output
    assert words not in check(text, tmp_path).output


def test_a_configuration_with_a_mistake_is_named(site: Site, tmp_path: Path) -> None:
    site.file.write_text("listen: nowhere\n")
    said = check("rules: []\n", tmp_path, "--config", str(site.file))
    assert (said.exit_code, f"{site.file}:1: listen: " in said.stderr) == (2, True)


# --- explain, live ---


@pytest.fixture
def desk(store: Store) -> Desk:
    runbook = Recording(limits={"members_at_once": 1}, guards=(lambda _: allow("it_is_quiet", "nobody works"),))
    rules = policy(Mode.ASK, match={"cluster": "production"}, approvals=2, approvers=("anna", "ben"))
    return Desk(store, runbook, rules=rules, clusters={"production": "http://127.0.0.1:9"})


@pytest.fixture
def url(site: Site, desk: Desk) -> Iterator[str]:
    """A remediator that judges."""
    server = make_server("127.0.0.1", site.port, create_app(site.config, engine=desk.engine, store=desk.store))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{site.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def alert(tmp_path: Path) -> str:
    file = tmp_path / "alert.json"
    file.write_bytes(say())
    return str(file)


def test_the_answer_comes_first_and_then_why(ctl: Ctl, desk: Desk, alert: str) -> None:
    said = ctl("policy", "explain", "--alert", alert, role="viewer")
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert lines[:2] == [
        "recording on main in production would wait for a person.",
        "  Waits for 2 different people to approve it.",
    ]
    for words in (
        "Rule 1 of the policy decides (cluster is production): mode ask.",
        "Two different people have to approve: anna or ben.",
        f"The policy's digest is {desk.policy.digest[:12]}.",
        "Guards (16 allow)",
        "  ok  it_is_quiet: nobody works",
        "Plan: do it all",
        "  3. do c",
        "within these limits: members_at_once 1",
    ):
        assert words in said.output, words
    assert lines[-1] == "Nothing was done, and no run was opened."
    assert desk.runs() == ()


def test_what_refuses_stands_before_what_asks_and_what_allows(ctl: Ctl, desk: Desk, alert: str) -> None:
    desk.runbook.guards = (*desk.runbook.guards, lambda _: ask("it_is_small", "it is large"))
    ctl("freeze", "production", "--reason", "an upgrade")
    said = ctl("policy", "explain", "--alert", alert).output
    assert said.startswith(
        "recording on main in production would do nothing.\n  nobody_is_at_work: approver is at work"
    )
    assert "Guards (1 refuse, 1 ask, 15 allow)\n  NO  nobody_is_at_work" in said
    assert said.index("NO  ") < said.index("ASK it_is_small") < said.index("ok  ")


def test_an_alert_from_standard_input_that_no_run_answers(site: Site, url: str) -> None:
    environment = {"BALLAST_URL": url, "BALLAST_TOKEN_FILE": str(site.folder / "viewer.token")}
    body = say(cluster="elsewhere")
    said = CliRunner().invoke(main, ["policy", "explain", "--alert", "-"], env=environment, input=body)
    assert said.exit_code == 0
    assert "nothing would happen\n  Cluster 'elsewhere' is not configured (configured: production)." in said.output


def test_as_json(ctl: Ctl, alert: str) -> None:
    (one,) = json.loads(ctl("policy", "explain", "--alert", alert, "-o", "json").output)
    assert (one["state"], one["rule"]["number"], len(one["answers"])) == ("awaiting_approval", 1, 16)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the body is no JSON"),
        (b"nonsense", "the body is no JSON"),
        (b"[]", "it holds no alert"),
        (b"[7]", "it is no webhook payload"),
    ],
)
def test_a_file_without_an_alert(ctl: Ctl, tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "empty.json"
    file.write_bytes(content)
    said = ctl("policy", "explain", "--alert", str(file))
    assert (said.exit_code, words in said.output) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--evidence", "x"),
        ("--alert", "x", "--evidence", "x"),
        ("--alert", "x", "--policy", "x"),
        ("--alert", "no"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "x").touch()
    named = [str(tmp_path / "x") if each == "x" else each for each in arguments]
    assert CliRunner().invoke(main, ["policy", "explain", *named]).exit_code == 2


def test_what_was_seen_is_kept_where_it_was_asked_for(ctl: Ctl, tmp_path: Path, alert: str) -> None:
    kept = tmp_path / "seen.json"
    said = ctl("policy", "explain", "--alert", alert, "--record", str(kept))
    assert (said.exit_code, f"what was seen is in {kept}" in said.stderr) == (0, True)
    (one,) = read(kept.read_bytes())
    assert (one.target.name, one.evidence.question) == ("main", "ALERTS")


# --- explain, by what was recorded ---


@pytest.fixture
def recorded(tmp_path: Path) -> str:
    file = tmp_path / "recorded.json"
    file.write_bytes(kept(tmp_path))
    return str(file)


def by(recorded: str, folder: Path, text: str) -> Result:
    file = folder / "other.yaml"
    file.write_text(text)
    return CliRunner().invoke(main, ["policy", "explain", "--evidence", recorded, "--policy", str(file)])


def test_what_was_recorded_is_judged_without_a_remediator_and_says_so(recorded: str, tmp_path: Path) -> None:
    said = by(recorded, tmp_path, f"rules: [{{runbook: {RUNBOOK}, match: {{cluster: production}}, mode: auto}}]\n")
    assert said.exit_code == 0
    assert said.output.startswith(f"{RUNBOOK} on main in production would run now, without asking.\n")
    assert "Guards (24 allow)" in said.output
    assert (
        "Judged offline, by what was seen when it was recorded, which counts as fresh, and as if nothing had ever run"
        in said.output
    )


def test_another_policy_says_what_it_wants(recorded: str, tmp_path: Path) -> None:
    said = by(recorded, tmp_path, f"rules: [{{runbook: {RUNBOOK}, match: {{tier: gold}}}}]\n").output
    assert f"{RUNBOOK} on main in production would do nothing." in said
    assert "rule 1 wants tier to be 'gold'; the alert has no such label." in said


def test_files_that_cannot_be_used_are_named(recorded: str, tmp_path: Path) -> None:
    bad_policy = by(recorded, tmp_path, "rules: [{runbook: reboot}]\n")
    assert (bad_policy.exit_code, "other.yaml:1: rules.0.runbook" in bad_policy.output) == (2, True)
    Path(recorded).write_text("[{}]")
    no_recording = by(recorded, tmp_path, "rules: []\n")
    assert (no_recording.exit_code, "recorded.json: it is no recording" in no_recording.output) == (2, True)
