"""Relays that share no interpreter with those who look: what is busy in a drill must not make them late."""

import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from drills.relay.modes import Fault
from drills.relay.relay import RelayTLS
from drills.stack.ground import Ground
from drills.stack.process import ROOT, Component, Probe
from kube_ballast.config import TLSFiles

ANSWER_SECONDS: Final = 10.0


class Order(msgspec.Struct, frozen=True):
    """What all relays of a process are to do; an empty order asks where they listen."""

    fault: Fault | None = None
    sever: bool = False


class Told(msgspec.Struct, frozen=True):
    """Where the relays listen, in the order of their endpoints, and how many connections were cut."""

    urls: tuple[str, ...]
    severed: int


class RelayProcess:
    """Relays before ``endpoints``, of one apiserver; ends with the ground."""

    def __init__(self, ground: Ground, endpoints: Sequence[str], tls: RelayTLS) -> None:
        folder = ground.data("relay")
        self._control = folder / "control"
        files = json.dumps({"server": _paths(tls.server), "client": _paths(tls.client)})
        component = Component(
            name=folder.name,
            program=Path(sys.executable),
            arguments=("-m", "drills.relay", str(self._control), files, *endpoints),
            env={"PYTHONPATH": str(ROOT)},
            ready=self._probe(),
        )
        ground.run(component)
        self.urls = self._order(Order()).urls

    def set(self, fault: Fault) -> None:
        """From now on this holds, and nothing else."""
        self._order(Order(fault))

    def sever(self) -> int:
        """Cut all connections; gives how many."""
        return self._order(Order(sever=True)).severed

    def _order(self, order: Order) -> Told:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_SECONDS)
            line.connect(str(self._control))
            with line.makefile("rwb") as stream:
                stream.write(msgspec.json.encode(order) + b"\n")
                stream.flush()
                return msgspec.json.decode(stream.readline(), type=Told)

    def _probe(self) -> Probe:
        def ask() -> str | None:
            try:
                self._order(Order())
            except OSError as error:
                return str(error)
            return None

        return ask


def _paths(files: TLSFiles) -> dict[str, str]:
    return {name: str(path) for name, path in files.model_dump(exclude_none=True).items()}


def as_tls(text: str) -> RelayTLS:
    """From what `RelayProcess` wrote."""
    read = json.loads(text)
    return RelayTLS(TLSFiles(**read["server"]), TLSFiles(**read["client"]))
