from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from tests.remediator.web.setting import INGEST


@pytest.fixture
def document(app: Flask) -> dict[str, Any]:
    return dict(app.test_client().get("/openapi.json").json or {})


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for operation in item.values():
            yield path, operation


def references(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for inner in part.values():
            yield from references(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from references(inner)


def test_it_is_openapi_3_1_and_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    for reference in set(references(document)):
        target = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_every_route_is_documented(app: Flask, document: dict[str, Any]) -> None:
    routes = {rule.rule.replace("<", "{").replace(">", "}") for rule in app.url_map.iter_rules()}
    assert routes - set(document["paths"]) == {"/openapi.json"}
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_what_needs_a_token_says_so_and_what_it_can_be_answered(document: dict[str, Any]) -> None:
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    for path, operation in operations(document):
        needs_token = path.startswith("/api/")
        assert operation.get("security", []) == ([{"token": []}] if needs_token else [])
        assert ({"400", "401", "403", "503"} <= set(operation["responses"])) == needs_token
        assert operation["summary"]


def test_path_parameters_are_declared(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        declared = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
        assert all(f"{{{name}}}" in path for name in declared)
        assert path.count("{") == len(declared)


def test_a_notification_that_comes_late_is_none_that_alertmanager_gives_up(document: dict[str, Any]) -> None:
    answers = document["paths"][INGEST]["post"]["responses"]
    assert "did not arrive in time" in answers["503"]["description"]
    assert set(answers) == {"202", "400", "401", "403", "413", "503"}
