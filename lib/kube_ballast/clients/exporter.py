"""What a ballast-exporter tells: on ``/metrics`` the families that are asked for, in ``/evidence`` fresh verdicts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from kube_ballast.clients.errors import BadResponse
from kube_ballast.clients.exposition import Filter, Sample
from kube_ballast.clients.http import HttpClient, unexpected
from kube_ballast.config import HttpConfig

SUCCESS: Final = "ballast_collector_success"
"""Each exporter has it, for each of its collectors."""
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Finding:
    """A verdict such as ``channel_stalled`` on an apiserver (``subject``); times are Unix seconds of that exporter."""

    kind: str
    subject: str
    verdict: str
    reasons: tuple[str, ...]
    observed_at: float
    valid_until: float


class _Finding(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    kind: str
    subject: str
    verdict: str
    reasons: tuple[str, ...]
    observed_at: float
    valid_until: float


_FINDINGS: TypeAdapter[list[_Finding]] = TypeAdapter(list[_Finding])


class Exporter:
    """Asks the exporter at ``config.url``. Thread safe."""

    def __init__(self, config: HttpConfig) -> None:
        self._http = HttpClient(config)
        self.url = config.url

    def read(self, names: Iterable[str], *, timeout: float) -> tuple[Sample, ...]:
        """The samples of ``names`` and of `SUCCESS`; ``timeout`` is seconds for everything.

        Raises:
            Unavailable: nobody answered, or the answer broke off.
            Timeout: no whole answer in time.
            Denied: 401, 403, or a certificate that one side does not accept.
            BadResponse: it is no exporter's page, or none that can be read.
        """
        samples: list[Sample] = []
        wanted = Filter((*names, SUCCESS), samples.append)
        answer = self._http.get("/metrics", timeout=timeout, consume=wanted.feed)
        if answer.status != _OK:
            raise unexpected(self.url, "GET /metrics", answer)
        try:
            wanted.close()
        except ValueError as error:
            raise BadResponse(self.url, f"GET /metrics: the answer cannot be read: {error}") from error
        if not any(each.name == SUCCESS for each in samples):
            raise BadResponse(self.url, "GET /metrics: this is no ballast-exporter's page")
        return tuple(samples)

    def evidence(self, kind: str, *, timeout: float) -> tuple[Finding, ...]:
        """The verdicts of that ``kind`` that are valid now, by the exporter's own clock; empty when it has none.

        Raises:
            ClientError: as `read`.
        """
        answer = self._http.get("/evidence", timeout=timeout)
        if answer.status != _OK:
            raise unexpected(self.url, "GET /evidence", answer)
        try:
            told = _FINDINGS.validate_json(answer.body)
        except ValidationError as error:
            raise unexpected(self.url, "GET /evidence", answer, error) from error
        return tuple(
            Finding(one.kind, one.subject, one.verdict, one.reasons, one.observed_at, one.valid_until)
            for one in told
            if one.kind == kind
        )
