"""Stand-ins that record what they are asked, and a clock that moves when it is told to."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily

from ballast_exporter.contract import Deadline, RequestCounter, Snapshot
from ballast_exporter.core import Core, Running
from kube_ballast.clients.errors import ClientError
from kube_ballast.clients.etcd.types import Member, MemberMetrics, Status


@dataclass
class FakeClock:
    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.7e9 + self.now


def snapshot(value: float = 1.0, *notes: str) -> Snapshot:
    family = GaugeMetricFamily("ballast_fake_value", "A value.")
    family.add_metric([], value)
    return Snapshot((family,), notes)


@dataclass
class FakePoll:
    """Gives what `answers` gives; `entered` is set while a call is under way, `held` keeps it there."""

    answer: Callable[[], Snapshot] = snapshot
    calls: list[float] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    hangs: bool = False
    closed: bool = False

    def collect(self, deadline: Deadline) -> Snapshot:
        self.calls.append(deadline.remaining())
        self.entered.set()
        if self.hangs:
            assert self.release.wait(30)
        return self.answer()

    def close(self) -> None:
        self.closed = True


def core_of(*polls: FakePoll, clock: FakeClock, interval: float = 10.0) -> Core:
    """One core with the collectors `one`, `two`, ..."""
    names = ("one", "two", "three")
    return Core(
        [Running(n, p, interval, interval / 2, RequestCounter()) for n, p in zip(names, polls, strict=False)], clock
    )


@dataclass
class FakeGrpc:
    answer: Status | ClientError
    members: tuple[Member, ...] | ClientError = ()
    calls: list[str] = field(default_factory=list)

    def status(self, *, timeout: float) -> Status:
        assert timeout > 0
        self.calls.append("status")
        if isinstance(self.answer, ClientError):
            raise self.answer
        return self.answer

    def member_list(self, *, timeout: float, linearizable: bool = True) -> tuple[Member, ...]:
        assert timeout > 0
        assert not linearizable, "names need no quorum"
        self.calls.append("member_list")
        if isinstance(self.members, ClientError):
            raise self.members
        return self.members

    def close(self) -> None:
        self.calls.append("close")


@dataclass
class FakeHttp:
    answer: MemberMetrics | ClientError
    calls: list[str] = field(default_factory=list)

    def metrics(self, *, timeout: float) -> MemberMetrics:
        assert timeout > 0
        self.calls.append("metrics")
        if isinstance(self.answer, ClientError):
            raise self.answer
        return self.answer
