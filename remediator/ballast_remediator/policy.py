"""The policy file: which runbook may answer which alerts, and how much it may do by itself.

::

    rules:
      - runbook: etcd-free-space
        match: {cluster: production}   # labels of the alert, all of them; none means every alert
        mode: ask                      # shadow, ask (the default) or auto

The first rule that matches decides. Where none does, nothing runs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import field_validator

from ballast_remediator.contract import Mode, Reversibility, canonical
from ballast_remediator.runbooks import APPROVED
from kube_ballast.config import Model
from kube_ballast.configfile import load as load_file


class Rule(Model):
    """``match`` compares labels of the alert; every one of them has to be equal."""

    runbook: str
    match: Mapping[str, str] = {}
    mode: Mode = Mode.ASK

    @field_validator("runbook")
    @classmethod
    def _approved(cls, value: str) -> str:
        names = [runbook.name for runbook in APPROVED]
        if value not in names:
            raise ValueError(f"there is no approved runbook {value!r} (there are: {', '.join(names)})")
        return value

    def matches(self, runbook: str, labels: Mapping[str, str]) -> bool:
        """Whether this rule speaks about that runbook and an alert with those labels."""
        return self.runbook == runbook and all(labels.get(name) == value for name, value in self.match.items())


class PolicyFile(Model):
    """The file's content."""

    rules: tuple[Rule, ...]

    @field_validator("rules")
    @classmethod
    def _nothing_irreversible_by_itself(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        irreversible = {kind.name for kind in APPROVED if kind.reversibility is Reversibility.IRREVERSIBLE}
        for rule in value:
            if rule.mode is Mode.AUTO and rule.runbook in irreversible:
                raise ValueError(f"{rule.runbook} cannot be undone: it is never run in auto")
        return value


@dataclass(frozen=True, slots=True)
class Policy:
    """A loaded policy; ``digest`` (SHA-256, hex) stands in every run that it decided."""

    rules: tuple[Rule, ...]
    digest: str

    def decide(self, runbook: str, labels: Mapping[str, str]) -> Rule | None:
        """The first rule that matches, or None: then nothing may run."""
        return next((rule for rule in self.rules if rule.matches(runbook, labels)), None)


def load(path: Path) -> Policy:
    """Raises `ConfigError` with the line of each mistake."""
    content = load_file(path, PolicyFile)
    return Policy(content.rules, hashlib.sha256(canonical(content.model_dump(mode="json"))).hexdigest())
