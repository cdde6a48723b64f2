"""A backup's file: JSON lines, gzipped, that say nothing of the database they came from or go to.

::

    {"format": "ballast-backup", "version": 1, "schema": "0004", "made_at": 1764e6, "head": {"seq": …, "hash": …}}
    {"table": "runs", "columns": ["id", "cluster", …]}
    ["a1b2c3d4", "production", …]
    …
    {"end": "sha256 of every line before this one, hex", "rows": {"runs": 1, …}}

Bytes stand as base64 in ``{"base64": "…"}``; numbers keep every digit, which the audit's hashes cover.
"""

import base64
import gzip
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ballast_remediator.chain import Entry, Head, Page

FORMAT: Final = "ballast-backup"
VERSION: Final = 1
_LEVEL: Final = 4
"""Of compression: higher ones cost a multiple of the time for some percent."""
_PAGE: Final = 1000


class Unusable(Exception):
    """The file is no backup, a damaged one, or one of another version; the text says which."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a backup says of itself: its ``schema`` and the audit's ``head``; ``made_at`` is seconds since the epoch."""

    schema: str
    made_at: float
    head: Head


class Sink:
    """Takes a backup's rows, table by table."""

    def __init__(self, file: gzip.GzipFile, header: Header) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._table = ""
        self.rows: dict[str, int] = {}
        """How many there are so far, by table."""
        self._line({"format": FORMAT, "version": VERSION, **asdict(header)})

    def table(self, name: str, columns: Sequence[str]) -> None:
        """The rows that follow are of this one."""
        self._table, self.rows[name] = name, 0
        self._line({"table": name, "columns": list(columns)})

    def row(self, values: Sequence[Any]) -> None:
        """One row, in the order of the columns."""
        self.rows[self._table] += 1
        self._line([_packed(value) for value in values])

    def end(self) -> None:
        """Nothing more comes."""
        self._line({"end": self._digest.hexdigest(), "rows": self.rows})

    def _line(self, content: object) -> None:
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        self._digest.update(line)
        self._file.write(line)


@contextmanager
def written(path: Path, header: Header) -> Iterator[Sink]:
    """Writes a backup beside ``path``, and puts it there once it is whole and on disk. Only its owner may read it.

    Raises:
        OSError: it cannot be written; what was there before stays.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as raw:
            with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=_LEVEL, filename="", mtime=0) as packed:
                sink = Sink(packed, header)
                yield sink
                sink.end()
            raw.flush()
            os.fsync(raw.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def header(path: Path) -> Header:
    """What the backup says of itself, before anything else of it is believed. Raises `Unusable`."""
    with _lines(path) as lines:
        return _header(path, lines)


def rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its table's name, by column. Raises `Unusable`, as late as at the end."""
    with _lines(path) as lines:
        _header(path, lines)
        table, columns = "", ()
        for content in lines:
            if isinstance(content, list):
                yield table, dict(zip(columns, map(_unpacked, content), strict=True))
            else:
                table, columns = content["table"], content["columns"]


def check(path: Path) -> Header:
    """Reads the whole backup and computes its digest. Raises `Unusable`."""
    found = header(path)
    for _ in rows(path):
        pass
    return found


def audit_pages(path: Path) -> Iterator[Page]:
    """The audit that a backup holds. Raises `Unusable`."""
    checkpoint: Head | None = None
    entries: list[Entry] = []
    for table, row in rows(path):
        if table == "checkpoints":
            checkpoint = Head(row["seq"], row["hash"])
        elif table == "audit":
            entries.append(Entry(**row))
            if len(entries) == _PAGE:
                yield Page(checkpoint, tuple(entries))
                entries.clear()
    yield Page(checkpoint, tuple(entries))


@contextmanager
def _lines(path: Path) -> Iterator[Iterator[Any]]:
    """Each line's JSON but the last one, whose digest is checked."""
    try:
        with gzip.open(path, "rb") as file:
            yield _checked(path, file)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unusable(f"{path} cannot be read as a backup: {reason}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise Unusable(f"{path} is damaged, or no backup: a line of it is none of a backup's") from error


def _checked(path: Path, file: gzip.GzipFile) -> Iterator[Any]:
    digest = hashlib.sha256()
    for line in file:
        content = json.loads(line)
        if isinstance(content, dict) and "end" in content:
            if content["end"] != digest.hexdigest():
                raise Unusable(f"{path} is damaged: its digest is another one")
            if file.read(1):
                raise Unusable(f"{path} is damaged: it goes on behind its end")
            return
        digest.update(line)
        yield content
    raise Unusable(f"{path} is damaged: it has no end")


def _header(path: Path, lines: Iterator[Any]) -> Header:
    content = next(lines, None)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise Unusable(f"{path} is no backup of a remediator's store")
    if content["version"] != VERSION:
        raise Unusable(f"{path} is a backup of format {content['version']}; this version reads format {VERSION}")
    return Header(content["schema"], content["made_at"], Head(**content["head"]))


def _packed(value: object) -> object:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _unpacked(value: object) -> object:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) and value.keys() == {"base64"} else value
