"""A way to PostgreSQL on which the connection can break at a commit."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ballast_remediator.store.places import PostgresqlServer

COMMIT = b"COMMIT\0"


@dataclass
class Way:
    """``cut`` is where the next commit's connection breaks: before the server has it, or before its answer is back.

    ``meanwhile`` happens after that, and before anybody comes through again.
    """

    place: PostgresqlServer
    cut: str | None = None
    meanwhile: Callable[[], object] = lambda: None
    cuts: int = field(default=0, init=False)


@contextmanager
def way_to(place: PostgresqlServer) -> Iterator[Way]:
    """A proxy on loopback before ``place``."""
    url = urlsplit(place.conninfo)
    assert url.port is not None
    there = ("127.0.0.1", url.port)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        way = Way(PostgresqlServer(place.conninfo.replace(f":{url.port}/", f":{port}/"), place.password_file))

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=_carry, args=(way, client, there), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield way
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _carry(way: Way, client: socket.socket, there: tuple[str, int]) -> None:
    """In one thread, so that nothing passes while a commit is cut."""
    with client, suppress(OSError), socket.create_connection(there) as server:
        while True:
            ready, _, _ = select.select((client, server), (), ())
            for one in ready:
                piece = one.recv(65536)
                if not piece:
                    return
                if one is client and way.cut is not None and COMMIT in piece:
                    if way.cut == "after":
                        server.sendall(piece)
                        server.recv(65536)
                    way.cut = None
                    way.cuts += 1
                    server.close()
                    way.meanwhile()
                    return
                (server if one is client else client).sendall(piece)
