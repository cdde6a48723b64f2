"""Where each metric that rules and dashboards may read comes from."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "exporter" / "golden"
CORE = ROOT / "exporters" / "ballast_exporter" / "core.py"
REMEDIATOR = sorted((ROOT / "remediator" / "ballast_remediator").glob("metrics*.py"))

KUBERNETES = "https://kubernetes.io/docs/reference/instrumentation/metrics/"

# Metrics of others, with the document that promises them.
UPSTREAM = {
    "up": "https://prometheus.io/docs/concepts/jobs_instances/#automatically-generated-labels-and-time-series",
    "kube_node_info": "https://github.com/kubernetes/kube-state-metrics/blob/main/docs/metrics/cluster/node-metrics.md",
    "apiserver_request_total": KUBERNETES,
    "apiserver_longrunning_requests": KUBERNETES,
    "apiserver_response_sizes_sum": KUBERNETES,
    "apiserver_flowcontrol_rejected_requests_total": KUBERNETES,
    "apiserver_audit_event_total": KUBERNETES,
    "apiserver_audit_error_total": KUBERNETES,
}

RUNBOOKS = "https://runbooks.prometheus-operator.dev/runbooks/kubernetes/"

# Alerts of others that inhibit rules name.
UPSTREAM_ALERTS = {
    "KubeAPIDown": RUNBOOKS,
    "KubeAPIErrorBudgetBurn": RUNBOOKS,
    "KubeAPITerminatedRequests": RUNBOOKS,
    "KubeClientErrors": RUNBOOKS,
}


def emitted() -> set[str]:
    """Names in the goldens of the collectors, and those that the exporter and the remediator give of themselves."""
    sources = [file.read_text() for file in (CORE, *REMEDIATOR)]
    names = {name for text in sources for name in re.findall(r"\"(ballast_[a-z_]+)\"", text)}
    for text in sources:
        names |= {f"{name}_total" for name in re.findall(r"CounterMetricFamily\(\s*\"(ballast_[a-z_]+)\"", text)}
        histograms = re.findall(r"Histogram\(\s*\"(ballast_[a-z_]+)\"", text)
        names |= {f"{name}{suffix}" for name in histograms for suffix in ("_bucket", "_sum", "_count")}
    for golden in GOLDENS.glob("*.prom"):
        names |= set(re.findall(r"^# TYPE (\S+) ", golden.read_text(), flags=re.MULTILINE))
    return names
