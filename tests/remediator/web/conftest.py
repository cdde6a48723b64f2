import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from ballast_remediator.app import create_app
from ballast_remediator.store.database import Store
from tests.remediator.web.setting import AsRole, Caller, RecordingEngine, Site, make_site, seed, serving


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def store(site: Site) -> Iterator[Store]:
    with Store(site.config.store.place) as opened:
        yield opened


@pytest.fixture
def app(site: Site, engine: RecordingEngine, store: Store) -> Flask:
    return create_app(site.config, engine=engine, store=store)


@pytest.fixture
def as_role(app: Flask) -> AsRole:
    return lambda role: Caller(app.test_client(), {"Authorization": f"Bearer {role}-secret"})


@pytest.fixture
def payload() -> dict[str, Any]:
    """As Alertmanager 0.33 sends it."""
    return {
        "receiver": "ballast\\-remediator",
        "status": "firing",
        "alerts": [
            {
                "status": "firing",
                "labels": {
                    "alertname": "EtcdFreeSpaceNeeded",
                    "ballast_runbook": "etcd-free-space",
                    "etcd_cluster": "main",
                },
                "annotations": {"summary": "etcd main is full"},
                "startsAt": "2026-03-01T10:00:00.123456789Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus/graph",
                "fingerprint": "9e5f1a2b3c4d5e6f",
            }
        ],
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "version": "4",
        "groupKey": '{}:{alertname="EtcdFreeSpaceNeeded"}',
        "truncatedAlerts": 0,
        "notification_reason": "new",
    }


@pytest.fixture
def body(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload).encode()


@pytest.fixture
def run_id(store: Store) -> str:
    return seed(store)


@pytest.fixture
def served(site: Site) -> Iterator[Site]:
    with serving(site) as running:
        yield running
