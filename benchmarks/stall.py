"""What the probes of a stall cost those they ask, and how soon verdict and alert come.

The ground of `make drill-stall` (drills/stall), which takes the components of `make tools-e2e`: while all is well, the
exporter's count of its requests to each apiserver, beside each apiserver's own count of those that its flow control has
dispatched, which pings are not, and the count of reads of an etcd member that no apiserver uses. The same once more
while the first apiserver is stalled on all of its channels, where what fails is tried again. Then the drill's rows of
this version of the code: those that are missing are made, each fault once. About twelve minutes.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from benchmarks.report import Report
from drills.filling import client
from drills.relay import Fault, Mode
from drills.stall.faults import SICKNESSES
from drills.stall.ground import Ground, running
from drills.stall.making import Options, faults, say
from drills.stall.rows import ALERT_SECONDS, UNKNOWN_SECONDS, VERDICT_SECONDS, Row
from drills.stall.watch import EVERY_SECONDS, Watcher
from kube_ballast.analysis.stall import Verdict
from kube_ballast.clients.etcd.types import prefix_end
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient
from kube_ballast.config import HttpConfig

SECONDS: Final = 120.0
STALLED_WITHIN_SECONDS: Final = 60.0
CERTAIN_SECONDS: Final = 15.0
"""After the verdict: every probe that fails has done so four times by then, and is asked no oftener than if well."""
TIMEOUT: Final = 30.0
DISPATCHED, HANDLED = "apiserver_flowcontrol_dispatched_requests_total", "grpc_server_handled_total"
ASKED: Final = "ballast_source_requests_total"
KEYS: Final = "etcd_debugging_mvcc_keys_total"
COMPACTED_SECONDS: Final = 300.0
"""An apiserver has etcd compacted that often: older history is free again."""
LEASES: Final = b"/registry/leases/kube-ballast/"
"""Where the canaries are."""


def run(report: Report) -> None:
    """The suite `stall`."""
    with running(local=True) as ground:
        Watcher(ground).until_well()
        _cost(report, ground)
        _cost_of_a_stall(report, ground)
    _drilled(report, faults(Options(names=tuple(each.name for each in SICKNESSES))))


def _cost(report: Report, ground: Ground) -> None:
    say(f"{SECONDS:g} s while all is well")
    before, began = _counts(ground), time.monotonic()
    time.sleep(SECONDS)
    after, lasted = _counts(ground), time.monotonic() - began
    grown = {name: after[name] - count for name, count in before.items()}
    for name in ("apiserver_1", "apiserver_2"):
        report.at_most(f"stall_requests_to_{name}", grown[name] / lasted, "1/s", 3.0)
        # Where the flow schema matches nobody none are counted, however many there are.
        report.at_least(f"stall_requests_dispatched_by_{name}", grown[f"dispatched_by_{name}"] / lasted, "1/s", 0.5)
    report.at_most("stall_reads_of_member", grown["reads"] / lasted, "1/s", 1.0)
    report.at_most("stall_keys_grown", grown["keys"], "keys", 0)
    report.shown("stall_canary_leases", after["leases"], "keys")
    history = grown["canary_bytes"] / lasted * COMPACTED_SECONDS
    report.at_most("stall_canary_history_between_compactions", history / 1e6, "MB", 1.0)


def _cost_of_a_stall(report: Report, ground: Ground) -> None:
    watcher = Watcher(ground)
    ground.set(Fault(Mode.MUTE))
    ends = time.monotonic() + STALLED_WITHIN_SECONDS
    while watcher.verdicts()[0] is not Verdict.CHANNEL_STALLED:
        if time.monotonic() > ends:
            raise SystemExit(f"not stalled within {STALLED_WITHIN_SECONDS:g} s: {watcher.reasons}")
        time.sleep(EVERY_SECONDS)
    asked, reads = _asked_within(ground, CERTAIN_SECONDS)
    report.shown("stall_requests_until_it_is_certain", asked, "1/s")
    report.shown("stall_reads_of_member_until_it_is_certain", reads, "1/s")
    say(f"{SECONDS:g} s while the first apiserver is stalled")
    asked, reads = _asked_within(ground, SECONDS)
    ground.heal()
    report.at_most("stall_requests_to_a_stalled_apiserver", asked, "1/s", 3.0)
    report.at_most("stall_reads_of_member_during_a_stall", reads, "1/s", 1.0)


def _asked_within(ground: Ground, seconds: float) -> tuple[float, float]:
    """Requests to the first apiserver and reads of the third member, a second."""
    before, began = _asked(ground), time.monotonic()
    time.sleep(seconds)
    after, lasted = _asked(ground), time.monotonic() - began
    return (after["apiserver_1"] - before["apiserver_1"]) / lasted, (after["reads"] - before["reads"]) / lasted


def _asked(ground: Ground) -> dict[str, float]:
    """By the exporter of its requests to the apiservers, by the third member of reads: no apiserver uses that one."""
    member = _page(HttpClient(HttpConfig(url=ground.etcd.members[2].metrics_url)), HANDLED, KEYS)
    own = _page(HttpClient(HttpConfig(url=ground.exporter.url)), ASKED)
    asked = {each.labels["target"]: each.value for each in own if each.labels["collector"] == "grpc_stall"}
    return {
        **{f"apiserver_{number + 1}": asked[name] for number, name in enumerate(ground.names)},
        "reads": sum(each.value for each in member if each.labels.get("grpc_method") == "Range"),
        "keys": sum(each.value for each in member if each.name == KEYS),
    }


def _counts(ground: Ground) -> dict[str, float]:
    """By the servers themselves."""
    with client(ground.etcd) as etcd:
        leases = etcd.range(LEASES, prefix_end(LEASES), timeout=TIMEOUT).kvs
    return {
        **_asked(ground),
        **{f"dispatched_by_apiserver_{number + 1}": _dispatched(ground, number) for number in range(2)},
        "leases": len(leases),
        "canary_bytes": sum(each.version * (len(each.key) + len(each.value)) for each in leases),
    }


def _dispatched(ground: Ground, number: int) -> float:
    found = _page(ground.admin(number), DISPATCHED)
    by_schema: Counter[str] = Counter()
    for each in found:
        by_schema[each.labels["flow_schema"]] += each.value  # type: ignore[assignment]
    return by_schema["ballast"]


def _page(http: HttpClient, *names: str) -> list[Sample]:
    found: list[Sample] = []
    wanted = Filter(names, found.append)
    http.get("/metrics", timeout=TIMEOUT, consume=wanted.feed)
    wanted.close()
    return found


def _drilled(report: Report, made: list[Row]) -> None:
    report.shown("stall_faults_made", len(made), "faults")
    _worst(report, "stall_verdict_worst", [row.verdict for row in made], VERDICT_SECONDS)
    _worst(report, "stall_alert_worst", [row.alert for row in made], ALERT_SECONDS)
    report.at_most("stall_unknown_in_between_worst", max(row.unknown for row in made), "s", UNKNOWN_SECONDS)
    report.at_most("stall_wrong_names", sum(len(row.wrong) for row in made), "names", 0)
    report.at_most("stall_verdicts_that_did_not_stay", sum(row.lost is not None for row in made), "verdicts", 0)
    report.at_most("stall_faults_not_well_again", sum(row.well is None for row in made), "faults", 0)


def _worst(report: Report, name: str, came: Sequence[float | None], target: float) -> None:
    seconds = [each for each in came if each is not None]
    if len(seconds) < len(came):
        report.not_known(name, "s", target, f"never in {len(came) - len(seconds)} of {len(came)}")
    else:
        report.at_most(name, max(seconds), "s", target)
