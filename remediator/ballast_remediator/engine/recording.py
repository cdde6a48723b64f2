"""What was seen when an alert was explained, kept as JSON, and judged again with another policy, offline."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, field_serializer

from ballast_remediator.config import Config, EngineSettings, RunbooksConfig, SnapshotsConfig
from ballast_remediator.connections import Connections
from ballast_remediator.contract import Alert, AlertEvidence, NotConfigured, Runbook, Target
from ballast_remediator.engine.explaining import Explained, Explainer
from ballast_remediator.engine.judging import Judge
from ballast_remediator.engine.planning import Planner
from ballast_remediator.engine.review import Review
from ballast_remediator.engine.surroundings import Surroundings
from ballast_remediator.policy import Policy
from ballast_remediator.runbooks import build
from ballast_remediator.store.database import Store
from ballast_remediator.store.inbox import Finding

VERSION: Final = 1
_FAR: Final = 3600.0
"""Seconds for which what was recorded may be judged: how old it is was judged when it was seen."""


class Recording(BaseModel):
    """What one alert was judged by. ``at`` is seconds since the epoch; ``world`` is None where nobody looked."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    version: int = VERSION
    at: float
    alert: Alert
    target: Target
    evidence: AlertEvidence
    world: Any
    runbooks: RunbooksConfig
    engine: EngineSettings

    @field_serializer("runbooks")
    def _by_their_names(self, value: RunbooksConfig) -> dict[str, Any]:
        return value.model_dump(mode="json", by_alias=True)


class Unreadable(Exception):
    """No recording that can be judged; the text says why."""


_MANY = TypeAdapter(tuple[Recording, ...])


def record(explained: Explained, config: Config) -> Recording | None:
    """None where no run would answer the alert, so that nothing was looked at."""
    if explained.target is None or explained.seen is None:
        return None
    world = explained.seen.world
    return Recording(
        at=time.time(),
        alert=explained.alert,
        target=explained.target,
        evidence=explained.seen.evidence,
        world=None if world is None else TypeAdapter(type(world)).dump_python(world, mode="json"),
        runbooks=config.runbooks,
        engine=config.engine,
    )


def read(text: bytes) -> tuple[Recording, ...]:
    """What `ballastctl policy explain --record` wrote. Raises `Unreadable`."""
    try:
        found = _MANY.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Unreadable(f"it is no recording of `ballastctl policy explain`: {where}: {first['msg']}") from error
    wrong = next((one.version for one in found if one.version != VERSION), None)
    if wrong is not None:
        raise Unreadable(f"it was recorded by another version (format {wrong}, and this one reads {VERSION})")
    return found


def judge_again(recording: Recording, policy: Policy) -> Explained:
    """What a run would come to with this policy, by what was seen then, and an empty ledger. Raises `Unreadable`."""
    runbooks = build(Connections({}), _configuration(recording))
    runbook = runbooks.get(recording.target.runbook)
    if runbook is None:
        raise Unreadable(f"there is no runbook {recording.target.runbook} in this version")
    replayed = _Replayed(runbook, recording)
    review = Review(runbooks, {})
    review = Review(runbooks, review.digests)  # whether it was reviewed is asked where it runs
    settings = recording.engine.model_copy(update={"kill_switch_file": None})
    surroundings = Surroundings(None)
    with TemporaryDirectory() as folder, Store(Path(folder) / "empty.db") as store:
        parts: dict[str, Any] = {
            "runbooks": {runbook.name: replayed},
            "review": review,
            "witness": _Told(recording.evidence),
            "surroundings": surroundings,
            "settings": settings,
        }
        policies = _Only(policy)
        judge = Judge(store, **parts)
        planner = Planner(store, judge, policies, surroundings, settings, may_decide=lambda _: True)
        finding = Finding(recording.alert, recording.target)
        explainer = Explainer(store, **parts, planner=planner, policies=policies, finding=lambda _: finding)
        return explainer.explain(recording.alert)


def _configuration(recording: Recording) -> Config:
    """As far as runbooks look at it before they act."""
    return Config.model_construct(
        clusters={},
        snapshots=SnapshotsConfig(directory=Path()),
        runbooks=recording.runbooks,
        engine=recording.engine,
    )


@dataclass(frozen=True, slots=True)
class _Only:
    """The one policy that is asked about."""

    policy: Policy
    problem: str | None = None

    def current(self) -> Policy:
        return self.policy


@dataclass(frozen=True, slots=True)
class _Told:
    """A witness that says what was recorded."""

    evidence: AlertEvidence

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        del alert, target, target_label
        return self.evidence


class _Replayed:
    """A runbook that sees the recorded world; everything else is its own."""

    def __init__(self, runbook: Runbook[Any], recording: Recording) -> None:
        self._runbook = runbook
        self._world = recording.world

    def observe(self, alert: Alert, target: Target) -> Any:  # noqa: ANN401 - each runbook has its own world
        del alert, target
        if self._world is None:
            raise NotConfigured("the recording ends before the world was looked at: record it again where it runs")
        kind = get_type_hints(type(self._runbook).observe)["return"]
        try:
            world = TypeAdapter(kind).validate_python(self._world)
        except ValidationError as error:
            raise NotConfigured(f"another version of the runbook saw the world: {error.errors()[0]['loc']}") from error
        return replace(world, valid_until=time.monotonic() + _FAR)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._runbook, name)
