"""What happened to others does not happen here, and it does as soon as what stops it is taken out."""

from pathlib import Path
from types import ModuleType

import pytest

from tests.remediator.incidents import (
    dead_network,
    empty_selector,
    open_trigger,
    restored_automation,
    said_no,
    stale_actor,
    two_automations,
    two_replicas,
    whole_fleet,
)
from tests.remediator.incidents.incident import Protection

INCIDENTS = (
    empty_selector,
    stale_actor,
    two_automations,
    restored_automation,
    dead_network,
    whole_fleet,
    said_no,
    two_replicas,
    open_trigger,
)


def name(incident: ModuleType) -> str:
    return incident.__name__.rpartition(".")[2]


@pytest.mark.parametrize(
    ("incident", "protection"),
    [
        pytest.param(incident, protection, id=f"{name(incident)}, {protection.name}")
        for incident in INCIDENTS
        for protection in incident.STOPPED_BY
    ],
)
def test_each_protection_stops_it_by_itself(
    incident: ModuleType, protection: Protection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in incident.STOPPED_BY:
        if other is not protection:
            other.take_out(monkeypatch)
    outcome = incident.happens(tmp_path)
    assert outcome.harm == ()
    assert protection.says in outcome.words


@pytest.mark.parametrize("incident", INCIDENTS, ids=name)
def test_with_what_stops_it_taken_out_it_happens(
    incident: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for protection in incident.STOPPED_BY:
        protection.take_out(monkeypatch)
    assert incident.happens(tmp_path).harm != ()


def test_every_incident_names_its_source_and_is_run() -> None:
    files = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"incident", "test_incidents"}
    assert files == {name(incident) for incident in INCIDENTS}
    assert [name(incident) for incident in INCIDENTS if "\nSource: https://" not in (incident.__doc__ or "")] == []
