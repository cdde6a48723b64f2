"""Asks Prometheus, or what speaks its query API (Thanos, Mimir).

Source: prometheus.io/docs/prometheus/latest/querying/api, "Instant queries".
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from kube_ballast.clients.errors import BadResponse, Timeout, Unavailable
from kube_ballast.clients.http import HttpClient, unexpected
from kube_ballast.config import HttpConfig


@dataclass(frozen=True, slots=True)
class Sample:
    """One series' value at ``timestamp`` (Unix seconds); the value may be NaN or infinite: a caller has to decide."""

    labels: Mapping[str, str]
    value: float
    timestamp: float


class Samples(tuple[Sample, ...]):  # noqa: SLOT001 (a tuple's subclass cannot have slots)
    """The samples of one query; ``warnings`` is what Prometheus noted about it, such as data it could not reach."""

    warnings: tuple[str, ...]

    def __new__(cls, samples: Iterable[Sample], warnings: Iterable[str] = ()) -> Self:
        made = super().__new__(cls, samples)
        made.warnings = tuple(warnings)
        return made


_Point = tuple[float, float]


class _Series(BaseModel):
    metric: dict[str, str]
    value: _Point


class _Vector(BaseModel):
    result_type: Literal["vector"] = Field(alias="resultType")
    result: list[_Series]


class _Scalar(BaseModel):
    result_type: Literal["scalar"] = Field(alias="resultType")
    result: _Point


class _Success(BaseModel):
    status: Literal["success"]
    data: Annotated[_Vector | _Scalar, Field(discriminator="result_type")]
    warnings: list[str] = []


class _Failure(BaseModel):
    status: Literal["error"]
    kind: str = Field(alias="errorType")
    error: str


_REPLY: TypeAdapter[_Success | _Failure] = TypeAdapter(
    Annotated[_Success | _Failure, Field(discriminator="status")],
)


class Prometheus:
    """Instant queries; every call takes ``timeout`` in seconds for all of it and raises ``ClientError``s only."""

    def __init__(self, config: HttpConfig) -> None:
        self._http = HttpClient(config)
        self.url = config.url

    def query(self, expr: str, *, timeout: float, at: float | None = None) -> Samples:
        """The instant vector of ``expr``, at Unix time ``at`` or now; a scalar is one sample without labels.

        Raises Timeout also when Prometheus gave up on the query itself, BadResponse with its own words when it finds a
        mistake in ``expr``, and BadResponse for results that are no instant vector of floats.
        """
        params = [("query", expr), ("timeout", f"{timeout:.3f}")]
        if at is not None:
            params.append(("time", f"{at:.3f}"))
        answer = self._http.get("/api/v1/query", params, timeout=timeout)
        try:
            reply = _REPLY.validate_json(answer.body)
        except ValidationError as error:
            raise unexpected(self.url, f"query {expr!r}", answer, error) from error
        if isinstance(reply, _Failure):
            kinds = {"timeout": Timeout, "canceled": Timeout, "unavailable": Unavailable}
            raise kinds.get(reply.kind, BadResponse)(self.url, f"query {expr!r}: {reply.kind}: {reply.error}")
        if isinstance(reply.data, _Scalar):
            timestamp, value = reply.data.result
            return Samples([Sample({}, value, timestamp)], reply.warnings)
        found = (Sample(series.metric, series.value[1], series.value[0]) for series in reply.data.result)
        return Samples(found, reply.warnings)
