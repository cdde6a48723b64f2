"""The stack starts real components, and ends exactly those."""

import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import pytest

from drills.stack import Authority, Component, EtcdCluster, Scrape, Stack, StackError, mountpoint, process
from tests.waiting import eventually

AM_CONFIG = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}


def get(url: str, timeout: float = 2.0, tls: ssl.SSLContext | None = None) -> bytes:
    with build_opener(ProxyHandler({}), HTTPSHandler(context=tls)).open(url, timeout=timeout) as answer:
        body: bytes = answer.read()
        return body


def query(prometheus: str, expr: str) -> list[dict[str, object]]:
    answer = json.loads(get(f"{prometheus}/api/v1/query?query={expr}"))
    result: list[dict[str, object]] = answer["data"]["result"]
    return result


def alert_labels(alertmanager: str) -> list[dict[str, str]]:
    return [alert["labels"] for alert in json.loads(get(f"{alertmanager}/api/v2/alerts"))]


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for being reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def shell(name: str, script: str, *, ready: process.Probe = lambda: None, within: float = 5.0) -> Component:
    """A component that needs no tool."""
    return Component(name=name, program=Path("/bin/sh"), arguments=("-c", script), ready=ready, ready_within=within)


@pytest.fixture
def bystander() -> Iterator[int]:
    """The pid of a process that no stack started."""
    with subprocess.Popen(["sleep", "600"]) as popen:
        yield popen.pid
        popen.kill()


def test_etcd_answers_and_everything_started_is_gone_after_the_block(bystander: int) -> None:
    with Stack() as stack:
        cluster = stack.etcd(members=3, quota_bytes=64 * 2**20)
        pids = [member.pid for member in cluster.members]
        assert [get(f"{member.endpoint}/readyz") for member in cluster.members] == [b"ok\n"] * 3
        metrics = get(f"{cluster.members[0].metrics_url}/metrics")
        assert b"etcd_server_quota_backend_bytes 6.7108864e+07" in metrics
        assert all(alive(pid) for pid in pids)
    assert not any(alive(pid) for pid in pids)
    assert not stack.folder.exists()
    assert alive(bystander)


@pytest.mark.parametrize("end", [process.Process.stop, process.Process.kill])
def test_what_a_component_started_ends_with_it(stack: Stack, end: Callable[[process.Process], None]) -> None:
    child = stack.folder / "child"
    (started,) = stack.run(
        shell(
            "parent",
            f"(trap '' TERM; exec sleep 600) & echo $! > {child}; wait",
            ready=lambda: None if child.exists() and child.read_text().strip() else "no child yet",
        )
    )
    pid = int(child.read_text())
    assert alive(pid)
    end(started)
    eventually(lambda: not alive(pid))


def test_logs_are_kept_after_a_failure_and_named() -> None:
    stack = Stack()
    never = shell("talker", "echo hello; exit 1", ready=lambda: "never")
    with pytest.raises(StackError) as caught, stack:
        stack.run(never)
    assert str(stack.logs) in caught.value.__notes__[0]
    assert (stack.logs / "talker.log").read_text() == "hello\n"
    assert sorted(path.name for path in stack.folder.iterdir()) == ["logs"]
    (stack.logs / "talker.log").unlink()
    stack.logs.rmdir()
    stack.folder.rmdir()


