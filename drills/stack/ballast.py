"""The project's own programs, as a user starts them."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from drills.stack.ground import Ground
from drills.stack.monitoring import Service
from drills.stack.process import Component, console_script, http_probe

LISTEN_PLACEHOLDER = "LISTEN"
"""Stands in a configuration's text where the address to listen on belongs."""


def start_exporter(
    ground: Ground, *, config: str | Mapping[str, object], env: Mapping[str, str] | None = None
) -> Service:
    """Start a ballast-exporter on a free port; see `_start`."""
    return _start(ground, "ballast-exporter", config, env)


def start_remediator(
    ground: Ground,
    *,
    config: str | Mapping[str, object],
    env: Mapping[str, str] | None = None,
    address: str | None = None,
) -> Service:
    """Start a ballast-remediator, on ``address`` where others know it already; see `_start`."""
    return _start(ground, "ballast-remediator", config, env, address)


def _start(
    ground: Ground,
    name: str,
    config: str | Mapping[str, object],
    env: Mapping[str, str] | None,
    address: str | None = None,
) -> Service:
    """Write the configuration, start the program, wait for `/readyz`.

    A mapping gets `listen: 127.0.0.1:PORT`, and may hold paths and the configuration's own models, such as
    `EtcdCluster.config`; in a text the word LISTEN is replaced by the address.
    """
    folder, address = ground.data(name), address or ground.address()
    if isinstance(config, str):
        text = config.replace(LISTEN_PLACEHOLDER, address)
    else:
        text = json.dumps({"listen": address, **config}, indent=1, default=_plain)
    file = folder / "config.yaml"
    file.write_text(text)
    component = Component(
        name=folder.name,
        program=console_script(name),
        arguments=("--config", str(file)),
        ready=http_probe(f"http://{address}/readyz"),
        env=env or {},
    )
    return Service(f"http://{address}", ground.run(component)[0])


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} has no place in a configuration file")
