"""One playbook on one host, by ansible-runner in a process of its own, with an end that holds."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kube_ballast.clients.errors import BadResponse, Conflict, Timeout, Unavailable
from kube_ballast.clients.hosts.failures import failed, unreachable

PLAYBOOKS: Final = Path(__file__).with_name("playbooks")
_BOUND: Final = Path(__file__).with_name("bound.py")
STDOUT_BYTES: Final = 4096
"""Of what Ansible says, this much is kept as evidence: its beginning and its end."""
EVENT_BYTES: Final = 1024 * 1024
GRACE: Final = 5.0
"""Seconds that ansible-runner has for ending a playbook whose time is over, before it is ended itself."""
_TEMPLATE: Final = re.compile(r"\{[{%#]|[\0\r\n]")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")

Variable = str | int | None | tuple[str, ...] | Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Play:
    """A playbook of ``playbooks``, on ``host``, with ``variables``. In check mode nothing is changed."""

    name: str
    host: str
    variables: Mapping[str, Variable]
    seconds: float
    check: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What each task gave, by its name, and what Ansible said (at most `STDOUT_BYTES`)."""

    results: Mapping[str, Mapping[str, Any]]
    stdout: str


class _Data(BaseModel):
    model_config = ConfigDict(extra="ignore")
    task: str = ""
    res: dict[str, Any] = Field(default_factory=dict)


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore")
    counter: int
    event: str
    event_data: _Data = Field(default_factory=_Data)


def run(play: Play, folder: Path, inventory: Path, environment: Mapping[str, str]) -> Outcome:
    """Plays it. ``folder`` is private and empty; what Ansible needs and leaves lies in it.

    Raises:
        Unavailable: the host was not reached, or Ansible is not here: nothing was done.
        Timeout: it did not end in time, or the way to the host broke off. Unless in check mode, it is unknown what
            took effect.
        Denied: ssh's or sudo's answer is no.
        Conflict: the inventory has no such host, or several.
        BadResponse: a task failed otherwise; its words are told.
    """
    if find_spec("ansible_runner") is None or find_spec("ansible") is None:
        raise Unavailable(play.host, "Ansible is not installed here: nothing was done. Install kube-ballast[hosts]")
    _lay_out(play, folder)
    arguments = [
        *(sys.executable, "-P", str(_BOUND), str(os.getpid())),
        *("run", str(folder), "--ident", "run", "--quiet"),
        *("--project-dir", str(PLAYBOOKS), "--playbook", f"{play.name}.yml"),
        *("--inventory", str(inventory), "--limit", play.host),
    ]
    with (folder / "runner.log").open("wb") as log:
        runner = subprocess.Popen(  # noqa: S603 - arguments of our own, no shell
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        try:
            runner.wait(play.seconds + GRACE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _end(runner)
    return _outcome(play, folder)


def _lay_out(play: Play, folder: Path) -> None:
    for value in _texts(play.variables):
        if _TEMPLATE.search(value):
            raise BadResponse(play.host, f"{value!r} is not given to Ansible: it would be read as a template")
    (folder / "env").mkdir()
    # It looks every second whether it has to end.
    settings = {"job_timeout": max(1, round(play.seconds)), "pexpect_timeout": 1, "suppress_env_files": True}
    for name, content in (
        ("extravars", json.dumps(play.variables)),
        ("settings", json.dumps(settings)),
        ("cmdline", "--check" if play.check else ""),
    ):
        if content:
            (folder / "env" / name).write_text(content)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for each in value.values() for text in _texts(each)]
    if isinstance(value, tuple):
        return [text for each in value for text in _texts(each)]
    return []


def _end(runner: "subprocess.Popen[bytes]") -> None:
    """Ansible itself is in a session of its own, and is ended by ansible-runner."""
    with suppress(ProcessLookupError):
        os.killpg(runner.pid, signal.SIGTERM)
    try:
        runner.wait(GRACE)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(runner.pid, signal.SIGKILL)
        runner.wait()


def _outcome(play: Play, folder: Path) -> Outcome:
    artifacts = folder / "artifacts" / "run"
    status, stdout = _text(artifacts / "status"), bounded(_text(artifacts / "stdout"))
    results: dict[str, Mapping[str, Any]] = {}
    for event in _events(play, artifacts):
        result = event.event_data.res
        if event.event == "runner_on_unreachable":
            raise unreachable(play.host, result, acts=not play.check)
        if event.event == "runner_on_failed":
            raise failed(play.host, event.event_data.task, result)
        if event.event == "runner_on_ok":
            results[event.event_data.task] = result
    if status == "successful" and results:
        return Outcome(results, stdout)
    if status in {"timeout", "canceled", ""} and (artifacts.exists() or status):
        unknown = "" if play.check else "; it is unknown what took effect"
        raise Timeout(play.host, f"{play.name}: no end within {play.seconds:g} s{unknown}")
    words = " ".join(f"{stdout} {_text(artifacts / 'stderr')} {_text(folder / 'runner.log')}".split())
    if "no hosts to target" in words or "Could not match supplied host pattern" in words:
        raise Conflict(play.host, "the inventory has no host of that name: nothing was done")
    raise BadResponse(play.host, f"{play.name}: Ansible ended as {status or 'nothing'}: {words[:500]}")


def _events(play: Play, artifacts: Path) -> list[_Event]:
    events = []
    for file in artifacts.glob("job_events/*.json"):
        if file.stat().st_size > EVENT_BYTES:
            raise BadResponse(play.host, f"{play.name}: Ansible tells more than {EVENT_BYTES} bytes of one task")
        try:
            events.append(_Event.model_validate_json(file.read_bytes()))
        except ValidationError:
            continue  # half written when its time was over
    return sorted(events, key=lambda event: event.counter)


def bounded(text: str) -> str:
    """Its beginning and its end, without colours; at most `STDOUT_BYTES`."""
    said = "\n".join(line.rstrip() for line in _COLOUR.sub("", text).splitlines() if line.strip())
    content = said.encode()
    if len(content) <= STDOUT_BYTES:
        return said
    first, last = content[: STDOUT_BYTES // 4], content[-(STDOUT_BYTES * 3 // 4 - 8) :]
    return f"{first.decode(errors='ignore')}\n...\n{last.decode(errors='ignore')}"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
