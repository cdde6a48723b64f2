"""What the doctor found: the same for the page in a terminal and for the JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ballast_exporter.stall_apiserver import CANARY
from ballast_exporter.stall_canary import DELIVERY, NAMESPACE
from ballast_exporter.stall_history import Told
from ballast_exporter.stall_report import ApiserverReport, Report
from kube_ballast.analysis.stall import Answer, Verdict

CUT: Final = "docs/runbooks/apiserver-cut-etcd-connections.md"
_DO: Final[Mapping[Verdict, str]] = {
    Verdict.CHANNEL_STALLED: f"cut its connections to etcd, on its host: {CUT}. It dials again within a second and "
    "lists nothing anew. Do not send it SIGTERM: a stalled apiserver does not end",
    Verdict.WATCH_STALE: "take it out of the load balancer, since what watches through it acts on old news, and "
    "restart it while another is ok: docs/alerts/ApiserverWatchStale.md",
    Verdict.ETCD_MEMBER_BAD: "look at that member, and leave the apiserver alone: docs/alerts/EtcdMemberBad.md. "
    "A defragmentation ends by itself",
    Verdict.ETCD_SLOW: "look at that member's disk and load, and leave the apiserver alone: docs/alerts/EtcdSlow.md",
    Verdict.ETCD_DOWN: "etcd has no quorum: bring members back, touch no apiserver: docs/alerts/EtcdDown.md",
    Verdict.OVERLOADED: "find who asks for so much, with ballastctl apiserver top: docs/alerts/ApiserverOverloaded.md",
    Verdict.DOWN: "start it, and look into its log for why it ended: docs/alerts/ApiserverDown.md",
    Verdict.UNREACHABLE: "look at its host and the network to it: docs/alerts/ApiserverUnreachable.md",
    Verdict.UNKNOWN: "measure what is missing, and look again: docs/alerts/ApiserverPathUnknown.md",
}
_ALL_STALLED: Final = (
    "all of them at once is not one apiserver's channel: look at the network between the apiservers and etcd first, "
    "and cut or restart nothing"
)
NO_ETCD: Final = (
    "etcd itself: no --endpoints were given. Without it a stalled channel cannot be told from a sick etcd, and either "
    "is called unknown. On a kubeadm control plane: --local-etcd --endpoints https://HOST:2379,… (of every control "
    "plane) --cacert /etc/kubernetes/pki/etcd/ca.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.crt --key "
    "/etc/kubernetes/pki/etcd/healthcheck-client.key"
)
NO_WRITES: Final = (
    "writes and watches: --no-write leaves them out. A stall of the channel for leases alone, and watches that get no "
    "news, cannot be seen"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What came of a probe last; ``seconds`` where it was answered, ``times`` how often in a row it was not."""

    answer: Answer
    seconds: float | None
    times: int
    said: str


@dataclass(frozen=True, slots=True)
class Patient:
    """One apiserver; ``probes`` by name, without those that have no answer; ``members`` are those that it asks."""

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]
    resources: tuple[str, ...]
    do: str | None
    probes: Mapping[str, Shown]
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """One member, asked directly; ``defragments`` is None where it does not say."""

    name: str
    probes: Mapping[str, Shown]
    defragments: bool | None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All of it, after so many ``seconds``, as of ``at``."""

    at: datetime
    seconds: float
    apiservers: tuple[Patient, ...]
    members: tuple[EtcdMember, ...]
    not_measured: tuple[str, ...]
    schema: int = 1

    @property
    def sick(self) -> tuple[Patient, ...]:
        """Those with a name for what they have."""
        return tuple(each for each in self.apiservers if each.verdict not in {Verdict.OK, Verdict.UNKNOWN})

    @property
    def unknown(self) -> tuple[Patient, ...]:
        """Those of which nothing can be said."""
        return tuple(each for each in self.apiservers if each.verdict is Verdict.UNKNOWN)


def diagnosis(report: Report, seconds: float, *, writes: bool) -> Diagnosis:
    """What the probes' report means."""
    stalled = [each.judgement.verdict is Verdict.CHANNEL_STALLED for each in report.apiservers.values()]
    together = len(stalled) > 1 and all(stalled)
    return Diagnosis(
        datetime.now(UTC),
        seconds,
        tuple(_patient(name, each, together=together) for name, each in report.apiservers.items()),
        tuple(
            EtcdMember(name, _shown(probes), report.defragmenting.get(name)) for name, probes in report.members.items()
        ),
        tuple(_not_measured(report, writes=writes)),
    )


def _patient(name: str, report: ApiserverReport, *, together: bool) -> Patient:
    judgement = report.judgement
    return Patient(
        name,
        judgement.verdict,
        judgement.reasons,
        judgement.resources,
        _ALL_STALLED if together else _DO.get(judgement.verdict),
        _shown({**report.probes, DELIVERY: report.delivery}),
        report.members,
    )


def _shown(probes: Mapping[str, Told]) -> Mapping[str, Shown]:
    return {
        name: Shown(told.last.answer, told.seconds, told.last.failures, told.last.said)
        for name, told in probes.items()
        if told.last is not None
    }


def _not_measured(report: Report, *, writes: bool) -> list[str]:
    missing = [] if report.members else [NO_ETCD]
    if not writes:
        missing.append(NO_WRITES)
    for name, each in report.apiservers.items():
        denied = {probe: told.last for probe, told in each.probes.items() if told.last}
        for probe, last in denied.items():
            if last.answer is Answer.DENIED:
                what = f"the Lease in the namespace {NAMESPACE}" if probe == CANARY else probe
                missing.append(f"{what} on {name}: {last.said}")
        if each.page is None:
            missing.append(f"the metrics of {name}: no whole page came in time")
    return [*missing, *report.notes]
