"""What the remediator would do about an alert, and why. It acts on nothing and opens no run."""

import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from flask import Response, request
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.tag import Tag
from pydantic import BaseModel, Field
from werkzeug.exceptions import BadRequest, ServiceUnavailable

from ballast_remediator import notification, queries
from ballast_remediator.contract import Mode, RunState
from ballast_remediator.engine import recording
from ballast_remediator.engine.explaining import Decider, Explained
from ballast_remediator.web.access import EXPLAIN_PATH
from ballast_remediator.web.services import REFUSALS, answer, documented, operation_id, services

MOST: Final = 10
"""Alerts of one request: each costs as much looking as a run."""
_AT_ONCE = threading.BoundedSemaphore(2)
"""Looking takes seconds, and each request a thread: notifications must not wait for who is curious."""

api = APIBlueprint(
    "explain",
    __name__,
    abp_tags=[Tag(name="explain", description="What would it do, and why?")],
    abp_security=[{"token": []}],
    operation_id_callback=operation_id,
)


class What(BaseModel):
    """What to tell besides."""

    record: bool = Field(
        default=False, description="Also what was seen, to judge it again offline (`ballastctl policy explain`)."
    )


class RuleView(queries.View):
    """The rule that decides."""

    number: int = Field(description="Its place in the policy, from 1.")
    match: Mapping[str, str]
    mode: Mode
    approvers: tuple[str, ...] | None
    approvals_needed: int | None = Field(description="How many people it takes; null where it does not come to that.")


class OpenRun(queries.View):
    """A run of this target that is open already: the alert would be attached to it."""

    id: str
    state: RunState


class ExplanationView(queries.View):
    """What a run on one alert would come to now."""

    alert: str = Field(description="Its name.")
    labels: Mapping[str, str]
    cluster: str | None = Field(description="null where no run would answer it; so with `runbook` and `target`.")
    runbook: str | None
    target: str | None
    state: RunState | None = Field(description="What it would come to first; null where no run would answer it.")
    words: str = Field(description="Why, in words.")
    passing: bool = Field(description="What is in the way may pass by itself within a minute or two.")
    open_run: OpenRun | None
    answers: tuple[queries.GuardAnswer, ...] = Field(
        description="Every guard that was asked. Without a true alert, a rule or something to do no more are asked."
    )
    plan: queries.PlanView | None
    plan_hash: str | None
    rule: RuleView | None
    mismatches: tuple[str, ...] = Field(description="Why each rule of the runbook does not match, where none does.")
    beforehand: tuple[str, ...] = Field(description="Pre-approvals that do not let it pass, each with why.")
    policy_digest: str


class Explanations(queries.View):
    """In the order of the alerts."""

    explanations: tuple[ExplanationView, ...]
    recordings: tuple[recording.Recording, ...] | None = Field(description="Of those that a run would answer.")


@api.post(
    EXPLAIN_PATH,
    summary="Explain what would be done about an alert",
    description=(
        "The body is a webhook payload of Alertmanager, one alert of it, or a list of alerts as Alertmanager's "
        f"`GET /api/v2/alerts` gives it; {MOST} alerts at most. Each is judged with live evidence, as a run would be: "
        "Prometheus, Alertmanager and the runbook's world are asked, and every guard. Nothing is written, acted on or "
        "opened. The token needs the role `viewer`, `approver` or `admin`."
    ),
    responses={
        200: Explanations,
        400: documented("It holds no alert that can be understood; the words say why."),
        413: documented("The body is larger than `limits.body_bytes` of the configuration."),
        **REFUSALS,
        503: documented("Others are being explained, or the store does not answer now. Ask again."),
    },
    openapi_extensions={
        "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
    },
)
def explain(query: What) -> Response:
    parts = services()
    try:
        alerts = notification.alerts_of(request.get_data(cache=False))
    except notification.Malformed as error:
        raise BadRequest(str(error)) from error
    if not 1 <= len(alerts) <= MOST:
        raise BadRequest(f"it holds {len(alerts)} alerts; from 1 to {MOST} are explained at once")
    if not _AT_ONCE.acquire(blocking=False):
        raise ServiceUnavailable("others are being explained; ask again in a few seconds", retry_after=5)
    try:
        explained = [parts.engine.explain(alert) for alert in alerts]
    finally:
        _AT_ONCE.release()
    kept = [one for each in explained if (one := recording.record(each, parts.config)) is not None]
    return answer(
        Explanations(
            explanations=tuple(map(view, explained)),
            recordings=tuple(kept) if query.record else None,
        )
    )


def view(explained: Explained) -> ExplanationView:
    """As the API shows it."""
    target = explained.target
    return ExplanationView(
        alert=explained.alert.labels.get("alertname", ""),
        labels=explained.alert.labels,
        cluster=None if target is None else target.cluster,
        runbook=None if target is None else target.runbook,
        target=None if target is None else target.name,
        state=explained.state,
        words=explained.words,
        passing=explained.passing,
        open_run=None
        if explained.open_run is None
        else OpenRun(id=explained.open_run.id, state=explained.open_run.state),
        answers=tuple(queries.GuardAnswer.model_validate(asdict(one)) for one in explained.answers),
        plan=None if explained.plan is None else queries.plan_view(explained.plan),
        plan_hash=explained.plan_hash,
        rule=None if explained.decider is None else _rule(explained.decider),
        mismatches=explained.mismatches,
        beforehand=explained.beforehand,
        policy_digest=explained.policy_digest,
    )


def _rule(decider: Decider) -> RuleView:
    rule = decider.rule
    return RuleView(
        number=decider.number,
        match=rule.match,
        mode=rule.mode,
        approvers=rule.approvers,
        approvals_needed=decider.needed,
    )
