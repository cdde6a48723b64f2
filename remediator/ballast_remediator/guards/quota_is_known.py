"""Each member's quota is known, since the alarm is lifted only well under it."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState
from kube_ballast.analysis.words import size

NAME = "quota_is_known"


def quota_is_known(state: EtcdState) -> Answer:
    """3.6 tells it in the Status reply, 3.5 only in the member's metrics."""
    unknown = [member.name for member in state.members if member.quota is None]
    if unknown:
        return refuse(
            NAME,
            f"the quota of {', '.join(unknown)} is unknown or switched off: the metrics (metrics_url) show no "
            "positive etcd_server_quota_backend_bytes",
            passing=True,
        )
    quotas = sorted({size(member.quota) for member in state.members if member.quota is not None})
    return allow(NAME, f"the quota is {' / '.join(quotas)}")
