import json
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection

from ballast_remediator.store import inbox
from ballast_remediator.store.database import Store
from ballast_remediator.web.admission import refusal
from tests.remediator.web.setting import INGEST, AsRole, RecordingEngine


def kept(store: Store) -> list[bytes]:
    return [notification.body for notification in store.read(inbox.unfiled)]


def test_a_notification_is_on_disk_as_it_came_before_it_is_answered(
    as_role: AsRole, store: Store, engine: RecordingEngine, body: bytes
) -> None:
    answer = as_role("ingest").post(INGEST, data=body)
    assert (answer.status_code, answer.json) == (202, {"alerts": 1, "truncated": 0})
    assert kept(store) == [body]
    assert engine.woken == 1


def test_the_sender_is_recorded(as_role: AsRole, store: Store, body: bytes) -> None:
    as_role("ingest").post(INGEST, data=body)
    assert [notification.source for notification in store.read(inbox.unfiled)] == ["ingest"]


def test_truncated_groups_say_how_many_are_missing(as_role: AsRole, payload: dict[str, Any]) -> None:
    answer = as_role("ingest").post(INGEST, json={**payload, "truncatedAlerts": 7})
    assert answer.json == {"alerts": 1, "truncated": 7}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"\xff\xfe", "the body is no JSON"),
        (b"[" * 50_000, "the body is no JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (b"{}", "has no version; version 4 is understood"),
        (b'{"version": "5"}', "says version '5'"),
        (b'{"version": "4"}', "receiver: Field required"),
        (b'{"version": "4", "receiver": "a", "groupKey": "b", "alerts": "none"}', "alerts: Input should be a valid"),
        (b'{"version": "4", "receiver": "a", "groupKey": "b", "alerts": [1]}', "alerts.0: Input should be"),
    ],
)
def test_what_can_never_be_right_is_a_400_that_says_why(
    as_role: AsRole, store: Store, engine: RecordingEngine, said: bytes, words: str
) -> None:
    answer = as_role("ingest").post(INGEST, data=said)
    assert answer.status_code == 400
    assert words in answer.json["error"]
    assert (kept(store), engine.woken) == ([], 0)


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({}, (401, "a token is needed")),
        ({"Authorization": "Basic aTpp"}, (401, "a token is needed")),
        ({"Authorization": "Bearer"}, (401, "a token is needed")),
        ({"Authorization": "Bearer guess"}, (401, "no entry for this token")),
        ({"Authorization": "Bearer ingést-secret"}, (401, "no entry for this token")),
        ({"Authorization": "Bearer viewer-secret"}, (403, "viewer's token has the role viewer")),
        ({"Authorization": "Bearer admin-secret"}, (403, "takes a token of its own, with the role ingest")),
    ],
)
def test_only_the_ingest_role_delivers(
    app: Flask, store: Store, body: bytes, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    code, words = refusal
    answer = app.test_client().post(INGEST, data=body, headers=headers)
    assert answer.status_code == code
    assert words in answer.json["error"]
    assert ("WWW-Authenticate" in answer.headers) == (code == 401)
    assert kept(store) == []


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/v1/runs/x", "/", "/nothing"])
def test_the_ingest_role_is_good_for_nothing_else(as_role: AsRole, path: str) -> None:
    assert as_role("ingest").get(path).status_code == 403


def test_too_large_a_body_is_refused(as_role: AsRole, store: Store) -> None:
    answer = as_role("ingest").post(INGEST, data=b" " * (64 * 1024 + 1))
    assert answer.status_code == 413
    assert "limits.body_bytes" in answer.json["error"]
    assert kept(store) == []


def test_the_same_payload_twice_at_the_same_moment_is_kept_twice(app: Flask, store: Store, body: bytes) -> None:
    def deliver(_: int) -> int:
        headers = {"Authorization": "Bearer ingest-secret"}
        return app.test_client().post(INGEST, data=body, headers=headers).status_code

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(deliver, range(2))) == [202, 202]
    assert kept(store) == [body, body]


def test_a_store_that_is_down_is_a_503_so_that_alertmanager_tries_again(
    as_role: AsRole, store: Store, engine: RecordingEngine, body: bytes
) -> None:
    store._writer.end()
    store._writer.join(10.0)
    answer = as_role("ingest").post(INGEST, data=body)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "the store is closed" in answer.json["error"]
    assert engine.woken == 0


def test_a_store_that_refuses_to_write_is_a_503(as_role: AsRole, store: Store, body: bytes) -> None:
    def read_only(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only=ON")

    store.write(read_only)
    answer = as_role("ingest").post(INGEST, data=body)
    assert answer.status_code == 503
    assert "refuses to write" in answer.json["error"]


def test_what_is_counted(as_role: AsRole, app: Flask, body: bytes) -> None:
    as_role("ingest").post(INGEST, data=body)
    as_role("ingest").post(INGEST, data=b"{")
    as_role("viewer").post(INGEST, data=body)
    exposed = app.test_client().get("/metrics").text.splitlines()
    assert "ballast_remediator_notifications_accepted_total 1.0" in exposed
    assert 'ballast_remediator_notifications_refused_total{code="400"} 1.0' in exposed
    assert 'ballast_remediator_notifications_refused_total{code="403"} 1.0' in exposed
    assert 'ballast_remediator_notifications_refused_total{code="503"} 0.0' in exposed
    assert "ballast_remediator_notifications_unfiled 1.0" in exposed


@pytest.mark.parametrize(("path", "counted"), [(INGEST, "1.0"), ("/api/v1/runs/x/approve", "0.0")])
def test_a_body_that_comes_too_late_is_refused_as_everything_else_and_counted(
    app: Flask, path: str, counted: str
) -> None:
    answer = refusal(app)({"PATH_INFO": path}, HTTPStatus.SERVICE_UNAVAILABLE, "the body did not arrive within 10 s")
    assert (answer.status, json.loads(answer.body)) == (503, {"error": "the body did not arrive within 10 s"})
    assert ("Content-Type", "application/json") in answer.headers
    exposed = app.test_client().get("/metrics").text.splitlines()
    assert f'ballast_remediator_notifications_refused_total{{code="503"}} {counted}' in exposed


def test_json_is_parsed_whatever_the_content_type_says(as_role: AsRole, payload: dict[str, Any]) -> None:
    answer = as_role("ingest").post(INGEST, data=json.dumps(payload).encode())
    assert answer.status_code == 202
