"""`ballastctl apiserver top`: who asks what, what is not known, and what goes wrong."""

import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

import pytest
from click.testing import CliRunner

from ballastctl.cli import main
from tests.ctl.exporters import DENIED, KUBELETS, LISTER, asked, audited, collector, document, exporter, metric, top
from tests.ctl.spaces import STYLE

COMMAND = [sys.executable, "-c", "from ballastctl.cli import main; main()", "apiserver", "top"]
JSON = ("-o", "json")
Requests = Mapping[tuple[str, str, str, str, str], float]
GETS = ("10.0.0.1:6443", "", "configmaps", "GET", "2xx")
LISTS = ("10.0.0.2:6443", "apps", "deployments", "LIST", "5xx")


def test_who_asks_what_between_two_counts() -> None:
    before = audited(1000, 160, {KUBELETS: 100, LISTER: 50, DENIED: 10})
    after = audited(1010, 1160, {KUBELETS: 900, LISTER: 110, DENIED: 50})
    found = document(top(before, after, arguments=JSON))
    assert (found["source"], found["seconds"], found["requests_per_second"]) == ("apiserver_clients", 10.0, 100.0)
    nodes, lister = found["rows"]
    assert nodes["by"] == {"client": "nodes", "resource": "configmaps", "verb": "get"}
    assert (nodes["requests_per_second"], nodes["share"], nodes["errors"]) == (80.0, 0.8, 0.0)
    assert (lister["requests_per_second"], lister["share"], lister["errors"]) == (10.0, 0.1, 0.4)
    assert found["rest"] == {"requests_per_second": 10.0, "share": 0.1, "error_bound": 4.0}


def test_rows_are_as_wished() -> None:
    before = audited(1000, 0, {})
    after = audited(1010, 30, {KUBELETS: 10, LISTER: 12, DENIED: 8})
    by_client = document(top(before, after, by="client,namespace", arguments=JSON))
    assert [row["by"]["client"] for row in by_client["rows"]] == [LISTER[0], "nodes"]
    by_code = document(top(before, after, by="code", arguments=(*JSON, "--sort", "errors")))
    assert [row["by"]["code"] for row in by_code["rows"]] == ["4xx", "2xx"]
    by_name = document(top(before, after, by="client", arguments=(*JSON, "--sort", "client")))
    assert [row["by"]["client"] for row in by_name["rows"]] == ["nodes", LISTER[0]]


def test_a_client_that_is_told_no_more_and_one_that_is_told_anew_are_counted_once() -> None:
    before = audited(1000, 1000, {KUBELETS: 900, LISTER: 60})
    # Both were retired, and the first has a series again, which began at 0.
    after = audited(1010, 1100, {KUBELETS: 20})
    found = document(top(before, after, arguments=JSON))
    assert found["requests_per_second"] == 10.0
    (row,) = found["rows"]
    assert row["requests_per_second"] == 2.0
    assert found["rest"]["requests_per_second"] == 8.0


def test_the_exporter_is_read_until_it_has_counted_anew_and_after_a_restart_from_there_on() -> None:
    first, again = audited(1000, 900, {KUBELETS: 900}), audited(1010, 50, {KUBELETS: 50})
    found = document(top(first, first, again, again, audited(1020, 80, {KUBELETS: 80}), arguments=JSON))
    assert (found["seconds"], found["requests_per_second"]) == (10.0, 3.0)


def test_lost_events_are_told() -> None:
    result = top(audited(1000, 0, {KUBELETS: 0}, shed=5), audited(1010, 9, {KUBELETS: 9}, shed=12))
    assert "Lost audit events: 7 (overload). All shares are of what was counted." in result.stdout


def test_without_audit_events_it_tells_what_is_asked_and_how_to_learn_who_asks() -> None:
    before: Requests = {GETS: 100, LISTS: 40}
    after: Requests = {GETS: 700, LISTS: 100}
    pages = asked(1000, before, 10), asked(1060, after, 150_000)
    found = document(top(*pages, arguments=JSON))
    assert found["rest"] is None
    assert [(row["by"]["resource"], row["by"]["verb"], row["open"]) for row in found["rows"]] == [
        ("configmaps", "get", 0.0),
        ("deployments.apps", "list", 0.0),
        ("configmaps", "watch", 300_000.0),
    ]
    shown = top(*pages).stdout
    assert shown.startswith("91 % of 11 requests a second: configmaps get\n")
    assert "Who asks is not known" in shown
    assert "docs/apiserver-clients.md" in shown
    refused = top(*pages, by="client")
    assert (refused.exit_code, "takes no audit events" in refused.stderr) == (2, True)


