"""The policy file: which runbook may answer which alerts, how much it may do by itself, and within which bounds.

::

    time_zone: Europe/Berlin             # of every schedule below
    brake: {targets: 5, window: 10m}     # more targets than that at once, and a person has to look
    freezes:                             # nothing begins then, but for the runbooks that are excepted
      - {name: year-end, schedule: "0 0 20 12 *", lasts: 14d, except: [etcd-free-space]}
    rules:
      - runbook: etcd-free-space
        match: {cluster: production}     # labels of the alert in Prometheus, all of them
        mode: ask                        # shadow, ask (the default) or auto
        approvers: [anna, ben]           # names of the tokens file; without it everybody who may approve
        approvals: 1                     # different people it takes
        budget: {runs: 3, window: 24h}   # and, or instead, percent: 10 (of the cluster's targets)
        cooldown: 30m                    # a target rests after each action
        windows: [{name: night, schedule: "0 1 * * *", lasts: 4h}]   # it may begin only then
        limits: {members_at_once: 1}     # the plan's own limits must not be wider

The first rule that matches decides. Where none does, nothing runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from ballast_remediator.contract import Budget, Mode, Reversibility, Terms, canonical
from ballast_remediator.periods import Period, mistake_in_schedule, mistake_in_time_zone
from ballast_remediator.runbooks import APPROVED
from kube_ballast import configfile
from kube_ballast.config import Duration, Model

TWO_PEOPLE: Final = 2
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class BudgetRule(Model):
    """How many runs may begin in one cluster within ``window``; of two limits the smaller holds."""

    runs: int | None = Field(default=None, ge=0)
    percent: float | None = Field(default=None, ge=0, le=100)
    window: Duration = 86400.0

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.runs is None and self.percent is None:
            raise ValueError("a budget says how many runs, or which percent of the targets")
        return self


class BrakeRule(Model):
    """More distinct targets than ``targets`` within ``window``, over all clusters, set the brake."""

    targets: int = Field(default=5, ge=1)
    window: Duration = 600.0


class PeriodRule(Model):
    """It begins when ``schedule`` (crontab) says so, and lasts so long."""

    name: _Text
    schedule: _Text
    lasts: Duration
    time_zone: str | None = None

    @field_validator("schedule")
    @classmethod
    def _comes(cls, value: str) -> str:
        return _right(value, mistake_in_schedule(value))

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, value: str | None) -> str | None:
        return value if value is None else _right(value, mistake_in_time_zone(value))


class FreezeRule(PeriodRule):
    """Nothing begins in it, but for the runbooks that are excepted."""

    excepted: tuple[str, ...] = Field(default=(), alias="except")

    @field_validator("excepted")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_approved(name) for name in value)


class Rule(Model):
    """``match`` compares labels of the alert; every one of them has to be equal."""

    runbook: str
    match: Mapping[_Text, _Text] = {}
    mode: Mode = Mode.ASK
    approvers: tuple[_Text, ...] | None = Field(default=None, min_length=1)
    approvals: int = Field(default=1, ge=1, le=5)
    budget: BudgetRule = BudgetRule(runs=3)
    cooldown: Duration = 1800.0
    windows: tuple[PeriodRule, ...] = ()
    limits: Mapping[_Text, Annotated[float, Field(allow_inf_nan=False)]] = {}

    @field_validator("runbook")
    @classmethod
    def _is_approved(cls, value: str) -> str:
        return _approved(value)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        kind = _reversibility(self.runbook)
        if self.mode is Mode.AUTO:
            if kind is Reversibility.IRREVERSIBLE:
                raise _mistake("mode", f"{self.runbook} cannot be undone: it is never run in auto")
            if self.approvals > 1:
                raise _mistake("approvals", "in auto nobody is asked unless a guard asks: for several people write ask")
            if not self.match:
                words = (
                    "a rule without match means every alert of every cluster; in auto it has to name what it means, "
                    "at least cluster"
                )
                raise _mistake("mode", words)
        needed, named = self.approvals_needed(kind), len(set(self.approvers or ()))
        if self.approvers is not None and named < needed:
            raise _mistake("approvers", f"it takes {needed} different people, and there are {named}")
        return self

    def approvals_needed(self, reversibility: Reversibility) -> int:
        """How many different people have to approve a run of a runbook of that kind."""
        return max(self.approvals, TWO_PEOPLE) if reversibility is Reversibility.IRREVERSIBLE else self.approvals

    def matches(self, runbook: str, labels: Mapping[str, str]) -> bool:
        """Whether this rule speaks about that runbook and an alert with those labels."""
        return self.runbook == runbook and all(labels.get(name) == value for name, value in self.match.items())


class PolicyFile(Model):
    """The file's content."""

    time_zone: str = "UTC"
    brake: BrakeRule = BrakeRule()
    freezes: tuple[FreezeRule, ...] = ()
    rules: tuple[Rule, ...]

    @field_validator("time_zone")
    @classmethod
    def _exists(cls, value: str) -> str:
        return _right(value, mistake_in_time_zone(value))


