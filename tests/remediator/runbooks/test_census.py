"""What fills etcd, asked of Prometheus: who is cured, who is told why not, and that no lie stops a cure."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ballast_remediator.contract import RunState
from ballast_remediator.store.records import Run
from drills.filling import client, fill
from drills.stack import EtcdCluster, Scrape, Service, Stack, mountpoint
from kube_ballast.clients.etcd.types import AlarmKind
from kube_ballast.clients.prometheus import Prometheus
from kube_ballast.config import EtcdConfig, HttpConfig
from tests.exporter.asking import get
from tests.remediator.chain import (
    ORDER,
    QUOTA,
    SOON,
    alarms,
    chain,
    defragmentations,
    log_lines,
    revision,
    sizes,
    with_disk,
)
from tests.remediator.doubles import FakePrometheus, http_server
from tests.waiting import eventually

PREFIX = "ballast_etcd_keyspace_"
COLLECTORS: Mapping[str, Mapping[str, object]] = {
    "etcd_quota": {"interval": "500ms", "deadline": "450ms"},
    "etcd_keyspace": {"interval": "500ms", "deadline": "450ms", "every": "1s"},
}
Series = tuple[Mapping[str, str], float]


def fill_with_live_data(etcd: EtcdCluster) -> None:
    """Events that nobody deletes, and a few of something else."""
    with client(etcd) as one:
        for number in range(30):
            one.put(f"/registry/secrets/default/{number}".encode(), bytes(4096), timeout=SOON)
    fill(etcd, keys=100_000, value_bytes=2000, prefix="/registry/events/default/e")


def exporter(stack: Stack, etcd: EtcdCluster, **keyspace: object) -> Service:
    collectors = {**COLLECTORS, "etcd_keyspace": {**COLLECTORS["etcd_keyspace"], **keyspace}}
    return stack.exporter(config={"etcd": [etcd.config], "collectors": collectors})


def told_by(service: Service, at_least: int) -> list[Series]:
    """The census, once there is one of that revision."""

    def now() -> list[Series] | None:
        families = text_string_to_metric_families(get(f"{service.url}/metrics").text)
        found: list[Series] = [
            ({**each.labels, "__name__": each.name, "instance": "exporter-1"}, each.value)
            for family in families
            for each in family.samples
            if each.name.startswith(PREFIX)
        ]
        known = [value for labels, value in found if labels["__name__"] == f"{PREFIX}census_revision"]
        return found if known and known[0] >= at_least else None

    found = eventually(now, within=30.0)
    assert found
    return found


class Teller(FakePrometheus):
    """A Prometheus that also tells of a census, or of whatever a test makes of it."""

    def __init__(self, told: Sequence[Series], warnings: Sequence[str] = ()) -> None:
        super().__init__(node_filesystem_avail_bytes=1e12, ballast_etcd_quota_revision=1)
        self.told = told
        self.warnings = warnings

    def __call__(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, object]:
        if "__name__" not in query["query"][0]:
            return super().__call__(path, query)
        self.asked.append(query["query"][0])
        result = [{"metric": labels, "value": [time.time(), str(value)]} for labels, value in self.told]
        data = {"resultType": "vector", "result": result}
        return 200, {"status": "success", "data": data, "warnings": [*self.warnings]}


@pytest.fixture(scope="module")
def grown(session_stack: Stack) -> EtcdCluster:
    """Full of live data; every test here leaves it as it is."""
    etcd = session_stack.etcd(members=3, quota_bytes=QUOTA)
    fill_with_live_data(etcd)
    return etcd


@pytest.fixture(scope="module")
def census(session_stack: Stack, grown: EtcdCluster) -> tuple[Series, ...]:
    """The truth about it."""
    return tuple(told_by(exporter(session_stack, grown), revision(grown)))


@pytest.fixture
def untouched(grown: EtcdCluster, tmp_path: Path) -> Iterator[EtcdCluster]:
    """The etcd full of live data; afterwards it has to be as it was, and no snapshot may have been kept."""
    before = revision(grown), sizes(grown)
    yield grown
    assert (revision(grown), sizes(grown)) == before
    assert alarms(grown) == {AlarmKind.NOSPACE}
    assert defragmentations(grown) == []
    assert not any("compaction" in line["msg"] for n in range(3) for line in log_lines(grown, n))
    assert not list((tmp_path / "snapshots").glob("*"))


def answer(folder: Path, etcd: EtcdCluster, teller: Teller, *, mode: str = "shadow", **settings: object) -> Run:
    """What becomes of the alert, when that is what Prometheus says."""
    with (
        http_server(teller) as url,
        chain(folder, with_disk(etcd), mode=mode, prometheus=url, settings=settings) as one,
    ):
        return one.answer()


def because(run: Run) -> str:
    assert run.plan is not None
    lines = [line for line in run.plan["because"] if line.startswith("what fills it")]
    assert len(lines) == 1
    return str(lines[0])


def test_live_data_ends_the_run_before_any_step(
    untouched: EtcdCluster, tmp_path: Path, census: Sequence[Series]
) -> None:
    teller = Teller(census)
    run = answer(tmp_path, untouched, teller, mode="auto")
    assert run.state is RunState.SUPPRESSED
    assert run.reason.startswith("live_data_fits: live data takes 1")
    assert " of a quota of 16.0 MiB (" in run.reason
    assert "neither compaction nor defragmentation can bring it below 90 % (live_data). What fills it" in run.reason
    assert "; of the live data: events " in run.reason
    assert ", secrets 12" in run.reason
    assert "What a person can do: delete what is not needed (deletes still pass" in run.reason
    assert "raise --quota-backend-bytes" in run.reason
    assert "--etcd-servers-overrides=/events#https://HOST:2379 on every apiserver" in run.reason
    (asked,) = {asked for asked in teller.asked if "__name__" in asked}
    assert asked.endswith(',etcd_cluster="main"}')


def without(*names: str) -> Callable[[Sequence[Series]], list[Series]]:
    return lambda told: [each for each in told if each[0]["__name__"].removeprefix(PREFIX) not in names]


def valued(name: str, value: float) -> Callable[[Sequence[Series]], list[Series]]:
    return lambda told: [
        (labels, value if labels["__name__"] == PREFIX + name else told_value) for labels, told_value in told
    ]


def scaled(name: str, factor: float) -> Callable[[Sequence[Series]], list[Series]]:
    return lambda told: [
        (labels, value * factor if labels["__name__"] == PREFIX + name else value) for labels, value in told
    ]


def aged(told: Sequence[Series]) -> list[Series]:
    return valued("census_timestamp_seconds", time.time() - 1801)(told)


def early(told: Sequence[Series]) -> list[Series]:
    return valued("census_timestamp_seconds", time.time() + 3600)(told)


def half(told: Sequence[Series]) -> list[Series]:
    """All series of a resource are missing."""
    return [each for each in told if each[0].get("resource") != "secrets"]


LIES: Mapping[str, tuple[Callable[[Sequence[Series]], list[Series]], str]] = {
    "nothing": (lambda _: [], "Prometheus has no census of it"),
    "stale": (aged, "the last census ended 30 min 1 s ago; none of more than 30 min is used (census_max_age)"),
    "from the future": (early, "from now: clocks differ"),
    "failed": (valued("census_success", 0), "the exporter's last attempt at a census came to nothing"),
    "NaN": (valued("live_bytes", math.nan), "a value that is no number (live_bytes nan)"),
    "NaN as its time": (valued("census_timestamp_seconds", math.nan), "a value that is no number"),
    "no sizes": (without("live_bytes", "sampling_error_bytes", "space_bytes"), "a part of the census is missing"),
    "no parts": (without("space_bytes"), "a part of the census is missing (space_bytes)"),
    "half of it": (half, "or not whole"),
    "of an older time": (valued("census_revision", 1), "it is of another etcd (prometheus_labels tell clusters apart)"),
    "of a later time": (valued("census_revision", 1e9), "the census is of another etcd, at revision 1000000000"),
    "of another etcd": (scaled("keys", 2), "it is of another etcd"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_prometheus_that_lies_stops_nothing(
    untouched: EtcdCluster, tmp_path: Path, census: Sequence[Series], lie: str
) -> None:
    made, words = LIES[lie]
    run = answer(tmp_path, untouched, Teller(made(census)))
    assert run.state is RunState.SHADOWED, run.reason
    assert because(run).startswith("what fills it is unknown: ")
    assert words in because(run)
    assert because(run).endswith("Whether live data leaves room shows after the compaction")


def test_a_prometheus_that_warns_stops_nothing(
    untouched: EtcdCluster, tmp_path: Path, census: Sequence[Series]
) -> None:
    run = answer(tmp_path, untouched, Teller(census, warnings=["store 2 was not reached"]))
    assert run.state is RunState.SHADOWED
    assert "Prometheus warns that its answer may not be whole: store 2 was not reached" in because(run)


def test_nor_does_one_that_is_not_there(untouched: EtcdCluster, tmp_path: Path) -> None:
    with chain(tmp_path, untouched, mode="shadow") as one:
        run = one.answer()
        assert run.state is RunState.SHADOWED
        assert "what fills it is unknown: Prometheus does not tell: " in because(run)


def test_a_census_that_is_old_by_the_settings(untouched: EtcdCluster, tmp_path: Path, census: Sequence[Series]) -> None:
    run = answer(tmp_path, untouched, Teller(census), census_max_age="1ms")
    assert run.state is RunState.SHADOWED
    assert "none of more than 1 ms is used (census_max_age)" in because(run)


def test_a_sample_too_coarse_to_tell_is_said_and_stops_nothing(
    untouched: EtcdCluster, tmp_path: Path, census: Sequence[Series]
) -> None:
    sampled = valued("sampling_error_bytes", 2.0**21)(valued("census_exact", 0)(census))
    run = answer(tmp_path, untouched, Teller(sampled))
    assert run.state is RunState.SHADOWED
    assert because(run).startswith("what fills it (census of ")
    assert because(run).endswith(", sampled, ± 2.8 MiB")
    assert run.plan is not None
    reasons = {one["guard"]: one["reason"] for one in run.plan["answers"]}
    assert reasons["live_data_fits"].endswith("which is not certain now: it shows after the compaction")


def test_the_plan_hash_is_that_of_any_measurement(
    untouched: EtcdCluster, tmp_path: Path, census: Sequence[Series]
) -> None:
    hashes = set()
    for number, told in enumerate(([], scaled("live_bytes", 0.1)(scaled("space_bytes", 0.1)(census)))):
        (tmp_path / str(number)).mkdir()
        run = answer(tmp_path / str(number), untouched, Teller(told))
        assert run.state is RunState.SHADOWED
        hashes.add((run.plan_hash, because(run).startswith("what fills it is unknown")))
    assert len({plan_hash for plan_hash, _ in hashes}) == 1
    assert {unknown for _, unknown in hashes} == {True, False}


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

    eventually(known, within=60.0)


def test_on_the_real_chain_live_data_is_told_apart_from_history(stack: Stack, tmp_path: Path) -> None:
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


def test_on_the_real_chain_a_cure_names_what_fills_etcd_and_no_census_is_in_its_way(
    stack: Stack, tmp_path: Path
) -> None:
    etcd = stack.etcd(members=3, quota_bytes=QUOTA)
    with client(etcd) as member:
        for number in range(1000):
            member.put(f"/registry/pods/default/{number}".encode(), b"small", timeout=SOON)
    fill(etcd)
    # At this pace a census takes seconds, and the next one begins at once: one is always under way.
    service, config = watched(stack, etcd, keys_per_second=300, every="100ms")
    until_counted(service, revision(etcd))

    with chain(tmp_path, config, prometheus=service.url) as one:
        run = one.answer()
        assert run.state is RunState.SUCCEEDED, one.story(run)
        assert because(run).startswith("what fills it (census of 1008 keys ")
        assert "): history " in because(run), "the most comes first"
        assert "; of the live data: configmaps 4.0 MiB (99 %)" in because(run)
        assert "waiting" not in one.story(run)
    assert alarms(etcd) == set()
    assert len(defragmentations(etcd)) == 3
