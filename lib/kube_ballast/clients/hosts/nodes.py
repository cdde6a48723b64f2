"""The cluster's Nodes as hosts, on disk: when hosts count, the apiserver that knows them may be gone."""

import json
import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from kube_ballast.clients.errors import ClientError, Conflict, LocalDisk
from kube_ballast.clients.kubernetes import Collection, Kubernetes, ObjectMeta
from kube_ballast.config import NodesConfig

SECONDS: Final = 10.0
"""For one list of the Nodes."""
LATE: Final = 3.0
"""Refreshes after which it is said how old it is what is told."""
AT_WORK: Final = "ballast/at-work"
"""The annotation by which a person says that they work on a Node, in its value's words, or with `no` that they do not,
though it is cordoned."""
_log = structlog.get_logger("kube_ballast.hosts")


class _Address(msgspec.Struct, frozen=True):
    type: str
    address: str


class _Status(msgspec.Struct, frozen=True):
    addresses: tuple[_Address, ...] = ()


class _Spec(msgspec.Struct, frozen=True):
    unschedulable: bool = False


class _Node(msgspec.Struct, frozen=True):
    metadata: ObjectMeta
    spec: _Spec = _Spec()
    status: _Status = _Status()


@dataclass(frozen=True, slots=True)
class Nodes:
    """InternalIPs by the Node's name, seen at ``seen_at`` (Unix seconds).

    ``at_work`` are those that somebody works on: by name, how it shows.
    """

    addresses: Mapping[str, tuple[str, ...]]
    seen_at: float
    at_work: Mapping[str, str]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seen_at: float
    nodes: dict[str, tuple[str, ...]]
    at_work: dict[str, str] = {}


class NodesCache:
    """Asks for the Nodes while it can, and keeps them in a file. Thread safe."""

    def __init__(self, config: NodesConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._seen: Nodes | None = None

    def keep(self, stop: threading.Event) -> None:
        """Asks again and again until ``stop`` is set. What fails is logged once, and leaves what is on disk."""
        failing = False
        while True:
            try:
                self.refresh()
                failing = False
            except ClientError as error:
                if not failing:
                    _log.warning("nodes are not seen; hosts are taken from the file", reason=str(error))
                failing = True
            if stop.wait(self._config.refresh):
                return

    def refresh(self) -> Nodes:
        """Asks now.

        Raises:
            ClientError: the apiserver does not tell them, or they cannot be written down.
        """
        selector = (("labelSelector", self._config.selector),)
        found = Kubernetes(self._config.kubernetes).list(
            Collection("/api/v1/nodes", _Node, params=selector), timeout=SECONDS
        )
        addresses = {
            node.metadata.name: tuple(each.address for each in node.status.addresses if each.type == "InternalIP")
            for node in found.items
        }
        if not addresses:
            raise Conflict(str(self._config.cache), f"no Node has {self._config.selector}: what was known is kept")
        at_work = {node.metadata.name: words for node in found.items if (words := _at_work(node)) is not None}
        nodes = Nodes(addresses, time.time(), at_work)
        with self._lock:
            self._seen = nodes
            self._write(nodes)
        return nodes

    def read(self) -> Nodes:
        """As they were seen last. Raises LocalDisk when they never were, or the file cannot be read."""
        path = self._config.cache
        try:
            kept = _Kept.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise LocalDisk(str(path), "the Nodes were never seen, so that no host is known") from error
        except (OSError, ValidationError) as error:
            raise LocalDisk(str(path), f"the Nodes that were seen cannot be read: {error}") from error
        return Nodes(kept.nodes, kept.seen_at, kept.at_work)

    def at_work(self) -> Mapping[str, str]:
        """The Nodes that somebody works on, as they were seen last: by name, how it shows. None if they never were."""
        with self._lock:
            if self._seen is None:
                with suppress(LocalDisk):
                    self._seen = self.read()
            seen = self._seen
        if seen is None:
            return {}
        age = time.time() - seen.seen_at
        late = f", as it was seen {age / 60:.0f} min ago" if age > LATE * self._config.refresh else ""
        return {name: how + late for name, how in seen.at_work.items()}

    def address(self, host: str) -> str:
        """The InternalIP of the Node that is called so, or has this address.

        Raises:
            LocalDisk: as `read`.
            Conflict: there is no such Node.
        """
        nodes = self.read()
        for name, addresses in nodes.addresses.items():
            if addresses and host in {name, *addresses}:
                return host if host in addresses else addresses[0]
        known = ", ".join(sorted(nodes.addresses))
        raise Conflict(host, f"no Node is called so or has this address (known: {known}): nothing was done")

    def _write(self, nodes: Nodes) -> None:
        path = self._config.cache
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("w") as file:
                json.dump({"seen_at": nodes.seen_at, "nodes": nodes.addresses, "at_work": nodes.at_work}, file)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            raise LocalDisk(str(path), f"the Nodes cannot be kept: {error}") from error


def _at_work(node: _Node) -> str | None:
    said = node.metadata.annotations.get(AT_WORK)
    if said is not None:
        return None if said.strip().lower() in {"no", "false"} else f"is annotated {AT_WORK}={said!r}"
    return "is cordoned" if node.spec.unschedulable else None
