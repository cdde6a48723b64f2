"""What the API shows, its client knows: nothing is dropped on the way to `ballastctl show --output json`."""

from dataclasses import fields
from typing import Any

import pytest
from pydantic import BaseModel

from ballast_remediator import queries
from ballast_remediator.web import audit
from kube_ballast.clients import remediator_audit
from kube_ballast.clients import remediator_types as remediator

PAIRS = [
    (queries.RunDetail, remediator.Run),
    (queries.RunSummary, remediator.RunSummary),
    (queries.AlertView, remediator.Alert),
    (queries.PlanView, remediator.Plan),
    (queries.PlannedStep, remediator.PlannedStep),
    (queries.StepView, remediator.Step),
    (queries.GuardAnswer, remediator.GuardAnswer),
    (queries.ApprovalView, remediator.Approval),
    (queries.TimelineEntry, remediator.TimelineEntry),
    (queries.StopView, remediator.Stop),
    (queries.Stops, remediator.Stops),
    (queries.PreapprovalView, remediator.Preapproval),
    (audit.AuditPage, remediator_audit.AuditPage),
    (audit.AuditEntryView, remediator_audit.AuditEntry),
    (audit.HeadView, remediator_audit.AuditHead),
]


@pytest.mark.parametrize(("shown", "known"), PAIRS, ids=lambda kind: kind.__name__)
def test_every_field_of_the_api_is_there(shown: type[BaseModel], known: Any) -> None:
    assert {field.name for field in fields(known)} == set(shown.model_fields)
