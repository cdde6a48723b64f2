"""Turns metric families into what Prometheus reads, in the format it asks for."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.registry import Collector

_OPENMETRICS_END = b"# EOF\n"


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class Format(NamedTuple):
    """One exposition format; equal content types mean equal bytes."""

    content_type: str
    encode: Callable[[Collector], bytes]

    def render(self, families: Sequence[Metric]) -> bytes:
        """The families alone, without OpenMetrics' end mark, so that several renderings can be joined.

        A family of which nothing is known leaves no trace, not even its HELP.
        """
        return self.encode(_Families([family for family in families if family.samples])).removesuffix(_OPENMETRICS_END)

    def join(self, parts: Iterable[bytes]) -> bytes:
        """A whole exposition."""
        end = _OPENMETRICS_END if self.content_type.startswith("application/openmetrics-text") else b""
        return b"".join((*parts, end))


PLAIN = Format("text/plain; version=0.0.4; charset=utf-8", generate_latest)


def negotiate(accept: str) -> Format:
    """The best format for an ``Accept`` header; the plain text format where it says nothing."""
    encode, content_type = choose_encoder(accept)
    return Format(content_type, encode)
