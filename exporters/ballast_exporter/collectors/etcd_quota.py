r"""etcd's space, member by member: what the database takes, what it may take, and the alarms when it may not.

Gives, per etcd and then per member (HELP and TYPE lines left out)::

    ballast_etcd_quota_readable{etcd_cluster="main"} 1.0
    ballast_etcd_quota_member_info{endpoint="https://10.0.0.1:2379",etcd_cluster="main",member="etcd-1",
        member_id="8e9e05c52164694d",version="3.5.30"} 1.0
    ballast_etcd_quota_member_up{etcd_cluster="main",member="etcd-1"} 1.0
    ballast_etcd_quota_db_size_bytes{etcd_cluster="main",member="etcd-1"} 6.291456e+07
    ballast_etcd_quota_db_in_use_bytes{etcd_cluster="main",member="etcd-1"} 2.097152e+07
    ballast_etcd_quota_db_free_bytes{etcd_cluster="main",member="etcd-1"} 4.194304e+07
    ballast_etcd_quota_limit_bytes{etcd_cluster="main",member="etcd-1"} 6.7108864e+07
    ballast_etcd_quota_used_ratio{etcd_cluster="main",member="etcd-1"} 0.9375
    ballast_etcd_quota_leader{etcd_cluster="main",member="etcd-1"} 1.0
    ballast_etcd_quota_learner{etcd_cluster="main",member="etcd-1"} 0.0
    ballast_etcd_quota_raft_term{etcd_cluster="main",member="etcd-1"} 2.0
    ballast_etcd_quota_revision{etcd_cluster="main",member="etcd-1"} 4711.0
    ballast_etcd_quota_defragmenting{etcd_cluster="main",member="etcd-1"} 0.0
    ballast_etcd_quota_alarm{alarm="NOSPACE",etcd_cluster="main",member="etcd-1"} 0.0
    ballast_etcd_quota_alarm{alarm="CORRUPT",etcd_cluster="main",member="etcd-1"} 0.0

What is unknown is absent:

* ``readable`` is about our own sight and so always known: 0 when no member of this etcd gave a status or is known to
  defragment, whether they are down, out of reach or turn our credentials away.
* ``member_up`` is 0 when the member gave no status; then it has no sizes. While its HTTP metrics say that it
  defragments it is up without a status: 3.6 holds the status back for that long, and a member at work is not down.
  Credentials that are turned away say nothing about the member: no ``member_up`` at all, and when no member of
  any etcd lets us in, the collector fails.
* ``limit_bytes`` and ``used_ratio`` need a quota: from the status since 3.6, else from the member's own metrics. A
  negative quota is disabled; 0 is etcd's flag for "the default", which its metrics resolve to 2 GiB.
* ``alarm`` is what the answering member furthest along in raft knows: alarms act on the whole cluster, are replicated
  to each member, and reading them from a status needs no quorum. Alarms of members that are not configured are told
  too. When nobody answers there are none.
* ``member`` is etcd's own name for it, found through its id or its client URLs and then remembered; HOST:PORT until
  it is known.

Cost: per poll and member 1 Status and 1 GET /metrics, side by side; 1 MemberList per cluster while a name is unknown.
No write and nothing through raft. 1 series an etcd, 14 a member.

Reads: etcd's maintenance API (Status), cluster API (MemberList), ``etcd_server_quota_backend_bytes`` and
``etcd_disk_defrag_inflight``.
"""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from ballast_exporter.config import Config
from ballast_exporter.contract import Deadline, RequestCounter, Snapshot
from ballast_exporter.etcd_members import Cluster, ClusterView, MemberView, connect
from kube_ballast.clients.errors import Denied
from kube_ballast.clients.etcd.types import Status

NAME = "etcd_quota"


