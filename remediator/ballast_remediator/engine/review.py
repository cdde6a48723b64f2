"""Whether a runbook is the one that was reviewed: asked before it plans, and before it goes on with a run."""

from collections.abc import Mapping
from typing import Any

from ballast_remediator.contract import Runbook
from ballast_remediator.runbooks.lock import digest


class Review:
    """The digests of the runbooks as they are, against those of runbooks.lock."""

    def __init__(self, runbooks: Mapping[str, Runbook[Any]], reviewed: Mapping[str, str]) -> None:
        """``reviewed`` are the digests of runbooks.lock."""
        self.digests = {name: digest(runbook) for name, runbook in runbooks.items()}
        self._reviewed = reviewed

    def unobjected(self) -> Mapping[str, str]:
        """The digests of the runbooks that may do something now, by their names."""
        return {name: digest for name, digest in self.digests.items() if self.objection(name) is None}

    def objection(self, name: str) -> str | None:
        """Why the runbook ``name`` may do nothing now, in words; None when its source was reviewed."""
        if self.digests[name] == self._reviewed.get(name):
            return None
        return (
            f"the source of {name} is not the one that was reviewed (runbooks.lock): review it, then "
            "`make approve-runbooks`"
        )
