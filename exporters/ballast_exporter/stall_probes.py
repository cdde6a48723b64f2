"""Asks apiservers and etcd members what tells a stalled channel from everything else: docs/grpc-stall.md.

Each probe has a thread, a clock and a deadline of its own, and none waits for another. One that failed is repeated at
once, so that two failures in a row come within seconds. The collector and `ballastctl apiserver doctor` both run this.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import Final
from urllib.parse import urlsplit

from ballast_exporter.contract import RequestCounter
from ballast_exporter.stall_canary import DELIVERY, Canary
from ballast_exporter.stall_history import History
from ballast_exporter.stall_pages import Pages
from ballast_exporter.stall_report import ApiserverReport, Report
from kube_ballast.analysis.stall import Answer, Evidence, Judgement, Member, judge
from kube_ballast.clients.errors import ClientError, Denied, NoSpace, Timeout
from kube_ballast.clients.etcd.client import EtcdClient
from kube_ballast.clients.kubernetes import Kubernetes, PartialObjectMetadata, TooManyRequests
from kube_ballast.clients.kubernetes.metrics import InstanceMetrics
from kube_ballast.config import EtcdConfig, HttpConfig

AGAIN_SECONDS: Final = 0.2
OBJECT: Final = "ballast-canary"
"""What quorum reads ask for. Nobody has it: 404 is etcd's answer as well as any, and reads nothing of anybody's."""
READS: Final[Mapping[str, str]] = {
    "pods": f"/api/v1/namespaces/default/pods/{OBJECT}",
    "nodes": f"/api/v1/nodes/{OBJECT}",
    "configmaps": f"/api/v1/namespaces/default/configmaps/{OBJECT}",
    "secrets": f"/api/v1/namespaces/default/secrets/{OBJECT}",
    "endpointslices": f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{OBJECT}",
}
_Ask = Callable[[float], object]
"""Asks within so many seconds. Raises ClientError."""
_KEY: Final = b"/registry/ballast-canary"
_SLOW_SECONDS: Final = 0.5
PING, READINESS, CANARY = "ping", "readiness", "canary"
LINEARIZABLE, SERIALIZABLE = "linearizable", "serializable"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a probe is made and how long it may take, in seconds."""

    every: float
    deadline: float


PACES: Final = {
    PING: Pace(2.0, 1.0),
    READINESS: Pace(3.0, 2.5),
    CANARY: Pace(2.0, 1.5),
    "read": Pace(0.8, 1.0),
    LINEARIZABLE: Pace(2.0, 1.5),
    SERIALIZABLE: Pace(2.0, 1.5),
}


@dataclass(frozen=True, slots=True)
class Server:
    """An apiserver; ``members`` are the endpoints of etcd that it uses, None for all that are known."""

    config: HttpConfig
    members: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return urlsplit(self.config.url).netloc