class EtcdQuota:
    """The collector; see the module's text for what it gives."""

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self._clusters = clusters

    def collect(self, deadline: Deadline) -> Snapshot:
        """One look at every member of every etcd, all at once.

        Raises Denied when every member of every etcd turned our credentials away.
        """
        for cluster in self._clusters:
            cluster.ask(deadline)
        views = [cluster.view(deadline) for cluster in self._clusters]
        denied = [each.status for view in views for each in view.members if isinstance(each.status, Denied)]
        if denied and len(denied) == sum(len(view.members) for view in views):
            raise denied[0]
        return Snapshot(tuple(_families(views)), tuple(note for view in views for note in view.notes))

    def close(self) -> None:
        """Let go of the connections."""
        for cluster in self._clusters:
            cluster.close()


def build(config: Config, requests: RequestCounter) -> EtcdQuota:
    """The collector for every configured etcd."""
    return EtcdQuota([Cluster(each.name, connect(each), requests) for each in config.etcd])


class _Gauge:
    """One family, and its samples for members of which the value is known."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.family = GaugeMetricFamily(f"ballast_{NAME}_{name}", text, labels=["etcd_cluster", "member", *labels])

    def add(self, cluster: str, member: str, value: float | None, *labels: str) -> None:
        """One sample; none when the value is unknown."""
        if value is not None:
            self.family.add_metric([cluster, member, *labels], value)


def _families(views: Sequence[ClusterView]) -> Iterable[Metric]:
    readable = GaugeMetricFamily(
        f"ballast_{NAME}_readable",
        "Whether any member of this etcd gives a status, or is known to defragment.",
        labels=["etcd_cluster"],
    )
    for view in views:
        readable.add_metric([view.name], view.readable)
    yield readable
    samples = [(view.name, each) for view in views for each in view.members]
    info = _Gauge(
        "member_info", "Which member this is; always 1. Its id is in hexadecimal.", "endpoint", "member_id", "version"
    )
    for cluster, each in samples:
        if each.answered is not None:
            info.add(cluster, each.label, 1, each.endpoint, f"{each.answered.member_id:x}", each.answered.version)
    yield info.family
    for name, text, value in _PER_MEMBER:
        gauge = _Gauge(name, text)
        for cluster, each in samples:
            gauge.add(cluster, each.label, value(each))
        yield gauge.family
    alarms = _Gauge("alarm", "Whether this member has raised the alarm; each acts on the whole cluster.", "alarm")
    for view in views:
        for member, kind, armed in view.alarms:
            alarms.add(view.name, member, armed, kind.value)
    yield alarms.family


def _of_status(value: Callable[[Status], float]) -> Callable[[MemberView], float | None]:
    return lambda member: None if member.answered is None else value(member.answered)


_PER_MEMBER: tuple[tuple[str, str, Callable[[MemberView], float | None]], ...] = (
    ("member_up", "Whether the member answers, or is known to defragment.", lambda member: member.up),
    ("db_size_bytes", "The database file; the quota is checked against it.", _of_status(lambda it: it.db_size)),
    ("db_in_use_bytes", "What a defragmentation would leave.", _of_status(lambda it: it.db_size_in_use)),
    (
        "db_free_bytes",
        "What a defragmentation would give back.",
        _of_status(lambda it: max(0, it.db_size - it.db_size_in_use)),
    ),
    ("limit_bytes", "The quota; absent when it is disabled or unknown.", lambda member: member.limit),
    ("used_ratio", "Database file by quota; absent with the quota.", lambda member: member.used_ratio),
    ("leader", "Whether the member leads.", _of_status(lambda it: it.leader_id == it.member_id)),
    ("learner", "Whether the member has no vote.", _of_status(lambda it: it.is_learner)),
    ("raft_term", "The member's raft term.", _of_status(lambda it: it.raft_term)),
    ("revision", "The member's newest revision.", _of_status(lambda it: it.revision)),
    ("defragmenting", "Whether the member defragments its database.", lambda member: member.defragmenting),
)
