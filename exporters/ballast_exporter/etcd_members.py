"""Asks every member of an etcd at once, each on its own, and remembers what they are called."""

import concurrent.futures
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from ballast_exporter.contract import Deadline, RequestCounter
from kube_ballast.analysis.etcd import quota_bytes
from kube_ballast.clients.errors import ClientError, Denied
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.etcd.http import EtcdHttp
from kube_ballast.clients.etcd.types import AlarmKind, Member, MemberMetrics, Status
from kube_ballast.config import EtcdConfig, EtcdMemberConfig

# Shares of the deadline: a call's own time limit, and when we give up on one that does not keep it. The rest is for
# names.
_CALL_SHARE = 0.6
_WAIT_SHARE = 0.75
T = TypeVar("T")


class Grpc(Protocol):
    """What is asked of a member's gRPC side."""

    def status(self, *, timeout: float) -> Status: ...
    def member_list(self, *, timeout: float, linearizable: bool = True) -> tuple[Member, ...]: ...
    def close(self) -> None: ...


class Http(Protocol):
    """What is asked of a member's HTTP side."""

    def metrics(self, *, timeout: float) -> MemberMetrics: ...


@dataclass(frozen=True, slots=True)
class Target:
    """One configured member and how it is asked."""

    config: EtcdMemberConfig
    grpc: Grpc
    http: Http

    @property
    def endpoint(self) -> str:
        """As configured."""
        return self.config.endpoint

    @property
    def address(self) -> str:
        """HOST:PORT: its name until etcd's own is known."""
        return urlsplit(self.config.endpoint).netloc


