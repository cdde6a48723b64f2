"""Live data leaves room under every member's quota, as far as anybody knows."""

from ballast_remediator.contract import Answer
from ballast_remediator.guards import allow, refuse
from kube_ballast.analysis.etcd import EtcdState
from kube_ballast.analysis.live_data import Filling
from kube_ballast.analysis.words import percent, size

NAME = "live_data_fits"


def live_data_fits(filling: Filling, state: EtcdState, *, share: float) -> Answer:
    """Refuses only what is certain: live data alone takes ``share`` of the smallest quota, or more.

    What is unknown is no reason to refuse: the step `check-live-data` measures it before a member is disturbed.
    """
    quotas = [member.quota for member in state.members if member.quota is not None]
    if filling.report is None:
        return allow(NAME, filling.words)
    if not quotas or len(quotas) < len(state.members):
        return allow(NAME, "a quota is unknown, so whether live data leaves room is unknown too")
    quota = min(quotas)
    live = filling.report.split.live
    words = f"live data takes {size(live)} of a quota of {size(quota)} ({percent(live / quota)})"
    if filling.at_least >= share * quota:
        return refuse(
            NAME,
            f"{words}, so neither compaction nor defragmentation can bring it below {percent(share)} (live_data). "
            f"{filling.words[0].upper()}{filling.words[1:]}. {LIVE_DATA_HELP}",
        )
    if live >= share * quota:
        return allow(NAME, f"{words} by the census, which is not certain now: it shows after the compaction")
    return allow(NAME, words)


LIVE_DATA_HELP = (
    "What a person can do: delete what is not needed (deletes still pass, but not where a finalizer or a grace period "
    "has to be written first; look for piles of Events, old ReplicaSets, Secrets of Helm releases, custom resources; "
    "`ballastctl etcd space` shows whose the bytes are), then let this runbook run again when the alert repeats; or "
    "raise --quota-backend-bytes (to 8589934592, 8 GiB, at most) on every member in a rolling restart, and then, if "
    "`etcdctl alarm list` shows no CORRUPT, `etcdctl alarm disarm` (it clears every alarm). That it does not fill "
    "again: let what grows expire (--event-ttl, ttlSecondsAfterFinished of Jobs), or give Events an etcd of their own "
    "(--etcd-servers-overrides=/events#https://HOST:2379 on every apiserver; Events that are there stay until they "
    "expire or are deleted)"
)
