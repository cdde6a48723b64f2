"""The exporter over the network: who may ask, what TLS is spoken, and who can block whom."""

import base64
import contextlib
import socket
import ssl
import subprocess
import urllib.error
from pathlib import Path

import bcrypt
import pytest
from prometheus_client.core import GaugeMetricFamily

from ballast_exporter.app import create_app
from ballast_exporter.contract import Snapshot
from drills.stack import Authority, Component, EtcdCluster, Process, Stack, http_probe
from drills.stack.process import console_script
from kube_ballast.clients.errors import Unavailable
from tests.exporter.asking import get
from tests.exporter.fakes import FakeClock, FakePoll, core_of, snapshot
from tests.waiting import eventually


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def fails() -> Snapshot:
    raise Unavailable("https://<b>etcd</b>:2379", "Status: refused")


def test_the_page_tells_each_collectors_state_in_words() -> None:
    clock = FakeClock()
    good, gap, bad = FakePoll(), FakePoll(lambda: snapshot(1.0, "main/etcd-2: silent")), FakePoll(fails)
    core = core_of(good, gap, bad, clock=clock)
    client = create_app(core, clock.monotonic).test_client()
    assert client.get("/readyz").status_code == 503
    assert "starting" in client.get("/").text
    for slot in core.slots:
        slot.poll()
    clock.now += 75
    page = client.get("/").text
    assert "1 min 15 s ago" in page
    assert "never" in page, "three never succeeded"
    assert "https://&lt;b&gt;etcd&lt;/b&gt;:2379: Status: refused" in page
    assert client.get("/readyz").text == "ok\n"


def test_the_page_names_gaps_while_they_are_known() -> None:
    clock = FakeClock()
    core = core_of(FakePoll(lambda: snapshot(1.0, "main/etcd-2: silent")), clock=clock)
    core.slots[0].poll()
    assert "main/etcd-2: silent" in create_app(core, clock.monotonic).test_client().get("/").text


def test_healthz_fails_when_a_collector_is_stuck() -> None:
    clock = FakeClock()
    core = core_of(FakePoll(), clock=clock)
    client = create_app(core, clock.monotonic).test_client()
    assert client.get("/healthz").status_code == 200
    core.slots[0]._state = core.slots[0]._state.__class__(started=clock.now - 1000)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (503, "stuck for minutes, a restart helps: one\n")


def test_label_values_are_escaped() -> None:
    def answer() -> Snapshot:
        family = GaugeMetricFamily("ballast_fake_value", "A value.", labels=["member"])
        family.add_metric(['a"b\\c\nd'], 1)
        return Snapshot((family,))

    core = core_of(FakePoll(answer), clock=FakeClock())
    core.slots[0].poll()
    assert r'{member="a\"b\\c\nd"} 1.0' in create_app(core).test_client().get("/metrics").text


def run(
    stack: Stack, etcd: EtcdCluster, web: str, *, scheme: str = "http", tls: ssl.SSLContext | None = None
) -> tuple[str, Process]:
    """An exporter with this web configuration; its URL and process."""
    folder, address = stack.data("exporter"), stack.address()
    (folder / "web.yml").write_text(web)
    member = etcd.config.members[0]
    (folder / "config.yaml").write_text(f"etcd: [{{members: [{{endpoint: {member.endpoint}}}]}}]\n")
    component = Component(
        name=folder.name,
        program=console_script("ballast-exporter"),
        arguments=(
            *("--config", str(folder / "config.yaml")),
            *("--web.config.file", str(folder / "web.yml")),
            *("--web.listen-address", address),
        ),
        ready=http_probe(f"{scheme}://{address}/readyz", tls=tls),
    )
    return f"{scheme}://{address}", stack.run(component)[0]


def users(**passwords: str) -> str:
    lines = (f"  {user}: {hashed(password)}\n" for user, password in passwords.items())
    return "basic_auth_users:\n" + "".join(lines)


def status(url: str, *credentials: str) -> int:
    return get(f"{url}/metrics", headers=basic(*credentials) if credentials else {}).status


