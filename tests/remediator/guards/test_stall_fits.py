from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.stall_fits import PLAN_B, stall_fits
from kube_ballast.analysis.etcd import MIB
from tests.remediator.guards.states import MEMBER, member


def test_a_stall_that_fits_is_predicted_in_words() -> None:
    answer = stall_fits(member(1), bytes_per_second=2.0 * MIB, liveness_budget=20.0)
    assert answer.verdict is Verdict.ALLOW
    assert answer.reason == (
        "defragmenting m1 rewrites 40.0 MiB and blocks it for about 20 s at 2 MiB/s; its liveness probe allows 20 s"
    )


def test_one_that_does_not_comes_with_plan_b() -> None:
    answer = stall_fits(member(1), bytes_per_second=2.0 * MIB, liveness_budget=19.9)
    assert answer.verdict is Verdict.REFUSE
    assert not answer.passing
    assert answer.reason.endswith(PLAN_B)
    for words in ("etcdutl defrag --data-dir", "one member at a time", "--quota-backend-bytes (8 GiB at most)"):
        assert words in PLAN_B


def test_a_member_that_does_not_answer() -> None:
    answer = stall_fits(replace(MEMBER, status=None), bytes_per_second=1.0, liveness_budget=1e9)
    assert answer.verdict is Verdict.REFUSE
    assert "does not answer" in answer.reason


@given(st.integers(0, 2**40), st.floats(1.0, 1e12), st.floats(0.001, 1e6))
def test_never_longer_than_the_budget(in_use: int, rate: float, budget: float) -> None:
    answer = stall_fits(member(1, status={"db_size_in_use": in_use}), bytes_per_second=rate, liveness_budget=budget)
    assert (answer.verdict is Verdict.ALLOW) is (in_use / rate <= budget)
