"""The whole chain on real members, with a real exporter's census in a real Prometheus."""

from pathlib import Path
from typing import Any

from ballast_remediator.contract import RunState
from drills.filling import client, fill
from drills.stack import EtcdCluster, Scrape, Service, Stack, mountpoint
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import EtcdConfig, HttpConfig
from tests.remediator.chain import ORDER, QUOTA, SOON, alarms, chain, defragmentations, revision
from tests.remediator.runbooks.telling import PREFIX, because, exporter, fill_with_live_data
from tests.waiting import eventually


def watched(stack: Stack, etcd: EtcdCluster, **keyspace: object) -> tuple[Service, EtcdConfig]:
    """A real Prometheus that scrapes a real exporter and a node_exporter, and the members with their disks."""
    node = stack.node_exporter()
    service = stack.prometheus(
        scrape=[
            Scrape(job="ballast-exporter", targets=[exporter(stack, etcd, **keyspace).address]),
            Scrape(job="node", targets=[node.address]),
        ],
        scrape_interval="1s",
        evaluation_interval="1s",
    )
    config: dict[str, Any] = etcd.config.model_dump()
    for member, entry in zip(etcd.members, config["members"], strict=True):
        entry["disk"] = {"instance": node.address, "mountpoint": mountpoint(member.data_dir)}
    return service, EtcdConfig.model_validate(config)


def until_counted(service: Service, revision: int) -> None:
    """Waits until Prometheus holds a census of that revision, and the revision of a second ago."""
    asked = Prometheus(HttpConfig(url=service.url))
    queries = (
        f"max({PREFIX}census_revision)",
        "min(ballast_etcd_quota_revision offset 1s)",
        "min(node_filesystem_avail_bytes)",
    )

    def known() -> bool:
        census, old, disk = (asked.query(query, timeout=SOON) for query in queries)
        return bool(census and old and disk and min(census[0].value, old[0].value) >= revision)

    eventually(known, within=120.0)


def test_live_data_is_told_apart_from_history(stack: Stack, tmp_path: Path) -> None:
    etcd = stack.etcd(members=3, quota_bytes=QUOTA)
    fill_with_live_data(etcd)
    service, config = watched(stack, etcd)
    before = revision(etcd)
    until_counted(service, before)

    with chain(tmp_path, config, prometheus=service.url) as one:
        run = one.answer()
        assert run.state is RunState.SUPPRESSED, one.story(run)
        assert "(live_data). What fills it (census of " in run.reason
        assert one.done(run) == []
        assert revision(etcd) == before

        # A person deletes what is not needed, as the run said: what is left to cure is history.
        with client(etcd) as member:
            member.delete_range(b"/registry/events/", b"/registry/events0", timeout=SOON)
        one.receive()
        (run,) = eventually(lambda: [each for each in one.runs() if each.id != run.id])
        run = one.until_final()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert [kind for kind, _ in one.done(run)] == ORDER
        assert alarms(etcd) == set()


def test_a_cure_names_what_fills_etcd_and_no_census_is_in_its_way(stack: Stack, tmp_path: Path) -> None:
    etcd = stack.etcd(members=3, quota_bytes=QUOTA)
    with client(etcd) as member:
        for number in range(300):
            member.put(f"/registry/pods/default/{number}".encode(), b"small", timeout=SOON)
    fill(etcd)
    # At this pace a census takes seconds, and the next one begins at once: one is always under way.
    service, config = watched(stack, etcd, keys_per_second=100, every="100ms")
    until_counted(service, revision(etcd))

    with chain(tmp_path, config, prometheus=service.url) as one:
        run = one.answer()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert because(run).startswith("what fills it (census of 308 keys ")
        assert "): history " in because(run), "the most comes first"
        assert "; of the live data: configmaps 4.0 MiB (100 %)" in because(run)
        assert "waiting" not in one.story(run)
    assert alarms(etcd) == set()
    assert len(defragmentations(etcd)) == 3
