"""What a remediator keeps of what happened. Source: the schemas of its ``/openapi.json``."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AuditHead:
    """What names an entry."""

    seq: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry as it is kept. ``at`` is seconds since the epoch; ``data`` is any JSON."""

    seq: int
    at: float
    run_id: str | None
    event: str
    actor: str
    words: str
    data: Any
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some entries, the oldest first; the first one of all follows from ``checkpoint`` where retention dropped any."""

    checkpoint: AuditHead | None
    entries: tuple[AuditEntry, ...]
