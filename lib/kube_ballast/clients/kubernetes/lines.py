"""Whether requests share a connection."""

from typing import Protocol

from kube_ballast.clients.kubernetes.access import Access
from kube_ballast.clients.kubernetes.limits import Limit
from kube_ballast.clients.kubernetes.line import Line


class Lines(Protocol):
    """Where connections come from, and where they go."""

    def take(self, access: Access, limit: Limit) -> Line:
        """One that is free. Raises what `Line` raises."""

    def give_back(self, line: Line) -> None:
        """It is not used any more by whoever took it."""


class Fresh:
    """A connection for each request: nothing is stale, and many threads may ask."""

    def take(self, access: Access, limit: Limit) -> Line:
        """See `Lines`."""
        return Line(access, limit)

    def give_back(self, line: Line) -> None:
        """See `Lines`."""
        line.close()


class Kept:
    """One connection for as long as it lasts and the credentials are the same; for one thread."""

    def __init__(self) -> None:
        self._line: Line | None = None

    def take(self, access: Access, limit: Limit) -> Line:
        """See `Lines`."""
        line, self._line = self._line, None
        if line is not None:
            if line.free and line.access.context is access.context and line.access.url == access.url:
                return line
            line.close()
        return Line(access, limit)

    def give_back(self, line: Line) -> None:
        """See `Lines`."""
        self.close()
        self._line = line

    def close(self) -> None:
        """Ends it, if there is one."""
        if self._line is not None:
            self._line.close()
            self._line = None
