"""Fills etcd the way a cluster does: the same keys written over and over, nobody compacting."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from drills.stack import EtcdCluster
from kube_ballast.clients.errors import ClientError, NoSpace
from kube_ballast.clients.etcd.client import EtcdClient

TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Filled:
    """When the first write was refused (monotonic seconds), and how many had passed."""

    at: float
    writes: int


def client(etcd: EtcdCluster, member: int = 0) -> EtcdClient:
    """A client of one member."""
    return EtcdClient(etcd.endpoints[member], tls=etcd.tls)


def fill(
    etcd: EtcdCluster,
    *,
    value_bytes: int = 512 * 1024,
    keys: int = 8,
    bytes_per_second: float | None = None,
    prefix: str = "/registry/configmaps/drill/filler",
    progress: Callable[[int], None] = lambda _written: None,
    within: float = 3600.0,
) -> Filled:
    """Writes ``keys`` keys in turn until etcd answers NOSPACE.

    The live data stays at ``keys`` × ``value_bytes``; all else is history. ``progress`` is called with the bytes
    written so far. Errors other than NOSPACE are passed over: an election must not end a drill.
    """
    value = os.urandom(value_bytes)
    started = time.monotonic()
    writes = 0
    with client(etcd) as one:
        for turn in count():
            if time.monotonic() - started > within:
                raise TimeoutError(f"etcd took {writes} writes and was not full after {within:g} s")
            try:
                one.put(f"{prefix}-{turn % keys}".encode(), value, timeout=TIMEOUT)
            except NoSpace:
                return Filled(time.monotonic(), writes)
            except ClientError:
                continue
            writes += 1
            progress(writes * value_bytes)
            if bytes_per_second is not None:
                time.sleep(max(0.0, started + writes * value_bytes / bytes_per_second - time.monotonic()))
    raise AssertionError("count() does not end")
