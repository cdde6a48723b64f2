"""runbooks.lock: the digests of the runbooks' sources as they were reviewed.

A review gate, not a security boundary: who can edit a runbook on the host can edit the lock too. It makes
sure that a runbook which changed is looked at again before it runs (`make approve-runbooks` after review).
"""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ballast_remediator import guards
from ballast_remediator.contract import Runbook
from ballast_remediator.runbooks import APPROVED

LOCK = Path(__file__).with_name("runbooks.lock")
GUARDS = Path(guards.__file__).parent


def digest(runbook: Runbook[Any]) -> str:
    """SHA-256, hex: the source of the runbook's own module, of those it names as ``sources``, and of all guards."""
    return _digest(type(runbook).__module__, runbook.sources)


def _digest(module: str, sources: tuple[ModuleType, ...]) -> str:
    content = hashlib.sha256()
    own = [Path(str(part.__file__)) for part in (sys.modules[module], *sources)]
    for path in (*own, *sorted(GUARDS.glob("*.py"))):
        content.update(path.read_bytes())
    return content.hexdigest()


def approved() -> Mapping[str, str]:
    """Digests by runbook name, as runbooks.lock holds them."""
    entries = [line.split() for line in LOCK.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {name: recorded for recorded, name in entries}


def write() -> None:
    """Records the present digests."""
    lines = [f"{_digest(kind.__module__, kind.sources)}  {kind.name}" for kind in APPROVED]
    header = "# Digests of reviewed runbooks; `make approve-runbooks` writes this file after a review."
    LOCK.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
