"""Picks single metrics out of Prometheus' text format while it streams by.

A busy apiserver's ``/metrics`` is tens of megabytes; parsing all of it takes seconds and holds it in memory. Here a
byte pattern finds the few lines that are asked for, and those alone are parsed.
Source of the format: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LINE_LIMIT_BYTES = 1024 * 1024
_START = re.compile(r"[ \t]*([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*(\{)?", re.ASCII)
_END = re.compile(r"[ \t]*\}")
_LABEL = re.compile(r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*,?', re.ASCII)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line; ``value`` may be NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


class Filter:
    """Takes a body in pieces of any size and keeps the samples of ``names``.

    Both methods raise ValueError where a line cannot be read.
    """

    def __init__(self, names: Iterable[str]) -> None:
        alternatives = b"|".join(re.escape(name).encode() for name in names)
        self._wanted = re.compile(rb"^[ \t]*(?:" + alternatives + rb")[ \t{][^\n]*", re.MULTILINE)
        self._rest = b""
        self._samples: list[Sample] = []

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            self._scan(self._rest + head)
            self._rest = tail
        else:
            self._rest += tail
        if len(self._rest) > _LINE_LIMIT_BYTES:
            raise ValueError(f"a line of more than {_LINE_LIMIT_BYTES} bytes")

    def close(self) -> tuple[Sample, ...]:
        """The body's end: every sample found."""
        self._scan(self._rest)
        self._rest = b""
        return tuple(self._samples)

    def _scan(self, lines: bytes) -> None:
        self._samples += (_sample(hit.group().decode()) for hit in self._wanted.finditer(lines))


def _sample(line: str) -> Sample:
    """``name{label="value",...} value [timestamp]``."""
    start = _START.match(line)
    assert start is not None, "the filter let only such lines through"
    labels: dict[str, str] = {}
    position = start.end()
    if start[2]:
        while label := _LABEL.match(line, position):
            labels[label[1]] = _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), label[2])
            position = label.end()
        end = _END.match(line, position)
        if end is None:
            raise ValueError(f"labels that cannot be read: {line[:200]!r}")
        position = end.end()
    values = line[position:].split()
    if len(values) not in {1, 2}:
        raise ValueError(f"no value: {line[:200]!r}")
    return Sample(start[1], labels, float(values[0]))