class Probes:
    """Probes of ``servers`` and of ``etcd``'s members; `run` makes them until it is told to stop."""

    def __init__(self, servers: Sequence[Server], etcd: EtcdConfig | None, requests: RequestCounter) -> None:
        self._servers = servers
        self._requests = requests
        self._history = History(time.monotonic, time.time)
        self._apiservers = {each.name: Kubernetes(each.config, agent="ballast-stall") for each in servers}
        members = etcd.members if etcd else ()
        known = [member.endpoint for member in members]
        self._used = {each.name: _addresses(known if each.members is None else each.members) for each in servers}
        self._etcd = {m.endpoint: EtcdClient(m.endpoint, tls=etcd.tls, auth=etcd.auth) for m in members if etcd}
        self._pages = Pages()
        self._canary = Canary(self._apiservers, self._history)

    def run(self, stop: threading.Event) -> None:
        """Probe until ``stop`` is set."""
        threads = [threading.Thread(target=self._canary.listen, args=(n, stop), daemon=True) for n in self._apiservers]
        for name, apiserver in self._apiservers.items():
            asks: dict[str, _Ask] = {
                PING: partial(_page, apiserver, "/readyz/ping"),
                READINESS: partial(_page, apiserver, "/readyz/etcd-readiness"),
                CANARY: partial(self._canary.write, name),
            }
            threads += [self._repeated(name, probe, ask, stop) for probe, ask in asks.items()]
            threads.append(threading.Thread(target=self._reads, args=(name, apiserver, stop), daemon=True))
            page = (name, InstanceMetrics(apiserver, apiserver.target), partial(self._requests.count, name), stop)
            threads.append(threading.Thread(target=self._pages.follow, args=page, daemon=True))
        for endpoint, client in self._etcd.items():
            for probe in (LINEARIZABLE, SERIALIZABLE):
                ask = partial(_member, client, probe == SERIALIZABLE)
                threads.append(self._repeated(endpoint, probe, ask, stop, slow=_SLOW_SECONDS))
        for thread in threads:
            thread.start()
        while not stop.wait(0.5):
            self._canary.overdue()

    def judgements(self) -> Mapping[str, Judgement]:
        """The verdict on each apiserver as of now, by its address."""
        return {server.name: self._judged(server) for server in self._servers}

    def report(self) -> Report:
        """All that is known as of now."""
        told = self._history.told
        return Report(
            {
                name: ApiserverReport(
                    judgement,
                    {probe: told(name, probe) for probe in (PING, READINESS, CANARY, *READS)},
                    told(name, DELIVERY),
                    self._used[name],
                    self._pages.progress(name),
                )
                for name, judgement in sorted(self.judgements().items())
            },
            {
                urlsplit(endpoint).netloc: {probe: told(endpoint, probe) for probe in (LINEARIZABLE, SERIALIZABLE)}
                for endpoint in self._etcd
            },
        )

    def close(self) -> None:
        """Let go of the connections."""
        for client in self._etcd.values():
            client.close()

    # -- asking --------------------------------------------------------------------------------------------------

    def _repeated(
        self,
        subject: str,
        probe: str,
        ask: _Ask,
        stop: threading.Event,
        *,
        slow: float | None = None,
    ) -> threading.Thread:
        pace = PACES[probe]

        def loop() -> None:
            while not stop.is_set():
                began = time.monotonic()
                well = self._ask(subject, probe, ask, pace.deadline, slow)
                stop.wait(max(AGAIN_SECONDS, began + pace.every - time.monotonic()) if well else AGAIN_SECONDS)

        return threading.Thread(target=loop, name=f"{probe} {subject}", daemon=True)

    def _reads(self, name: str, apiserver: Kubernetes, stop: threading.Event) -> None:
        pace = PACES["read"]
        for resource, path in cycle(READS.items()):
            for _ in range(2):  # what fails is asked once more before the next has its turn
                began = time.monotonic()
                well = self._ask(name, resource, partial(_object, apiserver, path), pace.deadline)
                if stop.wait(max(AGAIN_SECONDS, began + pace.every - time.monotonic()) if well else AGAIN_SECONDS):
                    return
                if well:
                    break

    def _ask(self, subject: str, probe: str, ask: _Ask, seconds: float, slow: float | None = None) -> bool:
        self._requests.count(subject)
        began = time.monotonic()
        try:
            ask(seconds)
            answer = Answer.SLOW if slow is not None and time.monotonic() - began > slow else Answer.OK
        except ClientError as error:
            answer = answered(error)
        self._history.add(subject, probe, began, answer)
        return answer is Answer.OK

    # -- telling -------------------------------------------------------------------------------------------------

    def _judged(self, server: Server) -> Judgement:
        judgement = judge(self._evidence(server))
        return replace(judgement, reasons=(*judgement.reasons, *self._pages.words(server.name)))

    def _evidence(self, server: Server) -> Evidence:
        name, history = server.name, self._history
        storage = (READINESS, CANARY, *READS)
        begins = [at for probe in storage if (at := history.failing_since(name, probe)) is not None]
        # What was well before something failed tells nothing of why it fails.
        since = min(begins) if begins else None
        others = [history.measured(other, CANARY, since) for other in self._apiservers if other != name]
        known = [each.well for each in others if each is not None]
        through = [history.measured(name, probe, since) for probe in (CANARY, *READS)]
        return Evidence(
            ping=history.measured(name, PING, since),
            readiness=history.measured(name, READINESS),
            canary=history.measured(name, CANARY),
            delivery=history.measured(name, DELIVERY),
            reads={resource: history.measured(name, resource) for resource in READS},
            members={
                endpoint: Member(
                    history.measured(endpoint, LINEARIZABLE, since),
                    history.measured(endpoint, SERIALIZABLE, since),
                    used=server.members is None or endpoint in server.members,
                    back=history.back(endpoint, LINEARIZABLE),
                )
                for endpoint in self._etcd
            },
            others_write=None if len(known) < len(others) else any(known),
            answered=any(kept.well for kept in through if kept is not None),
        )


def _addresses(endpoints: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(urlsplit(endpoint).netloc for endpoint in endpoints))


def answered(error: ClientError) -> Answer:
    """What an error says of the way to etcd."""
    if isinstance(error, TooManyRequests):
        return Answer.REJECTED
    if isinstance(error, Denied | NoSpace):  # a full etcd has answered: the way to it is well
        return Answer.DENIED
    if "refused" in error.message.lower():
        return Answer.REFUSED
    if isinstance(error, Timeout) or "No route to host" in error.message:
        return Answer.TIMEOUT
    return Answer.ERROR


def _page(apiserver: Kubernetes, path: str, seconds: float) -> None:
    apiserver.text(path, timeout=seconds)


def _object(apiserver: Kubernetes, path: str, seconds: float) -> None:
    apiserver.find(path, PartialObjectMetadata, timeout=seconds)


def _member(client: EtcdClient, serializable: bool, seconds: float) -> None:  # noqa: FBT001 - bound by position
    client.range(_KEY, timeout=seconds, serializable=serializable)