def test_only_users_of_the_web_configuration_may_ask(stack: Stack, etcd: EtcdCluster) -> None:
    url, _ = run(stack, etcd, users(prometheus="right"))
    refused = get(f"{url}/metrics")
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert status(url, "prometheus", "wrong") == 401
    assert status(url, "nobody", "right") == 401
    assert get(f"{url}/metrics", headers={"Authorization": "Basic !"}).status == 401
    assert get(f"{url}/metrics", headers={"Authorization": "Bearer right"}).status == 401
    for _ in range(3):
        assert status(url, "prometheus", "right") == 200
    assert get(f"{url}/healthz").status == 200, "a kubelet has no password"


def test_users_are_read_again_when_the_file_changes(stack: Stack, etcd: EtcdCluster) -> None:
    url, _ = run(stack, etcd, users(prometheus="old"))
    assert status(url, "prometheus", "old") == 200
    (file,) = stack.folder.rglob("web.yml")
    file.write_text(users(prometheus="new-and-longer", grafana="other"))
    eventually(lambda: status(url, "prometheus", "new-and-longer") == 200)
    assert status(url, "prometheus", "old") == 401, "what was proved against the old hash is forgotten"
    file.write_text("basic_auth_users: {prometheus: no-hash}\n")
    assert status(url, "prometheus", "new-and-longer") == 200, "a broken file changes nothing"


def test_tls_with_client_certificates(stack: Stack, etcd: EtcdCluster) -> None:
    authority = Authority(stack.data("authority"))
    server, client = authority.issue("server"), authority.issue("client")
    assert client.cert is not None
    assert client.key is not None
    proved = ssl.create_default_context(cafile=str(authority.ca))
    proved.load_cert_chain(client.cert, client.key)
    web = (
        f"tls_server_config:\n  cert_file: {server.cert}\n  key_file: {server.key}\n"
        f"  client_ca_file: {authority.ca}\n  client_auth_type: RequireAndVerifyClientCert\n"
    )
    url, _ = run(stack, etcd, web, scheme="https", tls=proved)
    assert get(f"{url}/metrics", tls=proved).status == 200
    stranger = ssl.create_default_context(cafile=str(authority.ca))
    with pytest.raises((urllib.error.URLError, OSError)):
        get(f"{url}/metrics", tls=stranger)


def test_half_sent_requests_and_idle_connections_block_nobody(stack: Stack, etcd: EtcdCluster) -> None:
    url, _ = run(stack, etcd, users(prometheus="right"))
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as open_connections:

        def send(data: bytes) -> None:
            connection = open_connections.enter_context(socket.create_connection((host, int(port)), timeout=10))
            connection.sendall(data)

        for _ in range(100):
            send(b"")
        for _ in range(16):
            send(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Half")
        authorization = basic("prometheus", "right")["Authorization"]
        for _ in range(32):
            head = f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Length: 9\r\n\r\n"
            send(head.encode() + b"half")
        assert status(url, "prometheus", "right") == 200


def test_sigterm_ends_it_in_order(stack: Stack, etcd: EtcdCluster) -> None:
    _, process = run(stack, etcd, users(prometheus="right"))
    process.terminate()
    assert process.wait(10) == 0


def test_killed_outright_it_leaves_no_worker_behind(stack: Stack, etcd: EtcdCluster) -> None:
    url, process = run(stack, etcd, users(prometheus="right"))
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    eventually(lambda: not alive(worker))
    # A thread of it may hold the socket for a moment longer than its first thread lives.
    eventually(lambda: refuses(url))


def refuses(url: str) -> bool:
    try:
        get(f"{url}/healthz")
    except OSError as error:
        return "refused" in str(error)
    return False


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_port_that_is_taken_is_said_to_be_taken(stack: Stack, etcd: EtcdCluster, tmp_path: Path) -> None:
    url, _ = run(stack, etcd, users(prometheus="right"))
    address = url.removeprefix("http://")
    (tmp_path / "config.yaml").write_text(
        f"listen: {address}\netcd: [{{members: [{{endpoint: {etcd.endpoints[0]}}}]}}]\n"
    )
    second = subprocess.run(
        [console_script("ballast-exporter"), "--config", tmp_path / "config.yaml"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert f"cannot listen on {address}: Address already in use" in second.stderr
