"""Credentials live in files that others renew; here is how a client notices and how it reads them."""

from collections.abc import Iterable
from pathlib import Path

from kube_ballast.clients.errors import Denied
from kube_ballast.config import TLSFiles

Stamp = tuple[tuple[int, int, int], ...]
"""Changes whenever one of the files it was made of does."""


def tls_paths(tls: TLSFiles | None) -> tuple[Path, ...]:
    """The files that ``tls`` names."""
    return () if tls is None else tuple(path for path in (tls.ca, tls.cert, tls.key) if path is not None)


def stamp(target: str, paths: Iterable[Path]) -> Stamp:
    """The present state of ``paths``, cheap enough for every call. Raises Denied when one cannot be looked at."""
    states = []
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            raise _unreadable(target, path, error) from error
        states.append((state.st_ino, state.st_mtime_ns, state.st_size))
    return tuple(states)


def read(target: str, path: Path) -> bytes:
    """The bytes of a credential. Raises Denied when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(target, path, error) from error


def read_secret(target: str, path: Path) -> str:
    """A password or token without the line's end. Raises Denied when it cannot be read or is no text."""
    try:
        return read(target, path).decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise Denied(target, f"nothing was sent: {path} holds no UTF-8 text") from error


def _unreadable(target: str, path: Path, error: OSError) -> Denied:
    return Denied(target, f"nothing was sent: {path} cannot be read: {error.strerror or error}")