def test_logs_of_a_failed_test_are_kept_and_reported(tmp_path: Path) -> None:
    case = tmp_path / "test_case.py"
    case.write_text(
        "from drills.stack import StackError\n"
        "def test_fails(stack):\n"
        "    (stack.logs / 'one.log').write_text('why it failed')\n"
        "    assert False\n"
        "def test_passes(stack):\n"
        "    print(stack.folder)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rP", str(case)],
        env={"TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]},
        cwd=process.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout
    (kept,) = tmp_path.glob("ballast-stack-*/logs/one.log")
    assert str(kept.parent) in done.stdout


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_parent_that_ends_in_any_way_leaves_nothing_behind(number: signal.Signals) -> None:
    script = (
        "import signal, sys, time\n"
        "from drills.stack import Stack\n"
        # What starts in the background of a shell is deaf to SIGINT, and so would this be.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with Stack() as stack:\n"
        "    running, paused = stack.etcd().members[0], stack.etcd().members[0]\n"
        "    paused.pause()\n"
        "    print(running.pid, paused.pid, stack.folder, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=process.ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        running, paused, folder = parent.stdout.readline().decode().split()
        assert alive(int(running))
        assert alive(int(paused))
        parent.send_signal(number)
        parent.wait(timeout=20)
    eventually(lambda: not alive(int(running)))
    eventually(lambda: not alive(int(paused)))
    eventually(lambda: not Path(folder).exists())


def test_a_paused_member_answers_again_when_resumed(etcd3: EtcdCluster) -> None:
    member = etcd3.members[1]
    member.pause()
    with pytest.raises((TimeoutError, URLError)):
        get(f"{member.endpoint}/readyz", timeout=0.5)
    assert member.process.running
    member.resume()
    assert eventually(lambda: get(f"{member.endpoint}/readyz"), retry=OSError) == b"ok\n"


def test_a_killed_member_comes_back_with_its_data_and_its_port(etcd3_tls: EtcdCluster) -> None:
    member = etcd3_tls.members[0]
    before, identity = member.pid, (member.data_dir / "member" / "wal").stat().st_ino
    member.kill()
    assert not alive(before)
    assert member.process.exit_code == -signal.SIGKILL
    member.restart()
    assert member.pid != before
    assert (member.data_dir / "member" / "wal").stat().st_ino == identity
    assert get(f"{member.metrics_url}/readyz") == b"ok\n"


def test_tls_cluster_answers_its_own_clients_alone(stack: Stack, etcd3_tls: EtcdCluster) -> None:
    tls, url = etcd3_tls.tls, f"{etcd3_tls.endpoints[0]}/readyz"
    assert tls is not None
    assert tls.cert is not None
    stranger = Authority(stack.data("stranger")).issue("ballast")
    assert stranger.cert is not None
    nobody = ssl.create_default_context(cafile=tls.ca)
    wrong = ssl.create_default_context(cafile=tls.ca)
    wrong.load_cert_chain(stranger.cert, stranger.key)
    right = ssl.create_default_context(cafile=tls.ca)
    right.load_cert_chain(tls.cert, tls.key)
    for context in (nobody, wrong):
        with pytest.raises((ssl.SSLError, ConnectionError, URLError)):
            get(url, tls=context)
    assert get(url, tls=right) == b"ok\n"


def test_a_missing_program_is_named_with_the_command_that_gets_it(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "TOOLS", tmp_path)
    with pytest.raises(StackError, match=r"etcd is missing .*: run `make tools`"):
        stack.etcd()


def test_a_component_that_ends_early_shows_the_end_of_its_log(stack: Stack) -> None:
    broken = shell("broken", "echo no such option >&2; exit 3", ready=lambda: "never")
    with pytest.raises(StackError, match=r"(?s)broken ended with 3 before it was ready.*no such option"):
        stack.run(broken)


def test_a_component_that_never_gets_ready_says_what_is_missing(stack: Stack) -> None:
    deaf = shell("deaf", "echo listening; exec sleep 600", ready=lambda: "no answer", within=0.2)
    with pytest.raises(StackError, match=r"(?s)deaf is not ready after 0.2 s: no answer.*listening"):
        stack.run(deaf)
    assert stack.processes[0].running


def test_ports_are_not_given_twice(stack: Stack) -> None:
    with Stack() as other:
        ports = [ground.port() for _ in range(200) for ground in (stack, other)]
    assert len(set(ports)) == len(ports)


def test_the_environment_of_the_caller_stays_outside(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCD_NAME", "from-outside")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert get(f"{stack.etcd().endpoints[0]}/readyz") == b"ok\n"


def test_prometheus_scrapes_evaluates_and_tells_a_pair_of_alertmanagers(stack: Stack, etcd: EtcdCluster) -> None:
    pair = stack.alertmanager_pair(config=AM_CONFIG)
    exporter = stack.node_exporter()
    rules = json.dumps({"groups": [{"name": "test", "rules": [{"alert": "EtcdIsUp", "expr": 'up{job="etcd"} == 1'}]}]})
    prometheus = stack.prometheus(
        scrape=[
            Scrape(job="etcd", targets=[member.metrics_url for member in etcd.members], labels={"a": "b"}),
            Scrape(job="node", targets=[exporter.address]),
        ],
        rules=[rules],
        alertmanagers=[each.url for each in pair],
        scrape_interval="1s",
        evaluation_interval="1s",
        external_labels={"cluster": "test"},
    )
    free = f'node_filesystem_avail_bytes{{mountpoint="{mountpoint(stack.folder)}"}}'
    assert eventually(lambda: query(prometheus.url, free), within=20)
    for alertmanager in pair:
        assert eventually(partial(alert_labels, alertmanager.url), within=20)[0] == {
            "alertname": "EtcdIsUp",
            "cluster": "test",
            "job": "etcd",
            "a": "b",
            "instance": etcd.members[0].metrics_url.removeprefix("http://"),
        }


def test_one_alertmanager_listens_on_nothing_but_its_port(stack: Stack) -> None:
    alertmanager = stack.alertmanager(config=AM_CONFIG)
    assert json.loads(get(f"{alertmanager.url}/api/v2/status"))["cluster"]["status"] == "disabled"


def test_a_program_of_the_project_gets_its_configuration_and_its_address(
    stack: Stack, etcd: EtcdCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "ballast-exporter"
    program.write_text(
        f"#!{sys.executable}\n"
        "import http.server, json, pathlib, sys\n"
        "config = pathlib.Path(sys.argv[2])\n"
        "host, port = json.loads(config.read_text())['listen'].split(':')\n"
        "(config.parent / 'readyz').write_bytes(config.read_bytes())\n"
        "class Handler(http.server.SimpleHTTPRequestHandler):\n"
        "    def __init__(self, *args): super().__init__(*args, directory=str(config.parent))\n"
        "http.server.HTTPServer((host, int(port)), Handler).serve_forever()\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(process, "VENV", tmp_path)
    exporter = stack.exporter(config={"etcd": [etcd.config], "file": tmp_path})
    assert json.loads(get(f"{exporter.url}/readyz")) == {
        "listen": exporter.address,
        "etcd": [etcd.config.model_dump(mode="json", exclude_none=True)],
        "file": str(tmp_path),
    }


def test_everything_listens_on_loopback_alone(stack: Stack) -> None:
    stack.etcd(members=3)
    stack.alertmanager_pair(config=AM_CONFIG)
    stack.prometheus()
    stack.node_exporter()
    mine = {f"socket:[{inode}]" for each in stack.processes for inode in sockets(each.pid)}
    assert mine
    for table, any_address in (("tcp", "00000000"), ("tcp6", "0" * 32), ("udp", "00000000")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in mine:
                assert not fields[1].startswith(any_address), line


def sockets(pid: int) -> set[str]:
    links = (str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir())
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}
