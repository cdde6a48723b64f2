"""How one cluster is asked for."""

from typing import Any, cast

from ballast_remediator.connections import EtcdCluster
from ballast_remediator.contract import Alert
from ballast_remediator.runbooks.etcd_compact import old_revision
from kube_ballast.clients.prometheus import Prometheus, Sample, Samples
from kube_ballast.config import EtcdConfig, EtcdMemberConfig


class RecordingPrometheus:
    """Answers every question with one number, and remembers the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def query(self, expr: str, **_: Any) -> Samples:
        self.asked.append(expr)
        return Samples([Sample({}, 4711.0, 0.0)])


def test_a_shared_prometheus_is_asked_for_this_cluster_s_series_alone() -> None:
    prometheus = RecordingPrometheus()
    config = EtcdConfig(members=(EtcdMemberConfig(endpoint="http://127.0.0.1:9"),))
    cluster = EtcdCluster(config, cast("Prometheus", prometheus), {"cluster": 'the "big" one'})
    alert = Alert("f", {"etcd_cluster": "main"}, {}, firing=True, starts_at=0.0)

    revision, _ = old_revision(cluster, alert, keep=300.0)

    assert revision == 4711
    assert prometheus.asked == [
        r'min(ballast_etcd_quota_revision{cluster="the \"big\" one",etcd_cluster="main"} offset 300000ms)'
    ]
