"""What fills an etcd, by the exporter's census: asked of Prometheus, and held against etcd itself.

Prometheus may hold an old census, half of one, or that of another cluster. What is used has ended not long ago, is
whole, and counted as many keys as this etcd had at that revision; all else is unknown, and no reason for anything.
"""

import time
from typing import Final

from ballast_remediator.config import EtcdFreeSpaceSettings
from ballast_remediator.connections import PROBE, EtcdCluster
from kube_ballast.analysis.live_data import NAMES, Filling, Report, Since, Unusable, report
from kube_ballast.analysis.words import duration
from kube_ballast.clients.errors import ClientError, Compacted
from kube_ballast.clients.etcd.types import RangeResult, prefix_end

FIRST: Final = b"\0"
TO_THE_LAST: Final = b"\0"
CLOCKS_WITHIN: Final = 60.0
"""Seconds by which the exporter's clock may be ahead of ours."""


def filling(cluster: EtcdCluster, settings: EtcdFreeSpaceSettings) -> Filling:
    """What fills ``cluster``; what stands in the way of knowing it is told in words and never raised.

    Cost: one query of Prometheus, and two counts of all keys by etcd's index (0.5 s a million keys), four where
    something was written since the census; each within ``PROBE`` seconds.
    """
    found: Report | None = None
    try:
        found = _told(cluster)
        age = _age(found, settings.census_max_age)
        return Filling(found, _since(cluster, found, settings.lease_prefix), age)
    except Unusable as error:
        return Filling(unknown=str(error))
    except Compacted:
        return Filling(unknown="the revision of the census has been compacted away since, so it cannot be checked")
    except ClientError as error:
        who = "Prometheus does not tell" if found is None else "etcd does not tell what was written since"
        return Filling(unknown=f"{who}: {error.message}")


def _told(cluster: EtcdCluster) -> Report:
    told = cluster.series(NAMES, {"etcd_cluster": cluster.name})
    if told.warnings:
        raise Unusable(f"Prometheus warns that its answer may not be whole: {'; '.join(told.warnings)}")
    return report(told)


def _age(found: Report, limit: float) -> float:
    age = time.time() - found.ended
    if age > limit:
        raise Unusable(
            f"the last census ended {duration(age)} ago; none of more than {duration(limit)} is used (census_max_age)"
        )
    if age < -CLOCKS_WITHIN:
        raise Unusable(f"the last census ended {duration(-age)} from now: clocks differ")
    return age


def _since(cluster: EtcdCluster, found: Report, lease_prefix: str) -> Since:
    now = _count(cluster, FIRST, TO_THE_LAST)
    if now.revision < found.revision:
        raise Unusable(f"the census is of another etcd, at revision {found.revision}; this one is at {now.revision}")
    then = _count(cluster, FIRST, TO_THE_LAST, found.revision)
    if then.count != found.keys:
        raise Unusable(
            f"the census counted {found.keys} keys where this etcd had {then.count}: it is of another etcd "
            "(prometheus_labels tell clusters apart) or not whole"
        )
    if now.revision == found.revision:
        return Since(0, 0, 0)
    # Nothing but Events vanishes by itself, and they do so while writes are refused too.
    events = f"{lease_prefix.removesuffix('leases/')}events/".encode()
    events_then = _count(cluster, events, prefix_end(events), found.revision).count
    events_gone = events_then - _count(cluster, events, prefix_end(events)).count
    return Since(now.revision - found.revision, events_gone, then.count - now.count - events_gone)


def _count(cluster: EtcdCluster, start: bytes, end: bytes, revision: int = 0) -> RangeResult:
    return cluster.read(lambda etcd: etcd.range(start, end, revision=revision, count_only=True, timeout=PROBE))
