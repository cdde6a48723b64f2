"""Stores a snapshot stream so that the file at the given path is either whole and verified or not there at all.

A snapshot is the database, whose size is a multiple of 512 bytes, followed by its SHA-256.
Source: etcd's server/etcdserver/api/v3rpc/maintenance.go, Snapshot; etcdutl snapshot restore checks the same.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from kube_ballast.clients.errors import BadResponse, LocalDisk
from kube_ballast.clients.etcd.types import Snapshot

_BLOCK = 512
_TRAILER = hashlib.sha256().digest_size


def store(endpoint: str, blobs: Iterable[bytes], path: Path) -> Snapshot:
    """Writes ``blobs`` to ``path`` by way of ``path.part`` (mode 0600), verified and flushed to the disk.

    What an earlier, killed attempt left at ``path.part`` is removed; one still under way there is respected.

    Raises:
        LocalDisk: the file cannot be written here, or another snapshot is being written to it.
        BadResponse: the stream is not a whole snapshot, or its checksum is wrong.
    """
    part = path.with_name(path.name + ".part")
    try:
        descriptor = _create(part)
        with os.fdopen(descriptor, "wb") as file:
            try:
                size, digest = _receive(endpoint, blobs, file)
                # Renamed while the lock is held, so that nobody takes the finished part for a left-over.
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        _sync_folder(path.parent)
    except OSError as error:
        raise LocalDisk(str(path), f"the snapshot cannot be stored: {error.strerror or error}") from error
    return Snapshot(path, size, digest)


def _create(part: Path) -> int:
    """A new, locked, private file at ``part``."""
    try:
        return _exclusive(part)
    except FileExistsError:
        _remove_left_over(part)
        return _exclusive(part)


def _exclusive(part: Path) -> int:
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    _lock(part, descriptor)
    return descriptor


def _remove_left_over(part: Path) -> None:
    """Removes ``part`` unless a living process writes it; the kernel drops the lock of one that was killed."""
    descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    _lock(part, descriptor)
    try:
        part.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _lock(part: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LocalDisk(str(part), "another snapshot is being written there at this moment") from error


def _receive(endpoint: str, blobs: Iterable[bytes], file: BinaryIO) -> tuple[int, str]:
    """Size and SHA-256 of the whole file, after the SHA-256 that it carries at its end was found to be right."""
    database = hashlib.sha256()
    size, tail = 0, b""
    for blob in blobs:
        file.write(blob)
        size += len(blob)
        tail += blob
        database.update(tail[:-_TRAILER])
        tail = tail[-_TRAILER:]
    if size % _BLOCK != _TRAILER:
        raise BadResponse(endpoint, f"Snapshot: {size} bytes are no whole snapshot, so it was thrown away")
    if database.digest() != tail:
        raise BadResponse(endpoint, "Snapshot: its SHA-256 is wrong, so it was thrown away; look at this member's disk")
    file.flush()
    os.fsync(file.fileno())
    database.update(tail)
    return size, database.hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
