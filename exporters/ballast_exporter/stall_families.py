"""A report on all apiservers as metric families; the collector's text says what each is."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ballast_exporter.stall_history import Told
from ballast_exporter.stall_report import Report
from kube_ballast.analysis.stall import Answer, Verdict
from kube_ballast.analysis.stall_page import Progress

_PREFIX: Final = "ballast_grpc_stall_"


def families(report: Report) -> Iterable[Metric]:
    """Everything that is told; what is unknown is absent."""
    yield from _verdicts(report)
    yield from _probes("apiserver", {name: each.probes for name, each in report.apiservers.items()}, "")
    yield from _canary(report)
    yield from _probes("member", report.members, "member_")
    used = _gauge("member_used", "That this apiserver asks this etcd member.", "apiserver", "member")
    for apiserver, each in report.apiservers.items():
        for member in each.members:
            used.add_metric([apiserver, member], 1)
    yield used
    yield from _pages({name: each.page for name, each in report.apiservers.items() if each.page is not None})


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_PREFIX + name, text, labels=labels)


def _verdicts(report: Report) -> Iterable[Metric]:
    text = "What is wrong between this apiserver and etcd: 1 for the verdict that holds."
    verdicts = _gauge("verdict", text, "apiserver", "verdict")
    text = "The resources whose channel to etcd is stalled."
    stalled = _gauge("resource_stalled", text, "apiserver", "resource")
    for apiserver, each in report.apiservers.items():
        for verdict in Verdict:
            verdicts.add_metric([apiserver, verdict], verdict is each.judgement.verdict)
        for resource in each.judgement.resources:
            stalled.add_metric([apiserver, resource], 1)
    return verdicts, stalled


def _probes(subject: str, told: Mapping[str, Mapping[str, Told]], prefix: str) -> Iterable[Metric]:
    text = "How long the last answer of this probe took; absent while there is none."
    seconds = _gauge(f"{prefix}probe_duration_seconds", text, subject, "probe")
    text = "What this probe was answered, by kind of answer."
    answers = _counter(f"{prefix}probes", text, subject, "probe", "answer")
    for name, probes in told.items():
        for probe, each in probes.items():
            if each.seconds is not None:
                seconds.add_metric([name, probe], each.seconds)
            if each.answers:  # each kind from the start: an increase is seen from the first on
                for answer in Answer:
                    answers.add_metric([name, probe, answer], each.answers.get(answer, 0))
    return seconds, answers


def _canary(report: Report) -> Iterable[Metric]:
    text = "When a write through this apiserver last succeeded, in Unix seconds."
    last = _gauge("canary_last_success_timestamp_seconds", text, "apiserver")
    text = "From the answer to a write until watches on this apiserver heard of it; absent while the news is overdue."
    delivery = _gauge("delivery_seconds", text, "apiserver")
    for name, each in report.apiservers.items():
        canary = each.probes.get("canary")
        if canary is not None and canary.succeeded_at is not None:
            last.add_metric([name], canary.succeeded_at)
        if each.delivery.seconds is not None:
            delivery.add_metric([name], each.delivery.seconds)
    return last, delivery


def _pages(pages: Mapping[str, Progress]) -> Iterable[Metric]:
    text = "Unary calls to etcd that began and have not ended, by this apiserver's own count."
    calls = _gauge("calls_in_flight", text, "apiserver", "method")
    text = "How long the oldest unary call to etcd that has not ended is open at least; 0 when none is known to be."
    oldest = _gauge("oldest_call_seconds", text, "apiserver")
    text = "Unary calls to etcd that ended, by gRPC status code."
    ended = _counter("calls_ended", text, "apiserver", "code")
    text = "Requests to etcd that ended without an error, by resource."
    requests = _counter("etcd_requests", text, "apiserver", "resource")
    text = "Whether this apiserver's own metrics say how large etcd is."
    size = _gauge("storage_size_known", text, "apiserver")
    for name, page in pages.items():
        for method, count in page.open_calls.items():
            calls.add_metric([name, method], count)
        oldest.add_metric([name], page.oldest_seconds)
        for code, calls_ended in page.codes.items():
            ended.add_metric([name, code], calls_ended)
        for resource, succeeded in page.succeeded.items():
            requests.add_metric([name, resource], succeeded)
        size.add_metric([name], page.size_known)
    return calls, oldest, ended, requests, size
