"""`ballastctl apiserver doctor`: what it says, to whom it turns, and how it ends."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from ballast_exporter.stall_apiserver import CANARY, PING, PROBES
from ballast_exporter.stall_history import Told
from ballast_exporter.stall_report import ApiserverReport, Report
from ballastctl import doctor_view as view
from ballastctl.cli import main
from ballastctl.doctor_report import Diagnosis, diagnosis
from drills.stack.kubernetes import write_kubeconfig
from kube_ballast.analysis.stall import Answer, Judgement, Measured, Verdict
from tests.ctl.spaces import STYLE

ONE, TWO = "10.0.0.1:6443", "10.0.0.2:6443"
MEMBERS = ("10.0.0.1:2379", "10.0.0.2:2379")
WELL = Told(0.012, {Answer.OK: 5}, 1.7e9, Measured(Answer.OK))
HANGS = Told(None, {Answer.TIMEOUT: 3}, None, Measured(Answer.TIMEOUT, 3, 3, "no whole answer within 1 s"))
DENIED = Told(None, {Answer.DENIED: 3}, None, Measured(Answer.DENIED, 3, 0, "PATCH: 403 Forbidden"))
UNMADE = Told(None, {}, None)
OK = Judgement(Verdict.OK, ())
STALLED = Judgement(Verdict.CHANNEL_STALLED, ("etcd is not reached for configmaps", "etcd answers"), ("configmaps",))


def apiserver(judgement: Judgement = OK, **probes: Told) -> ApiserverReport:
    return ApiserverReport(judgement, {**dict.fromkeys(PROBES, WELL), **probes}, WELL, MEMBERS[:1], None)


def members(told: Told = WELL) -> dict[str, dict[str, Told]]:
    return {name: {"linearizable": told, "serializable": WELL} for name in MEMBERS}


def found(*apiservers: ApiserverReport, report: Report | None = None, writes: bool = True) -> Diagnosis:
    named = dict(zip((ONE, TWO), apiservers, strict=False))
    return diagnosis(report or Report(named, members()), 10.0, writes=writes)


def page(diagnosed: Diagnosis, columns: int | None = 100) -> str:
    return STYLE.sub("", "\n".join(view.lines(diagnosed, columns)))


def row(text: str, beginning: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.strip().startswith(beginning))
    return line.split(beginning)[1].split("  ")


def test_the_sick_one_comes_first_with_why_and_what_to_do() -> None:
    text = page(found(apiserver(), apiserver(STALLED, configmaps=HANGS)))
    lines = text.splitlines()
    assert lines[0] == f"1 of 2 apiservers is sick: {TWO} (channel_stalled)"
    assert text.index(f"{TWO}  channel_stalled: ") < text.index(f"{ONE}  ok: ")
    assert "  why etcd is not reached for configmaps\n      etcd answers\n" in text
    assert "do  cut its connections to etcd, on its host: docs/runbooks/apiserver-cut-etcd-connections.md" in text


def test_every_answer_stands_in_the_table() -> None:
    text = page(found(apiserver(), apiserver(STALLED, configmaps=HANGS, canary=UNMADE)))
    assert [cell.strip() for cell in row(text, "read configmaps") if cell.strip()] == ["12 ms", "HANGS x3"]
    assert [cell.strip() for cell in row(text, "write a Lease") if cell.strip()] == ["12 ms", "-"]


def test_the_matrix_says_who_asks_which_member_and_what_that_one_answers() -> None:
    named = {ONE: apiserver(), TWO: apiserver()}
    told = Report(named, members(HANGS), defragmenting={MEMBERS[0]: True})
    text = page(found(report=told))
    assert [cell.strip() for cell in row(text, "read with a quorum") if cell.strip()] == ["HANGS x3", "HANGS x3"]
    assert [cell.strip() for cell in row(text, "is being defragmented") if cell.strip()] == ["YES", "-"]
    assert [cell.strip() for cell in row(text, f"asked by {ONE}") if cell.strip()] == ["yes", "-"]


def test_when_all_stall_at_once_nobody_is_to_be_cut() -> None:
    text = page(found(apiserver(STALLED), apiserver(STALLED)))
    assert "look at the network between the apiservers and etcd first" in text.replace("\n      ", " ")
    assert "cut its connections" not in text


def test_what_was_not_measured_is_said_and_how_it_could_be() -> None:
    without = found(
        report=Report({ONE: apiserver()}, {}, ("10.0.0.9:6443: no verdict: a load balancer",)), writes=False
    )
    missing = " ".join(without.not_measured)
    for words in (
        "no --endpoints were given",
        "--no-write leaves them out",
        "a load balancer",
        f"the metrics of {ONE}",
    ):
        assert words in missing
    denied = found(apiserver(**{CANARY: DENIED}))
    assert f"the Lease in the namespace kube-ballast on {ONE}: PATCH: 403 Forbidden" in denied.not_measured


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_it_fits_the_terminal(columns: int) -> None:
    text = page(found(apiserver(), apiserver(STALLED, configmaps=HANGS)), columns)
    assert max(map(len, text.splitlines())) <= columns


def test_the_progress_says_what_fails_and_what_has_not_answered_yet() -> None:
    report = Report({ONE: apiserver(STALLED, configmaps=HANGS, pods=UNMADE)}, members())
    assert list(view.progress(report, 200)) == [
        f"{ONE}  channel_stalled: 8 well, failing: configmaps, 1 not answered yet"
    ]


# -- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def closed() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def kubeconfig(tmp_path: Path, closed: str) -> Path:
    path = tmp_path / "kubeconfig"
    authority = tmp_path / "ca.crt"
    authority.touch()
    write_kubeconfig(path, closed, authority, {"token": "secret"})
    return path


def run(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["apiserver", "doctor", *map(str, arguments)], env={"KUBECONFIG": None})
    return result.exit_code, result.stdout, result.stderr


def test_a_dead_apiserver_is_named_and_the_json_has_everything(kubeconfig: Path, closed: str) -> None:
    code, out, err = run("--kubeconfig", kubeconfig, "--apiserver", closed, "--seconds", 12, "-o", "json", "--no-write")
    assert code == 1
    assert "asking 1 apiserver for 12 s, writing nothing" in err
    told = json.loads(out)
    (patient,) = told["apiservers"]
    assert patient["verdict"] == "down"
    assert patient["probes"][PING]["answer"] == "refused"
    assert any("no --endpoints" in words for words in told["not_measured"])


@pytest.mark.parametrize(("member", "used"), [("127.0.0.1:1", ["127.0.0.1:1"]), ("127.0.0.2:1", [])])
def test_with_local_etcd_an_apiserver_uses_the_member_on_its_host_and_no_other(
    kubeconfig: Path, closed: str, member: str, used: list[str]
) -> None:
    local = ("--local-etcd", "--endpoints", member)
    _, out, _ = run(
        "--kubeconfig", kubeconfig, "--apiserver", closed, "--seconds", 8, "-o", "json", "--no-write", *local
    )
    (patient,) = json.loads(out)["apiservers"]
    assert patient["members"] == used


def test_a_cluster_that_does_not_answer_is_told_how_to_name_its_apiservers(kubeconfig: Path) -> None:
    code, _, err = run("--kubeconfig", kubeconfig)
    assert code == 3
    assert "name them with --apiserver" in err


def test_mistakes_of_the_command_line_are_named(kubeconfig: Path, tmp_path: Path) -> None:
    config = tmp_path / "exporter.yaml"
    config.write_text("etcd:\n  - members: [{endpoint: 'http://127.0.0.1:1'}]\n")
    for arguments, words in (
        (("--config", config, "--apiserver", "https://a"), "--config and --apiserver exclude each other"),
        (("--config", config), "names no apiservers"),
        (("--kubeconfig", kubeconfig, "--endpoints", "a:1", "--user", "me"), "belong together"),
        (("--kubeconfig", kubeconfig, "--apiserver", "https://", "--seconds", "5"), "URL"),
    ):
        code, _, err = run(*arguments)
        assert (code, words in err) == (2, True), err