@dataclass(frozen=True)
class Policy:
    """A loaded policy."""

    content: PolicyFile

    @cached_property
    def digest(self) -> str:
        """SHA-256, hex, of what it says; it stands in every run that it decided."""
        return hashlib.sha256(canonical(self.content.model_dump(mode="json", by_alias=True))).hexdigest()

    @property
    def brake(self) -> BrakeRule:
        """When too many targets appear at once."""
        return self.content.brake

    def decide(self, runbook: str, labels: Mapping[str, str]) -> Rule | None:
        """The first rule that matches, or None: then nothing may run."""
        return next((rule for rule in self.content.rules if rule.matches(runbook, labels)), None)

    def terms(self, rule: Rule) -> Terms:
        """What ``rule`` and the policy's freezes demand of a run."""
        freezes = [freeze for freeze in self.content.freezes if rule.runbook not in freeze.excepted]
        return Terms(
            budget=Budget(rule.budget.runs, rule.budget.percent, rule.budget.window),
            cooldown=rule.cooldown,
            windows=tuple(map(self._period, rule.windows)),
            freezes=tuple(map(self._period, freezes)),
            limits=rule.limits,
        )

    def _period(self, rule: PeriodRule) -> Period:
        return Period(rule.name, rule.schedule, rule.lasts, rule.time_zone or self.content.time_zone)


def load(path: Path) -> Policy:
    """Raises `ConfigError` with the line of each mistake."""
    return Policy(configfile.load(path, PolicyFile))


class PolicyOfFile:
    """The policy of the file at ``path``, as it is now. Thread safe.

    A change takes effect with the next decision. A file that cannot be used leaves the last good one in force, is
    logged, and shows in ``problem``.
    """

    def __init__(self, path: Path) -> None:
        """Raises `ConfigError`."""
        self._file = configfile.Reloaded(path, load)

    def current(self) -> Policy:
        """The last good one."""
        return self._file.current()

    @property
    def problem(self) -> str | None:
        """Why the file as it is now is not in force; None while it is."""
        return self._file.problem


def _reversibility(name: str) -> Reversibility:
    return next(kind.reversibility for kind in APPROVED if kind.name == name)


def _mistake(field: str, words: str) -> ValidationError:
    """What is wrong with one field because of others; it is told with the line of that field."""
    error = PydanticCustomError("beside_others", "{words}", {"words": words})
    return ValidationError.from_exception_data("rule", [InitErrorDetails(type=error, loc=(field,), input=None)])


def _right(value: str, wrong: str | None) -> str:
    if wrong is not None:
        raise ValueError(wrong)
    return value


def _approved(name: str) -> str:
    names = [runbook.name for runbook in APPROVED]
    if name not in names:
        raise ValueError(f"there is no approved runbook {name!r} (there are: {', '.join(names)})")
    return name
