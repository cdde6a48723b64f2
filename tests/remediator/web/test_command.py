"""The command ballast-remediator as a process."""

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from ballast_remediator.config import Config
from ballast_remediator.store.database import Store
from kube_ballast import configfile
from tests.remediator.web.setting import INGEST, Site
from tests.waiting import eventually

COMMAND = [sys.executable, "-c", "from ballast_remediator.cli import main; main()", "--config"]


def run(site: Site, *options: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, str(site.file), *options], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def edit(site: Site, old: str, new: str) -> None:
    text = site.file.read_text()
    assert old in text
    site.file.write_text(text.replace(old, new))


def test_a_good_configuration_is_said_to_be(site: Site) -> None:
    code, said = run(site, "--check-config")
    assert (code, "no mistake found" in said) == (0, True)
    assert not site.config.store.path.exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("limits:", "limit:", ":11: limit: unknown key"),
        ("limits: {body_bytes: 64KiB}", "engine: {workers: many}", ":11: engine.workers: "),
        ("listen: 127.0.0.1:", "listen: 127.0.0.1", ":1: listen: "),
        ("listen: 127.0.0.1:", "listen: ::1:", "an IPv6 address, and nothing else, is written in brackets"),
        ("/tokens.yaml", "/missing.yaml", ":3: tokens_file: "),
        ("production:\n", "production:\n    region: x\n", ":8: clusters.production.region: unknown key"),
        ("limits: {body_bytes: 64KiB}", "runbooks: {etcd-free-space: {patience: soon}}", "'soon' is no duration"),
        ("store:", "stores:", "store: is required and missing"),
    ],
)
def test_a_mistake_is_named_with_file_and_line_and_nothing_is_started(
    site: Site, old: str, new: str, words: str
) -> None:
    edit(site, old, new)
    code, said = run(site)
    assert code == 2
    assert f"{site.file}:" in said
    assert words in said
    assert not (site.folder / "remediator.db").exists()


def test_mistakes_in_tokens_and_policy_are_named_together(site: Site) -> None:
    site.tokens.write_text("tokens:\n  - {name: a, role: boss, sha256: x}\n")
    (site.folder / "policy.yaml").write_text("rules:\n  - {runbook: etcd-free-space, mode: maybe}\n")
    code, said = run(site)
    assert code == 2
    assert f"{site.tokens}:2: tokens.0.role" in said
    assert f"{site.folder}/policy.yaml:2: rules.0.mode" in said


def test_a_store_in_use_names_the_process(site: Site) -> None:
    with Store(site.config.store.place):
        code, said = run(site)
    assert code == 1
    assert f"is in use by process {os.getpid()}" in said


def test_two_etcds_of_one_name_are_a_mistake(site: Site) -> None:
    one = '{members: [{endpoint: "https://127.0.0.1:1"}]}'
    edit(site, one, f"{one}, {one}")
    with pytest.raises(configfile.ConfigError, match="two etcds have the same name"):
        configfile.load(site.file, Config)


@pytest.fixture
def running(site: Site) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*COMMAND, str(site.file)], stderr=subprocess.PIPE, text=True)
    try:
        eventually(lambda: ready(site), within=30.0, retry=OSError)
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


def ready(site: Site) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.port}/readyz", timeout=5) as answer:
        return bool(answer.status == 200)


def test_it_works_files_what_it_takes_and_stops_in_order(
    site: Site, running: subprocess.Popen[str], body: bytes
) -> None:
    headers = {"Authorization": "Bearer ingest-secret"}
    request = urllib.request.Request(f"http://127.0.0.1:{site.port}{INGEST}", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 202
    eventually(lambda: 'runs{runbook="etcd-free-space"' in metrics(site), within=20.0)
    running.terminate()
    _, logged = running.communicate(timeout=30)
    assert running.returncode == 0
    assert re.search(r'level=info event="the remediator stopped"', logged)
    with Store(site.config.store.place):
        pass  # it let go of the file


def metrics(site: Site) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{site.port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


@pytest.mark.usefixtures("running")
def test_a_chunked_body_that_turns_out_too_large_is_refused_in_json_and_counted(site: Site) -> None:
    fields = ("Host: x", "Authorization: Bearer ingest-secret", "Transfer-Encoding: chunked")
    head = "\r\n".join((f"POST {INGEST} HTTP/1.1", *fields, "", ""))
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as line:
        line.sendall(f"{head}10001\r\n{' ' * 0x10001}\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert "limits.body_bytes" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert 'ballast_remediator_notifications_refused_total{code="413"} 1.0' in metrics(site)


def test_an_address_in_use_is_said_to_be(site: Site, running: subprocess.Popen[str]) -> None:
    assert running.poll() is None
    edit(site, "remediator.db", "other.db")
    code, said = run(site)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{site.port}" in said


@pytest.mark.usefixtures("running")
def test_a_policy_that_cannot_be_used_leaves_the_old_one_in_force_and_shows(site: Site) -> None:
    before = re.findall(r'policy_info\{digest="(\w+)"\}', metrics(site))
    policy = site.folder / "policy.yaml"
    good = policy.read_text()
    policy.write_text("rules:\n  - {runbook: reboot}\n")
    eventually(lambda: "ballast_remediator_policy_problem 1.0" in metrics(site), within=10.0)
    assert re.findall(r'policy_info\{digest="(\w+)"\}', metrics(site)) == before
    policy.write_text(good.replace("mode: ask", "mode: shadow"))
    eventually(lambda: "ballast_remediator_policy_problem 0.0" in metrics(site), within=10.0)
    assert re.findall(r'policy_info\{digest="(\w+)"\}', metrics(site)) != before