def test_an_apiserver_that_restarts_or_is_new_makes_no_leap() -> None:
    third = ("10.0.0.3:6443", "", "pods", "LIST", "2xx")
    puts = (*GETS[:3], "PUT", "2xx")
    before: Requests = {GETS: 5_000, puts: 1, LISTS: 40}
    after: Requests = {GETS: 6, puts: 24, LISTS: 40 + 60, third: 1_000_000}
    found = document(top(asked(1000, before), asked(1060, after), arguments=JSON))
    assert found["requests_per_second"] == pytest.approx(90 / 60)
    assert "10.0.0.3:6443 was read for the first time: its requests count from now on." in found["notes"]
    assert "10.0.0.1:6443 was restarted: what it served before that is missing here." in found["notes"]


def test_open_watches_stand_beside_clients_only_where_they_can_be_told() -> None:
    requests: Requests = {GETS: 1}
    before = audited(1000, 0, {}) + asked(1000, requests, 7)
    after = audited(1010, 9, {KUBELETS: 9}) + asked(1000, requests, 7)
    assert document(top(before, after, arguments=JSON))["rows"][0]["open"] is None
    assert document(top(before, after, by="resource", arguments=JSON))["rows"][0]["open"] == 7.0


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (401, 1, "Check --user and --password-file"),
        (500, 3, "status 500"),
        ("<html>hello</html>\n", 3, "this is no ballast-exporter's page"),
        (metric("ballast_collector_success", 1, collector="etcd_quota"), 3, "configure `apiservers`"),
        (metric("ballast_collector_success", 1, collector="apiserver_requests"), 3, "has just begun to count"),
        (metric("ballast_collector_success", 0, collector="apiserver_requests"), 3, "apiserver_requests cannot count"),
        (collector("apiserver_clients", 1) + "ballast_apiserver_clients_events_total 1", 3, "breaks off"),
    ],
)
def test_what_is_no_answer_is_told(answer: str | int, code: int, words: str) -> None:
    refused = top(answer)
    assert (refused.exit_code, refused.stdout) == (code, "")
    assert words in refused.stderr


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        refused = CliRunner().invoke(main, ["apiserver", "top", "--once", "--exporter", url])
    assert (refused.exit_code, "Is --exporter right, and the exporter running?" in refused.stderr) == (3, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--exporter", "ftp://x"),
        ("--by", "node"),
        ("--by", ","),
        ("--sort", "namespace"),
        ("--every", "soon"),
        ("--user", "me"),
        ("--cert", __file__),
        ("--top", "0"),
    ],
)
def test_mistakes_in_the_command_line(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["apiserver", "top", *arguments]).exit_code == 2


def test_a_password_is_sent(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("secret\n")
    with exporter(audited(1000, 0, {}), audited(1010, 0, {})) as at:
        credential = ["--user", "me", "--password-file", str(tmp_path / "pw")]
        command = ["apiserver", "top", "--once", "--every", "10ms", "--exporter", at.url, *credential]
        assert CliRunner().invoke(main, command).exit_code == 0
    assert at.credentials == ["Basic bWU6c2VjcmV0"] * 2


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_it_fits_the_terminal(columns: int) -> None:
    long = ("system:serviceaccount:a-namespace-of-some-length:a-controller-of-some-length", *LISTER[1:])
    other = (*long[:2], "validatingadmissionpolicybindings.admissionregistration.k8s.io", "deletecollection", "", "2xx")
    series: Mapping[tuple[str, ...], float] = {KUBELETS: 123_456_789.0, long: 1000.0, other: 1.0}
    after = audited(1010, 200_000_000, series, shed=7) + asked(1000, {GETS: 1}, 1_500_000)
    before = audited(1000, 0, {}) + asked(1000, {GETS: 1})
    with exporter(before, after) as at:
        command = [*COMMAND, "--once", "--every", "10ms", "--exporter", at.url]
        shown = [STYLE.sub("", line) for line in on_a_terminal(command, columns)]
    assert max(map(len, shown)) <= columns
    (lister,) = [line for line in shown if " pods " in line]
    assert lister.startswith("a-name"), "what all service accounts begin with says nothing"
    assert "ength " in lister, "names differ at their ends"


def on_a_terminal(command: list[str], columns: int) -> list[str]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # that is how a terminal ends
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
    return shown.decode().split("\r\n")


def test_it_goes_on_where_the_exporter_comes_back_and_ends_with_ctrl_c() -> None:
    first, second, third = (audited(at, count, {KUBELETS: count}) for at, count in ((1000, 0), (1010, 10), (1020, 30)))
    with exporter(first, second, 503, third) as at:
        command = [*COMMAND, "--exporter", at.url, "--every", "50ms", *JSON]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            told = [process.stdout.readline() for _ in range(2)]
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
            assert "tried again" in process.stderr.read()
    assert '"requests_per_second":1.0' in told[0]
    assert '"requests_per_second":2.0' in told[1]