def connect(config: EtcdConfig) -> tuple[Target, ...]:
    """Real clients for each configured member. Nothing is sent yet."""
    return tuple(
        Target(
            member,
            EtcdClient(member.endpoint, tls=config.tls, auth=config.auth),
            EtcdHttp(member.http_url, tls=config.tls),
        )
        for member in config.members
    )


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member as one look saw it; an error stands where an answer would."""

    label: str
    endpoint: str
    status: Status | ClientError
    metrics: MemberMetrics | ClientError

    @property
    def answered(self) -> Status | None:
        """The status, when there is one."""
        return self.status if isinstance(self.status, Status) else None

    @property
    def defragmenting(self) -> bool | None:
        """None when the member's metrics do not say."""
        if isinstance(self.metrics, ClientError) or self.metrics.defrag_inflight is None:
            return None
        return self.metrics.defrag_inflight > 0

    @property
    def up(self) -> bool | None:
        """None when our credentials were turned away, which says nothing about the member."""
        if self.answered or self.defragmenting:
            return True
        return None if isinstance(self.status, Denied) else False

    @property
    def limit(self) -> int | None:
        """The quota in bytes; None when it is disabled or unknown."""
        return quota_bytes(self.answered, self.metrics if isinstance(self.metrics, MemberMetrics) else None)

    @property
    def used_ratio(self) -> float | None:
        """The database file by the quota; None with either."""
        return None if self.answered is None or self.limit is None else self.answered.db_size / self.limit

    @property
    def notes(self) -> Iterator[str]:
        """What is missing and why, in words."""
        if isinstance(self.status, ClientError):
            yield "defragments, gives no status" if self.defragmenting else str(self.status)
        if isinstance(self.metrics, ClientError) and self.answered is not None:
            yield str(self.metrics)


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One etcd as one look saw it; ``alarms`` are (member label, kind, whether it is armed)."""

    name: str
    members: tuple[MemberView, ...]
    alarms: tuple[tuple[str, AlarmKind, bool], ...]
    notes: tuple[str, ...]

    @property
    def readable(self) -> bool:
        """Whether any member gave a status or is known to defragment; credentials turned away count as unread."""
        return any(member.up for member in self.members)


class _Unanswered(ClientError):
    """A call outlived its own time limit, as a name resolver can make it."""


class _Question(Generic[T]):
    """One kind of call to one member; not asked again while the last time has not ended."""

    def __init__(self, target: str, ask: Callable[[float], T]) -> None:
        self._target = target
        self._ask = ask
        self._future: Future[T] | None = None

    def start(self, pool: ThreadPoolExecutor, requests: RequestCounter, timeout: float) -> None:
        if self._future is None or self._future.done():
            requests.count("etcd", self._target)
            self._future = pool.submit(self._ask, timeout)

    def answer(self, timeout: float) -> T | ClientError:
        if self._future is None:
            raise RuntimeError("answer() before start()")
        try:
            return self._future.result(timeout)
        except concurrent.futures.TimeoutError:
            return _Unanswered(self._target, "an earlier request still hangs although its time is over")
        except ClientError as error:
            return error


class Cluster:
    """One etcd: its members, and what is remembered of their names and ids."""

    def __init__(self, name: str, targets: tuple[Target, ...], requests: RequestCounter) -> None:
        self.name = name
        self._targets = targets
        self._requests = requests
        self._names: dict[int, str] = {}
        self._ids: dict[str, int] = {}
        # A thread for each question: a member that does not answer takes none from the others.
        self._pool = ThreadPoolExecutor(2 * len(targets), thread_name_prefix=f"etcd-{name}")
        self._status = [_Question(each.endpoint, _status_of(each)) for each in targets]
        self._metrics = [_Question(each.config.http_url, _metrics_of(each)) for each in targets]
        self._answers_by = Deadline(0.0)

    def ask(self, deadline: Deadline) -> None:
        """Send every question; does not wait."""
        seconds = deadline.remaining()
        timeout = _CALL_SHARE * seconds
        self._answers_by = Deadline(deadline.clock() + _WAIT_SHARE * seconds, deadline.clock)
        for status, metrics in zip(self._status, self._metrics, strict=True):
            status.start(self._pool, self._requests, timeout)
            metrics.start(self._pool, self._requests, timeout)

    def view(self, deadline: Deadline) -> ClusterView:
        """The answers to ``ask``."""
        status = [question.answer(self._answers_by.remaining()) for question in self._status]
        metrics = [question.answer(self._answers_by.remaining()) for question in self._metrics]
        for target, answer in zip(self._targets, status, strict=True):
            if isinstance(answer, Status):
                self._ids[target.endpoint] = answer.member_id
        trouble = self._learn_names(status, deadline)
        members = tuple(
            MemberView(label, target.endpoint, its_status, its_metrics)
            for label, target, its_status, its_metrics in zip(
                self._labels(), self._targets, status, metrics, strict=True
            )
        )
        notes = [f"{self.name}/{each.label}: {note}" for each in members for note in each.notes]
        return ClusterView(self.name, members, tuple(self._alarms(members)), (*notes, *trouble))

    def close(self) -> None:
        """Let go of the connections, without waiting for what is under way."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for target in self._targets:
            target.grpc.close()

    def _learn_names(self, status: list[Status | ClientError], deadline: Deadline) -> list[str]:
        """Ask one answering member who the members are, when somebody's name is missing."""
        known = (self._ids.get(each.endpoint) in self._names for each in self._targets)
        answering = [
            (a.is_learner, each) for each, a in zip(self._targets, status, strict=True) if isinstance(a, Status)
        ]
        if all(known) or not answering or not deadline.remaining():
            return []
        # A learner does not serve this; it is asked only when there is nobody else.
        target = min(answering, key=lambda each: each[0])[1]
        self._requests.count("etcd", target.endpoint)
        try:
            # The member's own view: names need no quorum.
            found = target.grpc.member_list(timeout=deadline.remaining(), linearizable=False)
        except ClientError as error:
            return [f"{self.name}: members have addresses instead of names: {error}"]
        self._names.update((member.id, member.name) for member in found if member.name)
        for member in found:
            for url in member.client_urls:  # tells the id of members that are down
                self._ids.setdefault(url.rstrip("/"), member.id)
        return []

    def _labels(self) -> list[str]:
        """etcd's names, which need not differ; then the address tells members apart."""
        labels: list[str] = []
        for target in self._targets:
            name = self._names.get(self._ids.get(target.endpoint, 0), target.address)
            labels.append(target.address if name in labels else name)
        return labels

    def _alarms(self, members: tuple[MemberView, ...]) -> Iterator[tuple[str, AlarmKind, bool]]:
        answers = [each.answered for each in members if each.answered is not None]
        if not answers:
            return
        # One that lags behind or is cut off may know an alarm that was lifted, or not know a new one.
        armed = set(max(answers, key=lambda status: status.raft_applied_index).alarms)
        told = {}
        for each in members:
            member_id = self._ids.get(each.endpoint)
            if member_id is not None and member_id not in told:
                told[member_id] = each.label
                for kind in AlarmKind:
                    yield each.label, kind, any((a.member_id, a.kind) == (member_id, kind) for a in armed)
        for alarm in sorted(armed, key=lambda alarm: (alarm.member_id, alarm.kind)):
            if alarm.member_id not in told:  # a member that is not configured
                name = self._names.get(alarm.member_id, "")
                label = f"{alarm.member_id:x}" if not name or name in told.values() else name
                yield label, alarm.kind, True


def _status_of(target: Target) -> Callable[[float], Status]:
    return lambda timeout: target.grpc.status(timeout=timeout)


def _metrics_of(target: Target) -> Callable[[float], MemberMetrics]:
    return lambda timeout: target.http.metrics(timeout=timeout)
