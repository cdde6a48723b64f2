import math
from dataclasses import replace
from typing import Any

import pytest

from ballast_remediator.contract import Answer, Verdict
from ballast_remediator.guards.plan_is_within_limits import plan_is_within_limits
from tests.remediator.guards.book import TERMS, Book, request


def answer(planned: dict[str, Any], **limits: float) -> Answer:
    return plan_is_within_limits(request(limits=planned, terms=replace(TERMS, limits=limits)), Book())


def test_a_rule_without_limits_and_a_plan_within_them() -> None:
    for said in (answer({"members_at_once": 5}), answer({"members_at_once": 2, "more": "words"}, members_at_once=2)):
        assert (said.verdict, said.reason) == (Verdict.ALLOW, "the policy's rule has no narrower limit")


def test_a_plan_that_goes_further() -> None:
    said = answer({"members_at_once": 2}, members_at_once=1)
    assert (said.verdict, said.passing) == (Verdict.REFUSE, False)
    assert said.reason == "the plan's members_at_once is 2, and the policy limits it to 1"


@pytest.mark.parametrize("planned", [{}, {"nodes": None}, {"nodes": "2"}, {"nodes": True}])
def test_a_limit_that_the_plan_does_not_hold_is_exceeded(planned: dict[str, Any]) -> None:
    said = answer(planned, nodes=5)
    assert said.verdict is Verdict.REFUSE
    assert said.reason == "the policy limits nodes to 5, and a plan of etcd-free-space has none"


@pytest.mark.parametrize(("planned", "most"), [(math.nan, 5.0), (1.0, math.nan), (math.inf, 5.0)])
def test_what_cannot_be_compared_is_exceeded(planned: float, most: float) -> None:
    assert answer({"nodes": planned}, nodes=most).verdict is Verdict.REFUSE
