import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ballast_remediator.notification import MAX_ALERTS, MAX_LABELS, MAX_TEXT, Malformed, Payload, parse

WITHOUT_NUL = st.characters(exclude_characters="\0", exclude_categories=("Cs",))
LABELS = st.dictionaries(st.text(WITHOUT_NUL, min_size=1, max_size=20), st.text(WITHOUT_NUL, max_size=50), max_size=5)
ALERTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["firing", "resolved"]),
        "labels": LABELS,
        "annotations": LABELS,
        "startsAt": st.datetimes().map(lambda at: at.isoformat() + "Z"),
        "endsAt": st.one_of(st.just("0001-01-01T00:00:00Z"), st.text(max_size=10)),
        "fingerprint": st.text(min_size=1, max_size=16),
    }
)
PAYLOADS = st.fixed_dictionaries(
    {
        "version": st.just("4"),
        "receiver": st.text(WITHOUT_NUL, max_size=20),
        "groupKey": st.text(WITHOUT_NUL, max_size=20),
        "externalURL": st.text(WITHOUT_NUL, max_size=20),
        "truncatedAlerts": st.integers(0, 1000),
        "alerts": st.lists(ALERTS, max_size=4),
    },
    optional={"something_new": st.none() | st.booleans() | st.integers()},
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


def encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def either(body: bytes) -> Payload | Malformed:
    try:
        return parse(body)
    except Malformed as reason:
        return reason


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_malformed_with_a_reason(body: bytes) -> None:
    assert str(either(body))


@given(JSON)
def test_any_json_is_a_payload_or_malformed_with_a_reason(value: object) -> None:
    assert str(either(encoded(value)))


@given(PAYLOADS, st.sampled_from(["version", "receiver", "groupKey", "externalURL", "truncatedAlerts", "alerts"]), JSON)
def test_a_payload_with_anything_in_one_place_is_either_too(payload: dict[str, Any], place: str, value: object) -> None:
    assert str(either(encoded({**payload, place: value})))


@given(PAYLOADS)
def test_a_payload_keeps_what_is_decided_by(payload: dict[str, Any]) -> None:
    parsed = parse(encoded(payload))
    assert parsed.truncated == payload["truncatedAlerts"]
    assert (parsed.receiver, parsed.group_key) == (payload["receiver"], payload["groupKey"])
    assert parsed.external_url == payload["externalURL"]
    assert [dict(alert.labels) for alert in parsed.alerts] == [alert["labels"] for alert in payload["alerts"]]
    assert [alert.firing for alert in parsed.alerts] == [alert["status"] == "firing" for alert in payload["alerts"]]


def test_a_firing_alert_ends_in_the_year_one(body: bytes) -> None:
    (alert,) = parse(body).alerts
    assert alert.firing
    assert alert.starts_at == pytest.approx(1772359200.123456)


def test_only_the_alerts_own_state_counts(payload: dict[str, Any]) -> None:
    assert parse(encoded({**payload, "status": "resolved"})).alerts[0].firing


def test_a_payload_of_the_oldest_supported_release_is_understood(payload: dict[str, Any]) -> None:
    for later in ("truncatedAlerts", "notification_reason"):
        del payload[later]
    assert parse(encoded(payload)).truncated == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": {"a": "x" * (MAX_TEXT + 1)}}, "alerts.0.labels.a: String should have at most 65536"),
        ({"labels": {str(i): "" for i in range(MAX_LABELS + 1)}}, "alerts.0.labels: Dictionary should have at most"),
        ({"labels": {"a": 1}}, "alerts.0.labels.a: Input should be a valid string"),
        ({"status": "pending"}, "alerts.0.status: Input should be 'firing' or 'resolved'"),
        ({"startsAt": "yesterday"}, "alerts.0.startsAt: "),
        ({"startsAt": "2026-03-01T10:00:00"}, "alerts.0.startsAt: Input should have timezone info"),
        ({"fingerprint": ""}, "alerts.0.fingerprint: "),
    ],
)
def test_what_does_not_fit_is_named(payload: dict[str, Any], change: dict[str, Any], words: str) -> None:
    payload["alerts"][0] |= change
    assert words in str(either(encoded(payload)))


def test_more_alerts_than_any_group_has_are_refused(payload: dict[str, Any]) -> None:
    payload["alerts"] *= MAX_ALERTS + 1
    assert "alerts: " in str(either(encoded(payload)))


def test_many_mistakes_are_counted_not_listed(payload: dict[str, Any]) -> None:
    payload["alerts"] = [{}] * 5
    assert str(either(encoded(payload))).endswith("and 17 more mistakes")


@pytest.mark.parametrize(
    ("version", "words"), [("5", "says version '5'"), (4, "says version 4;"), (None, "says version None")]
)
def test_another_version_is_told_from_a_custom_payload(payload: dict[str, Any], version: object, words: str) -> None:
    reason = str(either(encoded({**payload, "version": version})))
    assert words in reason
    assert "custom `payload`" in reason


def test_nul_which_postgresql_does_not_keep_becomes_the_replacement_character(payload: dict[str, Any]) -> None:
    alert = payload["alerts"][0]
    alert["labels"]["a\x00"] = "b\x00"
    alert["fingerprint"] = "\x00"
    (parsed,) = parse(json.dumps(payload).encode()).alerts
    assert (parsed.labels["a\ufffd"], parsed.fingerprint) == ("b\ufffd", "\ufffd")
