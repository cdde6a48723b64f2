"""The whole runbook on real members: what a person reads afterwards, and what etcd's own logs say of it."""

import json
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.store.schema import locks
from drills.filling import client
from drills.stack import EtcdCluster, Scrape, Service, Stack, mountpoint, tool
from drills.stack.process import ETCD_VERSION
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import EtcdConfig, HttpConfig
from tests.remediator.chain import (
    MIB,
    ORDER,
    SOON,
    Chain,
    alarms,
    chain,
    defragmentations,
    full,
    leader,
    move_leadership,
    never_two_at_once,
    revision,
    sizes,
)
from tests.waiting import eventually

RULE = """
groups:
  - name: revision
    rules:
      - record: ballast_etcd_quota_revision
        expr: label_replace(etcd_debugging_mvcc_current_revision, "etcd_cluster", "main", "", "")
"""


@pytest.fixture(params=["plain", "mtls", pytest.param("3.6", marks=pytest.mark.e2e)])
def etcd(request: pytest.FixtureRequest, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> EtcdCluster:
    if request.param == "3.6":
        monkeypatch.setenv(ETCD_VERSION, "3.6")
    return full(stack, tls=request.param == "mtls")


def observed(stack: Stack, etcd: EtcdCluster) -> tuple[Service, EtcdConfig]:
    """A Prometheus that scrapes etcd and a node_exporter, and the configuration that names the members' disks."""
    node = stack.node_exporter()
    service = stack.prometheus(
        scrape=[
            Scrape(job="etcd", targets=[member.metrics_url for member in etcd.members]),
            Scrape(job="node", targets=[node.address]),
        ],
        rules=[RULE],
        scrape_interval="1s",
        evaluation_interval="1s",
    )
    config = etcd.config.model_dump()
    for member, entry in zip(etcd.members, config["members"], strict=True):
        entry["disk"] = {"instance": node.address, "mountpoint": mountpoint(member.data_dir)}
    return service, EtcdConfig.model_validate(config)


def until_known(service: Service, revision: int) -> None:
    """Waits until Prometheus can tell the revision of a second ago, and the disk."""
    asked = Prometheus(HttpConfig(url=service.url))
    queries = ("min(ballast_etcd_quota_revision offset 1s)", "min(node_filesystem_avail_bytes)")

    def known() -> bool:
        old, disk = (asked.query(query, timeout=SOON) for query in queries)
        return bool(old and disk and old[0].value >= revision)

    eventually(known, within=30.0)


def test_a_full_etcd_frees_itself(stack: Stack, etcd: EtcdCluster, tmp_path: Path) -> None:
    service, config = observed(stack, etcd)
    before = revision(etcd)
    until_known(service, before)
    move_leadership(etcd, to=1)
    names = [member.name for member in etcd.members]

    with chain(tmp_path, config, prometheus=service.url) as one:
        run = one.answer()

        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert "etcd is restored" in run.reason
        done = one.done(run)
        assert [kind for kind, _ in done] == ORDER
        # The followers by name, then the member that led when it was planned.
        assert [target for kind, target in done if kind == "defragment"] == [names[0], names[2], names[1]]
        story = one.story(run)
        assert f"compacted to revision {before};" in story
        assert "no further compaction is needed" in story
        assert story.count("leadership moved from") == 1
        assert f"note: leadership moved from {names[1]} to" in story
        assert "note: lifted NOSPACE of etcd-" in story
        assert run.mode == "auto"
        assert run.plan is not None
        assert {answer["verdict"] for answer in run.plan["answers"]} == {"allow"}
        the_snapshot_is_good(one, one.facts(run, "snapshot"))
        assert one.store.read(lambda connection: connection.execute(locks.select()).all()) == []

    the_world_is_restored(etcd)
    assert [each.member for each in defragmentations(etcd)] == [names[0], names[2], names[1]]
    assert never_two_at_once(etcd)
    assert leader(etcd) != 1


def the_world_is_restored(etcd: EtcdCluster) -> None:
    assert alarms(etcd) == set()
    assert max(sizes(etcd)) < 8 * MIB
    with client(etcd) as one:
        one.put(b"written", b"afterwards", timeout=SOON)
        assert one.range(b"/ballast/write-test", b"/ballast/write-tesu", timeout=SOON).count == 0
        assert one.range(b"/registry/configmaps/drill/filler-0", timeout=SOON).count == 1


def the_snapshot_is_good(one: Chain, facts: Mapping[str, object]) -> None:
    path = Path(str(facts["path"]))
    assert path.parent == one.snapshots
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    told = subprocess.run(
        [tool("etcdutl"), "snapshot", "status", str(path), "--write-out=json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(told.stdout)["totalKey"] > 0
    summed = subprocess.run(["sha256sum", str(path)], check=True, capture_output=True, text=True)
    assert summed.stdout.split()[0] == facts["sha256"]
