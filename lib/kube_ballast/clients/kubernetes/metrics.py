"""One apiserver's ``/metrics``, asked at its own address with the credentials for its cluster, read as a stream."""

from collections.abc import Callable, Iterable
from typing import Final

from kube_ballast.clients.errors import BadResponse, Denied
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.kubernetes.client import LIMIT_BYTES, Kubernetes
from kube_ballast.clients.kubernetes.limits import Limit

PAGE_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Some seven times the page of a busy apiserver."""
_WHAT: Final = "GET /metrics"
_FORBIDDEN: Final = 403


class InstanceMetrics:
    """The apiserver at ``url``, one of those that ``kubernetes`` names. Thread safe."""

    def __init__(self, kubernetes: Kubernetes, url: str) -> None:
        self.url = url
        self._kubernetes = kubernetes.at(url)

    def read(self, names: Iterable[str], take: Callable[[Sample], None], *, timeout: float) -> None:
        """Give the samples of ``names`` to ``take``; ``timeout`` is seconds for everything.

        Raises:
            Unavailable: nobody answered, the answer broke off, or the apiserver has too much to do.
            Timeout: the page did not end in time.
            Denied: the credentials cannot be had, or do not suffice.
            BadResponse: no page of metrics, or one that is larger than 256 MiB or has a line of more than 64 KiB.
        """
        limit, wanted, size = Limit(timeout), Filter(names, take), 0
        request = self._kubernetes.request("GET", "/metrics", accept="text/plain", packs=False)
        with self._kubernetes.asked(request, limit) as response:
            if response.status == _FORBIDDEN:
                missing = "it takes the verb get on the nonResourceURL /metrics"
                raise Denied(self.url, f"{_WHAT}: 403 Forbidden: {missing}")
            if not response.succeeded:
                raise response.refusal(response.body(limit, LIMIT_BYTES))
            try:
                for piece in response.pieces(limit):
                    size += len(piece)
                    if size > PAGE_LIMIT_BYTES:
                        raise BadResponse(self.url, f"{_WHAT}: the body is larger than {PAGE_LIMIT_BYTES} bytes")
                    wanted.feed(piece)
                wanted.close()
            except ValueError as error:
                raise BadResponse(self.url, f"{_WHAT}: the answer cannot be read: {error}") from error
