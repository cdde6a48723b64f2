from ballast_remediator.contract import Verdict
from ballast_remediator.guards.quota_is_known import quota_is_known
from kube_ballast.analysis.etcd import MIB
from tests.remediator.guards.states import cluster, member


def test_known_quotas_are_told() -> None:
    answer = quota_is_known(cluster(member(1), member(2, quota=256 * MIB)))
    assert answer.verdict is Verdict.ALLOW
    assert answer.reason == "the quota is 128.0 MiB / 256.0 MiB"


def test_an_unknown_one_forbids() -> None:
    answer = quota_is_known(cluster(member(1), member(2, quota=None), member(3, quota=None)))
    assert answer.verdict is Verdict.REFUSE
    assert answer.passing
    assert answer.reason.startswith("the quota of m2, m3 is unknown or switched off")
