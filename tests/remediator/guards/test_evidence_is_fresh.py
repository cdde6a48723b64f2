import math

import pytest

from ballast_remediator.contract import Verdict
from ballast_remediator.guards.evidence_is_fresh import evidence_is_fresh
from tests.remediator.guards.book import Book, request


def test_young_enough() -> None:
    answer = evidence_is_fresh(request(valid_until=112.0), Book(monotonic=100.0))
    assert (answer.verdict, answer.reason) == (Verdict.ALLOW, "what was seen may be acted on for another 12 s")


@pytest.mark.parametrize("valid_until", [100.0, 99.9, -math.inf, math.nan])
def test_too_old(valid_until: float) -> None:
    answer = evidence_is_fresh(request(valid_until=valid_until), Book(monotonic=100.0))
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert answer.reason == "what was seen of the world is too old to act on; it is looked at again"
