"""A Prometheus that tells of a census, and the exporter whose census it is."""

import time
from collections.abc import Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from ballast_remediator.store.records import Run
from drills.filling import client, fill
from drills.stack import EtcdCluster, Service, Stack
from tests.exporter.asking import get
from tests.remediator.chain import SOON
from tests.remediator.doubles import FakePrometheus
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


def because(run: Run) -> str:
    """The line of the plan that says what fills etcd."""
    assert run.plan is not None
    lines = [line for line in run.plan["because"] if line.startswith("what fills it")]
    assert len(lines) == 1
    return str(lines[0])
