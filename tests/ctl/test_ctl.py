import hashlib
import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ballast_remediator.contract import Done, RunState
from ballast_remediator.store import decisions, ledger, reading, runs
from ballast_remediator.store.database import Store
from ballast_remediator.tokens import Role, Tokens
from ballastctl.cli import main
from tests.remediator.guards.book import request
from tests.remediator.store.rows import step_of
from tests.remediator.web.setting import PLAN, PLAN_HASH, TARGET, Site

Ctl = Callable[..., Result]


def state(store: Store, run_id: str) -> RunState:
    run = store.read(reading.run, run_id)
    assert run is not None
    return run.state


def test_runs_stand_in_columns_with_their_age(ctl: Ctl, run_id: str) -> None:
    heading, line = ctl("runs", role="viewer").output.splitlines()
    assert heading.split() == ["RUN", "STATE", "RUNBOOK", "CLUSTER", "TARGET", "AGE", "REASON"]
    assert line.startswith(f"{run_id}  awaiting_approval  etcd-free-space  production  main ")
    assert line.index("a person has to approve") == heading.index("REASON")
    assert ctl("runs", "--state", "failed", role="viewer").output == "no runs\n"


def test_runs_as_json(ctl: Ctl, run_id: str) -> None:
    (run,) = json.loads(ctl("runs", "-o", "json").output)
    assert (run["id"], run["state"]) == (run_id, "awaiting_approval")


def test_a_run_is_shown_with_numbered_steps_and_the_guards_reasons(ctl: Ctl, run_id: str) -> None:
    shown = ctl("show", run_id, role="viewer").output
    for words in (
        "1. snapshot m1",
        "2. defragment m2",
        "members: 3",
        "ok  quorum_survives: 3 of 3 voters are healthy",
        "ASK stall_fits: each member stalls for 40 s",
        "has to be accepted: --acknowledge stall_fits",
        f"Plan hash {PLAN_HASH}",
        "intake: etcd-free-space for main in production",
    ):
        assert words in shown
    assert "\x1b" not in shown


def test_steps_show_how_far_they_came(ctl: Ctl, store: Store, run_id: str) -> None:
    approved = ("approve", run_id, "--reason", "x", "--plan-hash", PLAN_HASH, "--acknowledge", "stall_fits")
    assert ctl(*approved).exit_code == 0
    begin(store, run_id)
    shown = ctl("show", run_id).output
    assert re.search(r"1\. snapshot m1 \[done in \d+ ms: 64 MiB kept\]", shown)
    assert re.search(r"2\. defragment m2 \[began \d+ ms ago\]", shown)
    assert "The risk that stall_fits names was accepted" in shown


def begin(store: Store, run_id: str) -> None:
    wanted = request(run_id=run_id, target=TARGET, plan_hash=PLAN_HASH)
    token = store.write_together(ledger.claim, ledger.Claim(wanted, PLAN, [], ledger.Host()))
    assert isinstance(token, int)
    store.write(runs.intend, run_id, token, step_of(store, run_id))
    store.write(runs.checkpoint, run_id, token, step_of(store, run_id), Done("64 MiB kept"))
    store.write(runs.intend, run_id, token, step_of(store, run_id, 2))


def test_words_from_outside_do_not_drive_the_terminal(ctl: Ctl, store: Store, run_id: str) -> None:
    store.write(decisions.reject, run_id, person="x", reason="\x1b[2J\rgone\nfor good")
    for command in (("runs",), ("show", run_id)):
        shown = ctl(*command).output
        assert " [2J gone for good" in shown
        assert not {"\x1b", "\r"} & set(shown)


def test_an_approval_names_its_plan(ctl: Ctl, store: Store, run_id: str) -> None:
    approval = ("approve", run_id, "--reason", "looked at it", "--acknowledge", "stall_fits")
    other = ctl(*approval, "--plan-hash", "00" * 32)
    assert (other.exit_code, "another one now" in other.output) == (1, True)
    assert ctl(*approval, "--plan-hash", PLAN_HASH).output.startswith(f"run {run_id} is approved and now queued")
    assert state(store, run_id) is RunState.QUEUED


def test_without_a_terminal_nothing_is_approved_unread(ctl: Ctl, store: Store, run_id: str) -> None:
    asked = ctl("approve", run_id, "--reason", "x")
    assert (asked.exit_code, "--plan-hash" in asked.output) == (2, True)
    assert state(store, run_id) is RunState.AWAITING_APPROVAL


