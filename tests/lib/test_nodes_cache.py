"""Nodes as hosts, and what is left of them when the apiserver is gone."""

import json
import threading
import time
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


def touched(name: str, *, cordoned: bool = False, said: str | None = None) -> dict[str, object]:
    annotations = {} if said is None else {"ballast/at-work": said}
    spec = {"unschedulable": True} if cordoned else {}
    return {**node(name, "10.0.0.9"), "metadata": {"name": name, "annotations": annotations}, "spec": spec}


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


def test_who_works_on_a_node_is_seen_and_remembered(tmp_path: Path) -> None:
    nodes = [
        touched("cp-1"),
        touched("cp-2", cordoned=True),
        touched("cp-3", said="anna: new disk"),
        touched("cp-4", cordoned=True, said="no"),
        touched("cp-5", said=""),
    ]
    told = {
        "cp-2": "is cordoned",
        "cp-3": "is annotated ballast/at-work='anna: new disk'",
        "cp-5": "is annotated ballast/at-work=''",
    }
    with ScriptedApiserver(lambda _: listed(*nodes)) as apiserver:
        seen = cache(tmp_path, apiserver.url)
        assert seen.at_work() == {}, "nothing was seen yet"
        seen.refresh()
        assert seen.at_work() == told
        nodes[1] = touched("cp-2")
        seen.refresh()
        assert "cp-2" not in seen.at_work()
        nodes[1] = touched("cp-2", cordoned=True)
        seen.refresh()
    file = tmp_path / "state/nodes.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "seen_at": time.time() - 7200.0}))
    assert cache(tmp_path, apiserver.url).at_work()["cp-2"] == "is cordoned, as it was seen 120 min ago"


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
