from ballast_remediator.contract import Verdict
from ballast_remediator.guards.watchers_keep_up import watchers_keep_up


def test_an_old_revision_is_used() -> None:
    answer = watchers_keep_up(12, "revision 12 was seen at least 5 min 0 s ago (Prometheus)")
    assert (answer.verdict, answer.reason) == (
        Verdict.ALLOW,
        "revision 12 was seen at least 5 min 0 s ago (Prometheus)",
    )


def test_without_one_a_person_is_asked_and_told_the_price() -> None:
    answer = watchers_keep_up(None, "Prometheus has no sample that old; etcd holds no compact_rev_key of an apiserver")
    assert answer.verdict is Verdict.ASK
    assert "Prometheus has no sample that old; etcd holds no compact_rev_key" in answer.reason
    assert "their clients list everything anew" in answer.reason
    assert "accept watchers_keep_up by name" in answer.reason
