"""Alertmanager's webhook payload, version 4, where it crosses into this program.

What is read is what something here decides by. Fields that later versions add are ignored, and so is ``endsAt``: for a
firing alert it is year 1 or a guess, and for a resolved one it is no proof of anything. What a group has in common
(``status``, ``commonLabels``) is computed after truncation and can hide firing alerts, so only the alerts themselves
count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic.alias_generators import to_camel

from ballast_remediator.contract import Alert

VERSION: Final = "4"
MAX_ALERTS: Final = 10_000
MAX_LABELS: Final = 200
MAX_NAME: Final = 1024
MAX_TEXT: Final = 64 * 1024
_SHOWN: Final = 3
"""How many mistakes of one payload are named; the rest are counted."""


_Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
_Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
_Texts = Annotated[dict[_Name, _Text], Field(max_length=MAX_LABELS)]


class Malformed(Exception):
    """No notification that could ever be understood; the text says why, for whoever configured the sender."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How many alerts a notification holds, and how many of the group the sender left out."""

    alerts: int
    truncated: int


@dataclass(frozen=True, slots=True)
class Payload:
    """One notification. ``truncated`` counts alerts of the group that the sender left out.

    ``receiver`` comes as Alertmanager sends it, with regular expression characters escaped.
    """

    alerts: tuple[Alert, ...]
    truncated: int
    receiver: str
    group_key: str
    external_url: str


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class _WireAlert(_Wire):
    status: Literal["firing", "resolved"]
    labels: _Texts
    annotations: _Texts = Field(default_factory=dict)
    starts_at: AwareDatetime
    fingerprint: _Name


class _HeldAlert(_WireAlert):
    """An alert by itself. Alertmanager's API tells its status as an object, and has no word for resolved."""

    status: Literal["firing", "resolved"] = "firing"

    @field_validator("status", mode="before")
    @classmethod
    def _of_the_api(cls, value: object) -> object:
        return "firing" if isinstance(value, dict) and "state" in value else value


class _WirePayload(_Wire):
    version: Literal["4"]
    receiver: _Text
    group_key: _Text
    external_url: Annotated[_Text, Field(alias="externalURL")] = ""
    truncated_alerts: int = Field(default=0, ge=0)
    alerts: tuple[_WireAlert, ...] = Field(max_length=MAX_ALERTS)


_JSON: TypeAdapter[Any] = TypeAdapter(Any)
_HELD = TypeAdapter(Annotated[tuple[_HeldAlert, ...], Field(max_length=MAX_ALERTS)])


def extent(body: bytes) -> Extent:
    """How much a webhook's body says. Raises as `parse` does, and makes nothing of what it says."""
    wire = _wire(body)
    return Extent(len(wire.alerts), wire.truncated_alerts)


def parse(body: bytes) -> Payload:
    """What a webhook's body says.

    Raises:
        Malformed: it is no payload of version 4, or larger in some part than any real one.
    """
    wire = _wire(body)
    text = _text_of(body)
    return Payload(
        alerts=tuple(_alert(one, text) for one in wire.alerts),
        truncated=wire.truncated_alerts,
        receiver=text(wire.receiver),
        group_key=text(wire.group_key),
        external_url=text(wire.external_url),
    )


def _wire(body: bytes) -> _WirePayload:
    try:
        return _WirePayload.model_validate_json(body)
    except ValidationError as error:
        raise Malformed(_reason(error)) from error


def alerts_of(body: bytes) -> tuple[Alert, ...]:
    """The alerts that a person has in a file: a webhook's body, one alert of it, or what Alertmanager's API lists.

    Raises:
        Malformed: it is none of these.
    """
    try:
        content = _JSON.validate_json(body)
    except ValidationError as error:
        raise Malformed(_reason(error)) from error
    if isinstance(content, dict) and "alerts" in content:
        return parse(body).alerts
    held = content if isinstance(content, list) else [content]
    try:
        text = _text_of(body)
        return tuple(_alert(one, text) for one in _HELD.validate_python(held))
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}"
            for mistake in error.errors(include_url=False)[:_SHOWN]
        )
        raise Malformed(
            "it is no webhook payload, no alert of one, and no list of alerts as Alertmanager's API gives it: "
            + mistakes
        ) from error


def _alert(wire: _WireAlert, text: Callable[[str], str]) -> Alert:
    return Alert(
        fingerprint=text(wire.fingerprint),
        labels={text(name): text(value) for name, value in wire.labels.items()},
        annotations={text(name): text(value) for name, value in wire.annotations.items()},
        firing=wire.status == "firing",
        starts_at=wire.starts_at.timestamp(),
    )


def _text_of(body: bytes) -> Callable[[str], str]:
    """What makes a text of ``body`` one that PostgreSQL keeps: one alert with a NUL must not keep others from filing.

    JSON has no other way to write one.
    """
    return _without_nul if b"\\u0000" in body else str


def _without_nul(value: str) -> str:
    return value.replace("\x00", "\ufffd")


def _reason(error: ValidationError) -> str:
    mistakes = error.errors(include_url=False, include_context=False)
    first = mistakes[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}"
    if not first["loc"]:
        return "the body is no JSON object, as Alertmanager's webhook sends it"
    version = next((mistake for mistake in mistakes if mistake["loc"] == ("version",)), None)
    if version is not None:
        said = "has no version" if version["type"] == "missing" else f"says version {version['input']!r:.40}"
        return (
            f"the payload {said}; version {VERSION} is understood. A receiver with a custom `payload` "
            "(Alertmanager 0.32 and newer) sends something else: remove it from the webhook_config that points here"
        )
    named = "; ".join(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in mistakes[:_SHOWN])
    more = len(mistakes) - _SHOWN
    return f"the payload does not fit version {VERSION}: {named}" + (f"; and {more} more mistakes" if more > 0 else "")
