"""Which member a census reads from, and whether now is the time: a follower, while nobody defragments or snapshots."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from kube_ballast.clients.errors import ClientError, Denied
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import MemberMetrics, RangeResult, Scan, Status
from kube_ballast.config import EtcdConfig

AnswerT = TypeVar("AnswerT")
LOOK_SECONDS = 2.0
LAG_REVISIONS = 1000
"""A follower further behind than this is not read: it is slow, and a census would not make it faster."""


class Reader(Protocol):
    """What is asked of a member's gRPC side."""

    def status(self, *, timeout: float) -> Status: ...
    def scan(
        self,
        start: bytes,
        end: bytes,
        *,
        timeout: float,
        revision: int = 0,
        limit: int = 0,
        sizes: bool = True,
        seen: int | None = None,
    ) -> Scan | None: ...
    def stored_sizes(self, keys: Sequence[bytes], *, timeout: float, revision: int = 0) -> tuple[int | None, ...]: ...
    def range(
        self,
        start: bytes,
        end: bytes | None = None,
        *,
        timeout: float,
        revision: int = 0,
        count_only: bool = False,
        serializable: bool = False,
    ) -> RangeResult: ...
    def close(self) -> None: ...


class Http(Protocol):
    """What is asked of a member's HTTP side."""

    def metrics(self, *, timeout: float) -> MemberMetrics: ...


@dataclass(frozen=True, slots=True)
class Source:
    """A member: where it is, for messages, and how it is asked."""

    endpoint: str
    reader: Reader
    http: Http


def connect(config: EtcdConfig) -> tuple[Source, ...]:
    """Real clients for each configured member. Nothing is sent yet."""
    return tuple(
        Source(
            member.endpoint,
            EtcdClient(member.endpoint, tls=config.tls, auth=config.auth),
            EtcdHttp(member.http_url, tls=config.tls),
        )
        for member in config.members
    )


class Members:
    """The members of one etcd. Not thread safe."""

    def __init__(self, sources: Sequence[Source], count: Callable[[str], None]) -> None:
        self._sources = tuple(sources)
        self._count = count
        self._pool = ThreadPoolExecutor(2 * len(sources), thread_name_prefix="census-look")
        self._avoid: set[str] = set()
        self.chosen: Source | None = None
        self.status: Status | None = None

    def close(self) -> None:
        """Let go of the connections, without waiting for what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for source in self._sources:
            source.reader.close()

    def avoid(self, endpoint: str) -> None:
        """This one did not answer: look for another, and come back to it only when there is no other."""
        self._avoid.add(endpoint)

    def look(self) -> str | None:
        """Ask every member at once and choose the one to read; why nobody should be read now, None when one may be.

        A member that says nothing of defragmentations and snapshots is taken not to make any.

        Raises:
            Denied: every member turned our credentials away.
            ClientError: no member can be read.
        """
        for source in self._sources:
            self._count(source.endpoint)
        asked = [
            (
                self._pool.submit(_quietly, source.reader.status),
                self._pool.submit(_quietly, source.http.metrics),
            )
            for source in self._sources
        ]
        answers = [(status.result(), metrics.result()) for status, metrics in asked]
        for source, (_, metrics) in zip(self._sources, answers, strict=True):
            if isinstance(metrics, MemberMetrics) and (metrics.defrag_inflight or 0) > 0:
                return f"{source.endpoint} defragments"
            if isinstance(metrics, MemberMetrics) and (metrics.snapshots_in_flight or 0) > 0:
                return f"somebody takes a snapshot of {source.endpoint}"
        self._choose([status for status, _ in answers])
        return None

    def _choose(self, statuses: Sequence[Status | ClientError]) -> None:
        known = [
            (source, status)
            for source, status in zip(self._sources, statuses, strict=True)
            if isinstance(status, Status)
        ]
        newest = max((status.revision for _, status in known), default=0)
        usable = [
            (source, status)
            for source, status in known
            if not status.is_learner and status.revision + LAG_REVISIONS >= newest
        ]
        if not usable:
            errors = [status for status in statuses if isinstance(status, ClientError)]
            refused = [error for error in errors if isinstance(error, Denied)]
            raise (
                refused or errors or [_NoReader(self._sources[0].endpoint, "every member that answers is a learner")]
            )[0]
        # In this order: one that answered so far, one that follows a leader, a follower, the one we read already.
        self.chosen, self.status = min(
            usable,
            key=lambda each: (
                each[0].endpoint in self._avoid,
                each[1].leader_id == 0,
                each[1].leader_id == each[1].member_id,
                each[0] is not self.chosen,
            ),
        )
        if self.chosen.endpoint in self._avoid:
            self._avoid.clear()


class _NoReader(ClientError):
    """Members answer, and none of them can be read."""


def _quietly(ask: Callable[..., AnswerT]) -> AnswerT | ClientError:
    try:
        return ask(timeout=LOOK_SECONDS)
    except ClientError as error:
        return error
