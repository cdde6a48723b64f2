"""Clients that make an apiserver or an exporter work without any fault: hungry ones, and ones that read slowly."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final
from urllib.parse import urlsplit

from drills.filling import client
from drills.stack.kwok import create_all
from drills.stall.ground import Ground
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.http import HttpClient
from kube_ballast.clients.kubernetes import Collection, Kubernetes, PartialObjectMetadata
from kube_ballast.config import KubernetesConfig

OBJECTS, OBJECT_BYTES = 2_000, 2_048
"""A LIST of all of them is 4 MB."""
CONFIGMAPS: Final = Collection("/api/v1/namespaces/default/configmaps", PartialObjectMetadata)
REQUEST_SECONDS: Final = 60.0


VALUES, VALUE_BYTES = 400, 512 * 1024
"""200 MB that no compaction takes away: a member stands still for seconds while it defragments."""


def plant(ground: Ground) -> None:
    """The objects that are listed, and what makes a defragmentation long."""
    items = ({"metadata": {"name": f"listed-{n}"}, "data": {"x": "x" * OBJECT_BYTES}} for n in range(OBJECTS))
    create_all(Kubernetes(KubernetesConfig(kubeconfig=ground.control.admin)), CONFIGMAPS, items)
    with client(ground.etcd, 2) as etcd:
        for number in range(VALUES):
            key, value = f"/drill/value-{number}".encode(), number.to_bytes(4, "big") * (VALUE_BYTES // 4)
            etcd.put(key, value, timeout=REQUEST_SECONDS)


@contextmanager
def repeatedly(act: Callable[[threading.Event], object], *, times: int = 1) -> Iterator[None]:
    """Again and again, in so many threads, until the block's end; an error of any ends the drill."""
    stop, errors = threading.Event(), list[BaseException]()

    def loop() -> None:
        try:
            while not stop.is_set():
                act(stop)
        except BaseException as error:  # noqa: BLE001 - raised below, in the drill's own thread
            errors.append(error)

    threads = [threading.Thread(target=loop) for _ in range(times)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def listing(http: HttpClient, path: str, *, wait: float = 0.0, every: float = 0.0) -> Callable[[threading.Event], None]:
    """Ask for it and throw it away, waiting so long between two pieces of at most 64 KiB, and between two requests."""

    def once(stop: threading.Event) -> None:
        def consume(_: bytes) -> None:
            if stop.wait(wait):
                raise ValueError("the drill is over")

        try:
            http.get(path, timeout=REQUEST_SECONDS, limit=2**30, consume=consume if wait else lambda _: None)
        except ClientError:  # an apiserver that is too busy for this client is what is wanted
            stop.wait(1.0)
        stop.wait(every)

    return once


@contextmanager
def half_asked(url: str, *, times: int) -> Iterator[None]:
    """So many connections on which a request has begun and does not end."""
    place = urlsplit(url)
    with ExitStack() as exits:
        for _ in range(times):
            line = exits.enter_context(socket.create_connection((str(place.hostname), int(place.port or 80)), 5.0))
            line.sendall(b"GET /metrics HTTP/1.1\r\nHost: drill\r\n")
        yield
