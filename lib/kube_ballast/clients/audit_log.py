"""Follows an audit log file, as an apiserver writes it with --audit-log-path and --audit-log-format=json.

It begins at the end of the file. A file that takes its place (rotation) is read from its start, after the rest of the
old one; so is one that became shorter (copytruncate: what was written between the copy and the truncation is lost). A
line is given when its end is there.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from kube_ballast.clients.errors import LocalDisk

LINE_BYTES: Final = 16 * 2**20
_PIECE: Final = 2**20


class AuditLog:
    """The file at ``path``; not thread safe."""

    def __init__(self, path: Path, too_long: Callable[[], None]) -> None:
        """``too_long`` is called for each line above 16 MiB, which is not given. Raises LocalDisk."""
        self._path = path
        self._drop = too_long
        self._half = b""
        self._file = self._open()
        self._file.seek(0, os.SEEK_END)
        # Somebody may just be writing: what is up to the next line's end is the rest of a line that began before.
        self._skips = self._inside_a_line()

    def lines(self) -> Iterator[bytes]:
        """What has been written since the last call, without waiting for more. Raises LocalDisk."""
        try:
            if os.fstat(self._file.fileno()).st_size < self._file.tell():
                self._file.seek(0)
                self._forget_half()
            yield from self._rest()
            while self._replaced():
                following = self._open()
                yield from self._rest()  # what came before the new file was there
                self._file.close()
                self._file = following
                self._forget_half()
                yield from self._rest()
        except OSError as error:
            raise LocalDisk(str(self._path), f"cannot be read: {error.strerror or error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb", buffering=0)
        except OSError as error:
            raise LocalDisk(str(self._path), f"cannot be read: {error.strerror or error}") from error

    def _inside_a_line(self) -> bool:
        size = self._file.tell()
        return size > 0 and os.pread(self._file.fileno(), 1, size - 1) != b"\n"

    def _replaced(self) -> bool:
        """Whether another file has the name; between a rename and the new file nothing has, for a moment."""
        with contextlib.suppress(FileNotFoundError):
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        return False

    def _forget_half(self) -> None:
        self._half, self._skips = b"", False

    def _rest(self) -> Iterator[bytes]:
        while piece := self._file.read(_PIECE):
            *whole, half = (self._half + piece).split(b"\n")
            if whole and self._skips:
                del whole[0]
                self._skips = False
            if len(half) > LINE_BYTES and not self._skips:
                self._drop()
                self._skips = True
            self._half = b"" if self._skips else half
            yield from filter(None, whole)
