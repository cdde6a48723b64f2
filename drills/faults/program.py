"""The remediator as it is, with the generated runbooks beside its own: `python -m drills.faults.program --config …`.

What differs from `ballast-remediator` is this file, and no switch of the product: more runbooks, alerts of theirs that
are true without a Prometheus, and shorter pauses.
"""

import os
import threading
import time
from collections.abc import Mapping
from typing import Final

from ballast_remediator import runbooks
from ballast_remediator.contract import Alert, AlertEvidence, Target
from drills.faults.generated import GENERATED

runbooks.APPROVED = (*runbooks.APPROVED, *GENERATED)  # type: ignore[assignment]  # before others take it from there

from ballast_remediator import app, cli  # noqa: E402 - after APPROVED
from ballast_remediator.engine import execution  # noqa: E402 - after APPROVED
from ballast_remediator.engine.witness import Monitored  # noqa: E402 - after APPROVED
from ballast_remediator.runbooks import lock  # noqa: E402 - after APPROVED
from drills.faults import sabotage  # noqa: E402 - after APPROVED

NAMES: Final = frozenset(kind.name for kind in GENERATED)
PAUSE: Final = 0.2


class Witness(Monitored):
    """Believes the generated runbooks' alerts; asks Prometheus about all others."""

    def look(self, alert: Alert, target: Target, target_label: str) -> AlertEvidence:
        if target.runbook in NAMES:
            return AlertEvidence("a drill", alert.labels, age=1.0)
        return super().look(alert, target, target_label)


def reviewed() -> Mapping[str, str]:
    """The digests of runbooks.lock, and of the generated ones as they are."""
    own = {kind.name: lock._digest(kind.__module__, kind.sources) for kind in GENERATED}  # noqa: SLF001 - of what has no file of its own
    return {**_APPROVED(), **own}


_APPROVED: Final = lock.approved


def main() -> None:
    """Everything is patched before the worker is forked."""
    sabotage.put(lock, "approved", reviewed)
    sabotage.put(app, "Monitored", Witness)
    sabotage.put(execution, "PAUSE", PAUSE)
    # Python sleeps by clock_nanosleep on the monotonic clock, to which libfaketime 0.9.10 answers EINVAL.
    sabotage.put(time, "sleep", threading.Event().wait)
    sabotage.take_out(os.environ.get(sabotage.WITHOUT, ""))
    cli.main()


if __name__ == "__main__":
    main()
