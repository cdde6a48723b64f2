"""What a member tells over HTTP only: health as its own checks see it, and a few of its metrics."""

import math
import time

from pydantic import BaseModel, ValidationError

from kube_ballast.clients.errors import BadResponse
from kube_ballast.clients.etcd.types import Health, MemberMetrics
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient, unexpected
from kube_ballast.config import HttpConfig, TLSFiles

_OK, _NOT_FOUND, _UNAVAILABLE = 200, 404, 503
_METRICS_LIMIT_BYTES = 256 * 1024 * 1024
_DEFRAG, _QUOTA = "etcd_disk_defrag_inflight", "etcd_server_quota_backend_bytes"
_STARTED, _HANDLED = "grpc_server_started_total", "grpc_server_handled_total"
_SNAPSHOT = {"grpc_service": "etcdserverpb.Maintenance", "grpc_method": "Snapshot"}


class _HealthReply(BaseModel):
    health: str
    reason: str = ""


class EtcdHttp:
    """Asks the member whose HTTP side is at ``url``: its client URL, or one of ``--listen-metrics-urls``.

    Every call takes ``timeout`` in seconds for all of it and raises ``ClientError``s only. Thread safe.
    """

    def __init__(self, url: str, *, tls: TLSFiles | None = None) -> None:
        self.url = url
        self._http = HttpClient(HttpConfig.model_construct(url=url.rstrip("/"), tls=tls))

    def readyz(self, *, timeout: float) -> Health:
        """Whether the member can serve; armed alarms other than CORRUPT do not count.

        ``/readyz`` is there since 3.5.11 and 3.6; before, ``/health?exclude=NOSPACE`` is asked. Without a quorum it
        takes etcd 7 s (5 s and two election timeouts) to say so: with a shorter ``timeout`` that shows as Timeout.
        """
        ends = time.monotonic() + timeout
        answer = self._http.get("/readyz", timeout=timeout)
        if answer.status == _NOT_FOUND:
            return self.health(timeout=max(ends - time.monotonic(), 0.0), exclude=("NOSPACE",))
        if answer.status == _OK:
            return Health(ok=True, reason="")
        if answer.status == _UNAVAILABLE:
            return Health(ok=False, reason=answer.text())
        raise unexpected(self.url, "GET /readyz", answer)

    def health(self, *, timeout: float, exclude: tuple[str, ...] = ()) -> Health:
        """``/health``: false with any alarm armed whose kind is not in ``exclude``, or without a leader."""
        answer = self._http.get("/health", [("exclude", kind) for kind in exclude], timeout=timeout)
        if answer.status not in {_OK, _UNAVAILABLE}:
            raise unexpected(self.url, "GET /health", answer)
        try:
            reply = _HealthReply.model_validate_json(answer.body)
        except ValidationError as error:
            raise unexpected(self.url, "GET /health", answer, error) from error
        return Health(ok=reply.health == "true", reason=reply.reason)

    def metrics(self, *, timeout: float) -> MemberMetrics:
        """The member's ``/metrics``, read as a stream and kept only where it is asked for."""
        samples: list[Sample] = []
        wanted = Filter((_DEFRAG, _QUOTA, _STARTED, _HANDLED), samples.append)
        answer = self._http.get("/metrics", timeout=timeout, limit=_METRICS_LIMIT_BYTES, consume=wanted.feed)
        if answer.status != _OK:
            raise unexpected(self.url, "GET /metrics", answer)
        try:
            wanted.close()
        except ValueError as error:
            raise BadResponse(self.url, f"GET /metrics: the answer cannot be read: {error}") from error
        return MemberMetrics(
            defrag_inflight=_value(samples, _DEFRAG),
            quota_bytes=_value(samples, _QUOTA),
            snapshots_in_flight=_in_flight(samples),
        )


def _value(samples: list[Sample], name: str) -> int | None:
    values = (sample.value for sample in samples if sample.name == name)
    return next((int(value) for value in values if math.isfinite(value)), None)


def _in_flight(samples: list[Sample]) -> int | None:
    """Snapshot streams started and not ended; a server that counts starts has counted no end until it says so."""
    ours = [sample for sample in samples if sample.labels.items() >= _SNAPSHOT.items()]
    started = [sample.value for sample in ours if sample.name == _STARTED]
    handled = [sample.value for sample in ours if sample.name == _HANDLED]
    return int(sum(started) - sum(handled)) if started else None
