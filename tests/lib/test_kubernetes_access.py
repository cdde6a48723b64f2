"""Who asks: kubeconfigs, plugins, tokens that are renewed; and what is said when there is no way in."""

import base64
import json
import os
import stat
import tempfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from drills.stack import Authority
from kube_ballast import __version__
from kube_ballast.clients.errors import Denied, Timeout
from kube_ballast.clients.kubernetes import Kubernetes, PartialObjectMetadata, access, kubeconfig
from kube_ballast.clients.kubernetes.limits import Limit
from kube_ballast.config import KubernetesConfig
from tests.lib.apiservers import Asked, Say, ScriptedApiserver, client, item
from tests.lib.apiservers import kubeconfig as write

PATH = "/api/v1/nodes/a"


def answer(_: Asked) -> Say:
    return Say(200, item("a"))


def read(kubernetes: Kubernetes, timeout: float = 5.0) -> None:
    kubernetes.get(PATH, PartialObjectMetadata, timeout=timeout)


def credentials(server: ScriptedApiserver) -> list[str | None]:
    return [asked.headers.get("Authorization") for asked in server.asked]


def plugin(folder: Path, text: str) -> dict[str, object]:
    """A user whose credentials a script gives; it is written anew at each call of this."""
    script = folder / "plugin"
    script.write_text(f"#!/bin/sh\necho called >> {folder}/calls\n{text}\n")
    script.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": str(script), "interactiveMode": "Never"}}


def gives(**status: str) -> str:
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    return f"echo '{json.dumps(credential)}'"


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().splitlines())


def test_the_program_says_who_it_is_and_takes_packed_answers(tmp_path: Path) -> None:
    with ScriptedApiserver(answer) as server:
        config = KubernetesConfig(kubeconfig=write(server.url, tmp_path, token="a-token"))
        read(Kubernetes(config, agent="ballast-exporter"))
    (asked,) = server.asked
    assert asked.headers["User-Agent"] == f"ballast-exporter/{__version__} (kube-ballast)"
    assert asked.headers["Authorization"] == "Bearer a-token"
    assert asked.headers["Accept-Encoding"] == "gzip"


def test_a_token_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FRESH_SECONDS", 0.0)
    token = tmp_path / "token"
    with ScriptedApiserver(answer) as server:
        kubernetes = client(server.url, tmp_path, tokenFile=str(token))
        for text in ("first\n", "second\n"):
            token.write_text(text)
            read(kubernetes)
    assert credentials(server) == ["Bearer first", "Bearer second"]


def test_credentials_that_are_refused_are_read_again_for_the_next_call(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")

    def script(asked: Asked) -> Say:
        return answer(asked) if asked.headers["Authorization"] == "Bearer new" else Say(401, b"")

    with ScriptedApiserver(script) as server:
        kubernetes = client(server.url, tmp_path, tokenFile=str(token))
        with pytest.raises(Denied, match="401"):
            read(kubernetes)
        token.write_text("new")
        read(kubernetes)
    assert credentials(server) == ["Bearer old", "Bearer new"]


def test_a_plugin_is_asked_again_when_what_it_gave_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "FRESH_SECONDS", 0.0)
    user = plugin(tmp_path, gives(token="long", expirationTimestamp="2999-01-01T00:00:00Z"))
    with ScriptedApiserver(answer) as server:
        kubernetes = client(server.url, tmp_path, **user)
        read(kubernetes)
        read(kubernetes)
        assert calls(tmp_path) == 1
        plugin(tmp_path, gives(token="short", expirationTimestamp="2001-01-01T00:00:00Z"))
        kubernetes = client(server.url, tmp_path, **user)
        read(kubernetes)
        read(kubernetes)
        assert calls(tmp_path) == 3
    assert credentials(server) == ["Bearer long"] * 2 + ["Bearer short"] * 2


def test_a_plugin_that_fails_is_named(tmp_path: Path) -> None:
    with ScriptedApiserver(answer) as server:
        kubernetes = client(server.url, tmp_path, **plugin(tmp_path, "echo no ticket >&2; exit 1"))
        with pytest.raises(Denied, match=r"nothing was sent.*its plugin `.*/plugin` gave no credentials"):
            read(kubernetes)
    assert server.asked == []


def test_a_plugin_that_hangs_costs_no_more_than_the_deadline(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with ScriptedApiserver(answer) as server:
        kubernetes = client(server.url, tmp_path, **plugin(tmp_path, f"echo $$ > {pid}; exec sleep 600"))
        with pytest.raises(Timeout, match=r"reading the credentials took longer than 0\.5 s"):
            read(kubernetes, timeout=0.5)
    os.kill(int(pid.read_text()), 9)


def test_keys_that_stand_in_the_kubeconfig_are_left_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (tmp_path / "authority").mkdir()
    issued = Authority(tmp_path / "authority").issue("somebody")
    assert issued.cert is not None
    assert issued.key is not None
    path = write(
        "https://127.0.0.1:1",
        tmp_path,
        **{
            "client-certificate-data": base64.b64encode(issued.cert.read_bytes()).decode(),
            "client-key-data": base64.b64encode(issued.key.read_bytes()).decode(),
        },
    )
    (tmp_path / "ca.pem").write_bytes(issued.ca.read_bytes() if issued.ca else b"")
    for _ in range(2):
        assert kubeconfig.load(path, None).access.context is not None
        assert list(scratch.iterdir()) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def change(path: Path, **cluster: object) -> None:
    content = json.loads(path.read_text())
    content["clusters"][0]["cluster"] |= cluster
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"insecure-skip-tls-verify": True}, "insecure-skip-tls-verify is not supported"),
        ({"proxy-url": "http://proxy.example:3128"}, "proxy-url is not supported"),
        ({"server": "https://127.0.0.1:1", "certificate-authority": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
        ({"server": "https://127.0.0.1:1", "certificate-authority-data": "!"}, "cannot be used"),
    ],
)
def test_what_a_kubeconfig_asks_for_in_vain(cluster: dict[str, object], words: str, tmp_path: Path) -> None:
    path = write("http://127.0.0.1:1", tmp_path, token="a")
    change(path, **cluster)
    with pytest.raises(Denied, match=words) as caught:
        read(Kubernetes(KubernetesConfig(kubeconfig=path)))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{a: [", "contexts: []", "\x00", "current-context: x"])
def test_what_is_no_kubeconfig(text: str, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(Denied, match="the kubeconfig cannot be used"):
        read(Kubernetes(KubernetesConfig(kubeconfig=path)))


def test_a_kubeconfig_that_is_gone_or_has_no_such_context(tmp_path: Path) -> None:
    path = write("http://127.0.0.1:1", tmp_path, token="a")
    with pytest.raises(Denied, match="no-such"):
        read(Kubernetes(KubernetesConfig(kubeconfig=path, context="no-such")))
    gone = Kubernetes(KubernetesConfig(kubeconfig=path))
    path.unlink()
    with pytest.raises(Denied, match="No such file"):
        read(gone)


def test_outside_a_pod_a_kubeconfig_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Denied, match=r"configure kubernetes\.kubeconfig"):
        read(Kubernetes(KubernetesConfig()))


def test_a_pod_without_its_token_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    source = access.InCluster(tmp_path)
    assert source.target == "https://[fd00::1]:443"
    with pytest.raises(Denied, match="token cannot be read"):
        source.access(Limit(1.0))


def test_a_context_is_one_of_a_kubeconfig() -> None:
    with pytest.raises(ValidationError, match="context is one of a kubeconfig"):
        KubernetesConfig(context="a")
