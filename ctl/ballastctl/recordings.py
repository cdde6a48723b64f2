"""Recorded notifications: Alertmanager's webhook bodies, as a receiver kept them."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ballast_remediator import notification
from ballast_remediator.contract import Alert
from kube_ballast.configfile import ConfigError, Problem

_LATEST: Final = 253402300799.0
"""The end of the year 9999."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One notification; ``at`` is when it came, in seconds since the epoch."""

    at: float
    body: bytes
    alerts: tuple[Alert, ...]
    truncated: int


def read(files: Iterable[Path]) -> Sequence[Recording]:
    """What the files hold, in the order of its time.

    A file holds one body, or a line for each: the body itself, or ``{"received_at": …, "body": …}``.

    Raises:
        ConfigError: names every mistake with its file and line.
    """
    found: list[Recording] = []
    problems: list[Problem] = []
    for file in files:
        try:
            for line, content in _documents(file):
                try:
                    found.append(_recording(content))
                except ValueError as error:
                    problems.append(Problem(file, line, str(error)))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(tuple(problems))
    return sorted(found, key=lambda one: one.at)


def _documents(file: Path) -> Iterator[tuple[int, object]]:
    """Each document with its line. Raises ConfigError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError((Problem(file, None, f"cannot be read: {reason}"),)) from error
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ConfigError((Problem(file, None, "is empty"),))
    if len(lines) == 1 or not _is_json(lines[0][1]):
        yield lines[0][0], _parsed(file, text, 0)
        return
    for number, line in lines:
        yield number, _parsed(file, line, number - 1)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parsed(file: Path, text: str, before: int) -> object:
    """``before`` is how many lines of the file come before ``text``."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError((Problem(file, before + error.lineno, f"is no JSON: {error.msg}"),)) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError((Problem(file, before + 1, f"is no JSON: {error}"),)) from error


def _recording(content: object) -> Recording:
    """Raises ValueError with the mistake in words."""
    if not isinstance(content, Mapping):
        raise ValueError("is no JSON object, as Alertmanager's webhook sends it")  # noqa: TRY004 - it is the file's fault
    enveloped = "body" in content
    body = content["body"] if enveloped else content
    encoded = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    try:
        payload = notification.parse(encoded)
    except notification.Malformed as error:
        raise ValueError(str(error)) from error
    came = content.get("received_at") if enveloped else None
    at = _begun(payload.alerts) if came is None else _time(came)
    return Recording(at, encoded, payload.alerts, payload.truncated)


def _time(value: object) -> float:
    """Raises ValueError."""
    at = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        at = float(value)
    elif isinstance(value, str):
        try:
            then = datetime.fromisoformat(value)
        except ValueError:
            then = None
        at = math.nan if then is None or then.tzinfo is None else then.timestamp()
    if not 0 <= at <= _LATEST:
        raise ValueError(
            f"received_at: {value!r:.40} is no time; write seconds since 1970, or for example 2026-01-31T12:00:00Z"
        )
    return at


def _begun(alerts: Sequence[Alert]) -> float:
    """When the last of them began. Raises ValueError."""
    begun = max((alert.starts_at for alert in alerts), default=-1.0)
    if not 0 <= begun <= _LATEST:
        raise ValueError("no alert tells when the notification came: keep it as {received_at, body}")
    return begun
