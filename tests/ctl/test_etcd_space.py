"""What `ballastctl etcd space` counts."""

import subprocess
import sys

import pytest

from drills.stack import EtcdCluster, Stack
from tests.ctl.spaces import COMMAND, ROOT, counted_by_etcdctl, etcdctl, report, space


def test_it_runs_where_neither_exporter_nor_remediator_is_installed(filled: EtcdCluster) -> None:
    extras = ("prometheus_client", "flask", "granian", "bcrypt", "sqlalchemy", "alembic", "flask_openapi3")
    program = f"import sys; sys.modules.update(dict.fromkeys({extras!r})); {COMMAND[2]}"
    command = [sys.executable, "-c", program, *COMMAND[3:], "--endpoints", filled.endpoints[0], "--fast"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def test_keys_agree_exactly_with_etcdctl(filled: EtcdCluster) -> None:
    shown = report(space(filled, "-o", "json"))
    assert shown["keys"] == counted_by_etcdctl(filled, "", "--from-key")
    holders = {each["name"]: each for each in shown["resources"]}
    for resource, path in {
        "pods": "pods",
        "nodes": "minions",
        "leases.coordination.k8s.io": "leases",
        "applications.argoproj.io": "argoproj.io/applications",
        "endpointslices.discovery.k8s.io": "endpointslices",
        "services": "services/specs",
    }.items():
        assert holders[resource]["keys"] == counted_by_etcdctl(filled, f"{ROOT}/{path}/", "--prefix")
    strangers = {each["name"]: each["keys"] for each in shown["foreign"]}
    assert strangers["/space-stranger"] == 1


def test_the_json_adds_up(filled: EtcdCluster) -> None:
    shown = report(space(filled, "-o", "json"))
    holders = shown["resources"] + shown["foreign"]
    assert (shown["schema"], shown["sizes"]) == (1, "exact")
    assert sum(each["keys"] for each in holders) == shown["keys"]
    assert sum(each["bytes"] for each in holders) == shown["bytes"]
    assert sum(each["share"] for each in holders) == pytest.approx(1)
    parts = shown["parts"]
    four = sum(parts[f"{part}_bytes"] for part in ("live", "half_empty", "history", "free"))
    assert four == pytest.approx(parts["size_bytes"])
    (member,) = shown["etcd"]["members"]
    assert (member["role"], member["quota_bytes"]) == ("leader", 2 * 2**30)
    assert shown["largest"] == []
    assert shown["growth"] is None


def test_names_are_told_only_when_asked_for(filled: EtcdCluster) -> None:
    assert "/space-stranger/one" not in space(filled, "-o", "json").stdout
    (largest,) = report(space(filled, "-o", "json", "--largest", "1"))["largest"]
    told = report(space(filled, "-o", "json"))
    assert largest["bytes"] == max(each["largest_bytes"] for each in (*told["resources"], *told["foreign"]))
    assert largest["key"] in etcdctl(filled, "get", largest["key"], "--keys-only")


def test_keys_only_tells_what_it_does_not_know(filled: EtcdCluster) -> None:
    shown = report(space(filled, "-o", "json", "--keys-only"))
    assert (shown["sizes"], shown["bytes"], shown["parts"], shown["cures"]) == ("unknown", None, None, None)
    assert shown["keys"] == counted_by_etcdctl(filled, "", "--from-key")
    table = space(filled, "--keys-only").stdout
    assert "Sizes were not read" in table
    assert "BYTES" not in table


def test_an_etcd_without_keys(stack: Stack) -> None:
    assert "Whose they are: 0 keys" in space(stack.etcd()).stdout
