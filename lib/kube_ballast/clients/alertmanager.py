"""Asks Alertmanager which alerts it holds.

Source: Alertmanager's api/v2/openapi.yaml, ``GET /alerts``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter, ValidationError

from kube_ballast.clients.http import HttpClient, unexpected
from kube_ballast.config import HttpConfig

_OK = 200
State = Literal["active", "suppressed", "unprocessed"]


@dataclass(frozen=True, slots=True)
class AlertStatus:
    """One alert; ``silenced_by`` and ``inhibited_by`` name the silences and the alerts that suppress it.

    Times are in UTC; ``ends_at`` is when it counts as resolved unless it is sent again, None when nobody said.
    """

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: datetime
    ends_at: datetime | None
    fingerprint: str
    silenced_by: tuple[str, ...]
    inhibited_by: tuple[str, ...]
    state: State


class _Status(BaseModel):
    state: State
    silenced_by: list[str] = Field(alias="silencedBy")
    inhibited_by: list[str] = Field(alias="inhibitedBy")


class _Alert(BaseModel):
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: AwareDatetime = Field(alias="startsAt")
    ends_at: AwareDatetime = Field(alias="endsAt")
    fingerprint: str
    status: _Status


_ALERTS = TypeAdapter(list[_Alert])


class Alertmanager:
    """Reads only; every call takes ``timeout`` in seconds for all of it and raises ``ClientError``s only."""

    def __init__(self, config: HttpConfig) -> None:
        self._http = HttpClient(config)
        self.url = config.url

    def alerts(
        self, *, timeout: float, receiver: str | None = None, labels: Mapping[str, str] | None = None
    ) -> tuple[AlertStatus, ...]:
        """The alerts routed to ``receiver`` (its plain name) that carry ``labels``, silenced and inhibited ones too."""
        params = [("filter", f"{name}={_quoted(value)}") for name, value in (labels or {}).items()]
        if receiver is not None:
            params.append(("receiver", re.escape(receiver)))
        answer = self._http.get("/api/v2/alerts", params, timeout=timeout)
        if answer.status != _OK:
            raise unexpected(self.url, "GET /api/v2/alerts", answer)
        try:
            return tuple(_alert(alert) for alert in _ALERTS.validate_json(answer.body))
        except ValidationError as error:
            raise unexpected(self.url, "GET /api/v2/alerts", answer, error) from error


def _alert(alert: _Alert) -> AlertStatus:
    ends = alert.ends_at.astimezone(UTC) if alert.ends_at.year > 1 else None  # Go's zero time is in the year 1
    return AlertStatus(
        labels=alert.labels,
        annotations=alert.annotations,
        starts_at=alert.starts_at.astimezone(UTC),
        ends_at=ends,
        fingerprint=alert.fingerprint,
        silenced_by=tuple(alert.status.silenced_by),
        inhibited_by=tuple(alert.status.inhibited_by),
        state=alert.status.state,
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