def in_terminal(site: Site, url: str, typed: str, *arguments: str) -> tuple[int, str]:
    """ballastctl on a terminal of its own, with its exit code and what it showed."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"BALLAST_URL": url, "BALLAST_TOKEN_FILE": str(site.folder / "approver.token")}
    command = [sys.executable, "-c", "from ballastctl.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        with suppress(OSError):  # that is how a terminal ends
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
        return process.wait(timeout=60), shown.decode()


@pytest.mark.parametrize("yes", [True, False])
def test_on_a_terminal_the_plan_is_shown_and_asked_about(
    site: Site, url: str, store: Store, run_id: str, *, yes: bool
) -> None:
    done = in_terminal(
        site, url, "y\n" if yes else "n\n", "approve", run_id, "--reason", "x", "--acknowledge", "stall_fits"
    )
    assert done[0] == (0 if yes else 1)
    assert "1. snapshot m1" in done[1]
    assert "Run this plan?" in done[1]
    assert "\x1b[" in done[1]
    assert state(store, run_id) is (RunState.QUEUED if yes else RunState.AWAITING_APPROVAL)


def test_on_a_terminal_a_risk_that_is_not_accepted_is_named(site: Site, url: str, run_id: str) -> None:
    code, shown = in_terminal(site, url, "y\n", "approve", run_id, "--reason", "x")
    assert (code, "--acknowledge stall_fits" in shown, "Run this plan?" in shown) == (1, True, False)


def test_a_rejection_and_a_second_one(ctl: Ctl, run_id: str) -> None:
    assert ctl("reject", run_id, "--reason", "not now").output == f"run {run_id} is cancelled\n"
    again = ctl("reject", run_id, "--reason", "not now")
    assert (again.exit_code, f"run {run_id} is cancelled" in again.output) == (1, True)


def test_an_unknown_outcome_is_resolved(ctl: Ctl, store: Store, run_id: str) -> None:
    for after in (RunState.QUEUED, RunState.RUNNING, RunState.OUTCOME_UNKNOWN):
        store.write(runs.transition, run_id, after, words="on")
    assert "main in production may be acted on again" in ctl("resolve", run_id, "--reason", "looked").output


@pytest.mark.parametrize("role", ["viewer", "ingest"])
def test_a_role_that_is_not_good_for_it_is_told(ctl: Ctl, run_id: str, role: str) -> None:
    refused = ctl("reject", run_id, "--reason", "x", role=role)
    assert (refused.exit_code, "the token's role" in refused.output) == (1, True)


def test_a_run_that_is_not_there(ctl: Ctl) -> None:
    refused = ctl("show", "a/b?c")
    assert (refused.exit_code, "ballastctl:" in refused.output) == (1, True)


def test_nobody_at_the_address(ctl: Ctl) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = ctl("runs", at=f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert (refused.exit_code, "Is --url (BALLAST_URL) right" in refused.output) == (3, True)


def test_a_decision_without_an_answer_is_said_to_be_unknown(ctl: Ctl) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused = ctl("--timeout", "0.5", "reject", "x", "--reason", "y", at=at)
    assert (refused.exit_code, "unknown whether" in refused.output) == (4, True)


@pytest.mark.parametrize(
    "arguments",
    [("--url", "nonsense", "runs"), ("--token-file", "/nowhere", "runs"), ("go",), ("runs", "--state", "lost")],
)
def test_mistakes_in_the_command_line(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize("role", list(Role))
def test_a_new_token_works_with_the_entry_that_comes_with_it(tmp_path: Path, role: Role) -> None:
    made = CliRunner().invoke(main, ["token", "new", "alice@example.com", "--role", role.value])
    (secret,) = made.stdout.splitlines()
    assert len(secret) >= 43
    file = tmp_path / "tokens.yaml"
    file.write_text("tokens:\n" + made.stderr.splitlines()[-1] + "\n")
    holder = Tokens(file).holder(secret)
    assert holder is not None
    assert (holder.name, holder.role) == ("alice@example.com", role)
    assert holder.sha256 == hashlib.sha256(secret.encode()).hexdigest()


def test_a_name_that_cannot_stand_in_the_audit() -> None:
    made = CliRunner().invoke(main, ["token", "new", "a b\n", "--role", "viewer"])
    assert (made.exit_code, "cannot stand in the audit" in made.output) == (2, True)
