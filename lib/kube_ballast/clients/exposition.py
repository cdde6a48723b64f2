"""Picks single metrics out of Prometheus' text format, or OpenMetrics', while it streams by.

A busy apiserver's ``/metrics`` is tens of megabytes; parsing all of it takes seconds and holds it in memory. Here a
byte pattern finds the few lines that are asked for, and those alone are parsed, one by one. Two things make it fast: it
begins with the end of the line before, a byte that is searched for at the speed of memory (``^`` is tried at every
byte), and what names begin with in common is compared once a line and not once a name.
Sources of the formats: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format"; OpenMetrics 1.0.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

LINE_LIMIT_BYTES = 64 * 1024
"""The longest line taken: some hundred times what an apiserver or etcd writes."""

_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*+"
_QUOTED = r'[^"\\]*+(?:\\.[^"\\]*+)*'
_LABELS = re.compile(rf'[ \t]*+({_NAME})[ \t]*+=[ \t]*+"({_QUOTED})"[ \t]*+,?', re.ASCII)
_LINE = re.compile(
    r"[ \t]*+([a-zA-Z_:][a-zA-Z0-9_:]*+)[ \t]*+"
    rf'(?:\{{((?:[ \t]*+{_NAME}[ \t]*+=[ \t]*+"{_QUOTED}"[ \t]*+,?)*)[ \t]*+\}})?'
    r"([^#]*+)",  # value and timestamp; OpenMetrics adds an exemplar behind a "#"
    re.ASCII,
)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line; ``value`` may be NaN or infinite."""

    name: str
    labels: Mapping[str, str]
    value: float


class Lines:
    """Takes a body in pieces of any size and gives the lines of ``names`` to ``take``, in the body's order.

    Holds one line and one piece at most. Both methods raise ValueError where a line is too long or not whole.
    """

    def __init__(self, names: Iterable[str], take: Callable[[bytes], None]) -> None:
        self._wanted = re.compile(rb"\n([ \t]*+" + _any_of(set(names)).encode() + rb"[ \t{][^\n]*+)")
        self._take = take
        self._rest = b"\n"

    def feed(self, piece: bytes) -> None:
        """The next piece of the body."""
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            lines, self._rest = self._rest + head, b"\n" + tail
            for line in self._wanted.findall(lines):
                _check_length(line)
                self._take(line)
        else:
            self._rest += tail
        _check_length(self._rest)

    def close(self) -> None:
        """The body's end. Half a line is an error: what is missing could be the end of a number."""
        if self._rest.strip() not in {b"", b"# EOF"}:
            raise ValueError(f"it breaks off in the middle of a line: {self._rest[1:201]!r}")


class Filter(Lines):
    """As ``Lines``, and gives samples. Raises ValueError also where a line cannot be read."""

    def __init__(self, names: Iterable[str], take: Callable[[Sample], None]) -> None:
        super().__init__(names, lambda line: take(_sample(line.decode())))


def _any_of(words: set[str]) -> str:
    """A pattern of all ``words`` in which what several begin with stands once."""
    branches = (
        re.escape(first) + _any_of({word[1:] for word in words if word[:1] == first}) if first else ""
        for first in sorted({word[:1] for word in words})
    )
    return f"(?:{'|'.join(branches)})"


def _check_length(line: bytes) -> None:
    if len(line) > LINE_LIMIT_BYTES:
        raise ValueError(f"a line of more than {LINE_LIMIT_BYTES} bytes: {line[:200].strip()!r}...")


def _unescaped(value: str) -> str:
    return _ESCAPE.sub(lambda escape: _ESCAPED.get(escape[1], escape[0]), value)


def _sample(line: str) -> Sample:
    """``name{label="value",...} value [timestamp] [# {exemplar...}]``."""
    parts = _LINE.match(line)
    assert parts is not None, "the filter let only such lines through"
    name, block, rest = parts.groups()
    if rest.startswith("{"):
        raise ValueError(f"labels that cannot be read: {line[:200]!r}")
    labels: dict[str, str] = dict(_LABELS.findall(block)) if block else {}
    if "\\" in line:
        labels = {label: _unescaped(value) for label, value in labels.items()}
    values = rest.split()
    if len(values) not in {1, 2}:
        raise ValueError(f"no value: {line[:200]!r}")
    return Sample(name, labels, float(values[0]))
