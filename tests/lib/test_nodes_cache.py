"""Nodes as hosts, and what is left of them when the apiserver is gone."""

import threading
from pathlib import Path

import pytest

from drills.stack import write_kubeconfig
from kube_ballast.clients.errors import ClientError, Conflict, LocalDisk, Unavailable
from kube_ballast.clients.hosts.nodes import NodesCache
from kube_ballast.config import KubernetesConfig, NodesConfig
from tests.lib.apiservers import Asked, Say, ScriptedApiserver
from tests.waiting import eventually

LABEL = "node-role.kubernetes.io/control-plane"


def node(name: str, *addresses: str) -> dict[str, object]:
    told = [{"type": "InternalIP", "address": address} for address in addresses]
    return {"metadata": {"name": name}, "status": {"addresses": [*told, {"type": "Hostname", "address": name}]}}


def listed(*nodes: dict[str, object]) -> Say:
    return Say(body={"metadata": {"resourceVersion": "1"}, "items": list(nodes)})


def cache(folder: Path, url: str, file: str = "state/nodes.json") -> NodesCache:
    kubeconfig = folder / "kubeconfig"
    write_kubeconfig(kubeconfig, url, folder / "ca", {})
    content = kubeconfig.read_text().replace(f'"certificate-authority": "{folder / "ca"}"', '"tls-server-name": ""')
    kubeconfig.write_text(content)
    return NodesCache(NodesConfig(kubernetes=KubernetesConfig(kubeconfig=kubeconfig), cache=folder / file))


def test_what_was_seen_last_stays_when_the_apiserver_is_gone(tmp_path: Path) -> None:
    with ScriptedApiserver(
        lambda _: listed(node("cp-1", "10.0.0.1", "fd00::1"), node("cp-2", "10.0.0.2"))
    ) as apiserver:
        nodes = cache(tmp_path, apiserver.url)
        nodes.refresh()
        [asked] = apiserver.asked
        assert (asked.path, asked.params["labelSelector"]) == ("/api/v1/nodes", LABEL)
    with pytest.raises(ClientError):
        nodes.refresh()
    again = cache(tmp_path, apiserver.url)
    assert again.read().addresses == {"cp-1": ("10.0.0.1", "fd00::1"), "cp-2": ("10.0.0.2",)}
    assert again.address("cp-1") == "10.0.0.1"
    assert again.address("fd00::1") == "fd00::1"
    with pytest.raises(Conflict, match=r"no Node is called so or has this address \(known: cp-1, cp-2\)"):
        again.address("cp-3")


def test_a_list_that_is_empty_replaces_nothing(tmp_path: Path) -> None:
    answers = [listed(node("cp-1", "10.0.0.1")), listed()]
    with ScriptedApiserver(lambda _: answers.pop(0)) as apiserver:
        nodes = cache(tmp_path, apiserver.url)
        nodes.refresh()
        with pytest.raises(Conflict, match="no Node has"):
            nodes.refresh()
    assert nodes.address("cp-1") == "10.0.0.1"


def test_it_is_refreshed_until_it_is_stopped(tmp_path: Path) -> None:
    stop = threading.Event()

    def script(_: Asked) -> Say:
        stop.set()
        return listed(node("cp-1", "10.0.0.1"))

    with ScriptedApiserver(script) as apiserver:
        nodes = cache(tmp_path, apiserver.url)
        thread = threading.Thread(target=nodes.keep, args=(stop,))
        thread.start()
        thread.join()
    assert eventually(lambda: nodes.address("cp-1")) == "10.0.0.1"


@pytest.mark.parametrize("content", ["", "{", '{"seen_at": 1, "nodes": {"a": "b"}}'])
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: str) -> None:
    nodes = cache(tmp_path, "http://127.0.0.1:9")
    (tmp_path / "state").mkdir()
    (tmp_path / "state/nodes.json").write_text(content)
    with pytest.raises(LocalDisk, match="the Nodes that were seen cannot be read"):
        nodes.read()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    one = listed(node("cp-1", "10.0.0.1"))
    with ScriptedApiserver(lambda _: one) as apiserver, pytest.raises(LocalDisk, match="the Nodes cannot be kept"):
        cache(tmp_path, apiserver.url).refresh()


def test_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        cache(tmp_path, "http://127.0.0.1:9").refresh()
