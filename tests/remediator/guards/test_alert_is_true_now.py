import math
from dataclasses import replace

import pytest

from ballast_remediator.contract import AlertEvidence, Verdict
from ballast_remediator.guards.alert_is_true_now import alert_is_true_now

FIRING = AlertEvidence('ALERTS{alertname="EtcdFreeSpaceNeeded"}', {"etcd_cluster": "main"}, age=12.0)


def test_an_alert_that_fires_and_that_nobody_silenced() -> None:
    answer = alert_is_true_now(FIRING, fresh_within=180.0)
    assert (answer.verdict, answer.reason) == (
        Verdict.ALLOW,
        "Prometheus evaluated it 12 s ago, it fires, and nobody silenced it",
    )


def test_one_that_does_not_fire_may_show_in_a_moment() -> None:
    """Prometheus notifies before it writes the series down."""
    answer = alert_is_true_now(replace(FIRING, series=None), fresh_within=180.0)
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert answer.reason == (
        'the alert does not fire any more, or never did: ALERTS{alertname="EtcdFreeSpaceNeeded"} gives nothing'
    )


def test_a_silence_is_a_no() -> None:
    answer = alert_is_true_now(replace(FIRING, silenced_by=("8c1f", "a03b")), fresh_within=180.0)
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, False)
    assert answer.reason == "the alert is silenced (8c1f, a03b), which is a person's no"


def test_an_alert_that_was_evaluated_too_long_ago() -> None:
    assert alert_is_true_now(replace(FIRING, age=180.0), fresh_within=180.0).verdict is Verdict.ALLOW
    answer = alert_is_true_now(replace(FIRING, age=181.0), fresh_within=180.0)
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert answer.reason == (
        "Prometheus evaluated the alert last 3 min 1 s ago, and 3 min is the most: is its rule still evaluated?"
    )


def test_what_nobody_can_tell_is_asked_again() -> None:
    answer = alert_is_true_now(replace(FIRING, problem="whether the alert is true is unknown"), fresh_within=180.0)
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert answer.reason == "whether the alert is true is unknown"


@pytest.mark.parametrize("age", [math.nan, math.inf, -math.inf, -0.001])
@pytest.mark.parametrize("silenced_by", [(), ("8c1f",)])
def test_what_is_no_age_is_not_taken_for_a_young_one(age: float, silenced_by: tuple[str, ...]) -> None:
    answer = alert_is_true_now(replace(FIRING, age=age, silenced_by=silenced_by), fresh_within=1e9)
    assert (answer.verdict, answer.passing) == (Verdict.REFUSE, True)
    assert "which is no age" in answer.reason
