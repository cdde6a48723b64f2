"""What fills etcd, asked of Prometheus: who is cured, who is told why not, and that no lie stops a cure."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from ballast_remediator.contract import RunState
from ballast_remediator.store.records import Run
from drills.stack import EtcdCluster, Stack
from kube_ballast.clients.etcd.types import AlarmKind
from tests.remediator.chain import QUOTA, alarms, chain, defragmentations, log_lines, revision, sizes, with_disk
from tests.remediator.doubles import http_server
from tests.remediator.runbooks.telling import (
    PREFIX,
    Series,
    Teller,
    because,
    exporter,
    fill_with_live_data,
    told_by,
)


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
    "stale": (aged, "ago; none of more than 30 min is used (census_max_age)"),
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
