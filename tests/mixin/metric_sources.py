"""Where each metric that rules and dashboards may read comes from."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "tests" / "exporter" / "golden"
CORE = ROOT / "exporters" / "ballast_exporter" / "core.py"
REMEDIATOR = ROOT / "remediator" / "ballast_remediator" / "metrics.py"

# Metrics of others, with the document that promises them.
UPSTREAM = {
    "up": "https://prometheus.io/docs/concepts/jobs_instances/#automatically-generated-labels-and-time-series",
    "kube_node_info": "https://github.com/kubernetes/kube-state-metrics/blob/main/docs/metrics/cluster/node-metrics.md",
}


def emitted() -> set[str]:
    """Names in the goldens of the collectors, and those that the exporter and the remediator give of themselves."""
    names = {name for file in (CORE, REMEDIATOR) for name in re.findall(r"\"(ballast_[a-z_]+)\"", file.read_text())}
    for golden in GOLDENS.glob("*.prom"):
        names |= set(re.findall(r"^# TYPE (\S+) ", golden.read_text(), flags=re.MULTILINE))
    return names
